import Foundation
import Torch
import XTunerTrainer
import XTunerCommands
import XTunerConfiguration
import XTunerLaunch
import XTunerRun

/// `xtuner train --nproc N`: the process that starts the ranks, and trains nothing itself.
enum LaunchHandler {
  static func run(_ command: TrainCommand) throws -> RunExitCode {
    let environment = ProcessInfo.processInfo.environment
    try RankEnvironment.checkLocalLaunch(
      processCount: command.processCount, environment)
    // What is wrong with the configuration is said once, and not by every rank.
    let configuration = try command.source.load()
    _ = try configuration.parallelLayout(
      worldSize: command.processCount, model: try configuration.modelConfiguration())
    // Held here, the store outlives every rank: a rank that ends does not take the others' with it.
    let store = try Store.tcp(
      host: "127.0.0.1", port: 0, isServer: true,
      timeout: .seconds(configuration.parallel.timeoutSeconds))
    let launcher = LocalLauncher(
      .init(
        processCount: command.processCount,
        arguments: LocalLauncher.rankArguments(Array(CommandLine.arguments.dropFirst())),
        environment: environment, masterPort: store.port,
        layout: RunLayout(
          root: configuration.run.directory ?? "runs/\(configuration.run.name)")))
    let stopRequest = StopRequest { Output.note($0) }
    let signals = SignalHandlers(
      request: stopRequest,
      // Rank 0 tells the person that the stop was understood.
      announce: { _ in launcher.stop(signalNumber: stopRequest.signalNumber ?? SIGTERM) },
      exitAtOnce: { _ in launcher.kill() })
    let outcome = try withExtendedLifetime((store, signals)) { try launcher.run() }
    if let message = outcome.message { throw CommandFailure(outcome.exitCode, message) }
    return outcome.exitCode
  }
}
