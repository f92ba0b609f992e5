import Foundation
import Torch
import XTunerCommands
import XTunerConfiguration
import XTunerLaunch
import XTunerParallel
import XTunerRun
import XTunerTokenizers
import XTunerTrainer

/// `xtuner train`.
enum TrainHandler {
  static func run(_ command: TrainCommand) throws -> RunExitCode {
    guard command.processCount == 1 else { return try LaunchHandler.run(command) }
    let ranks = try RankEnvironment.detect(ProcessInfo.processInfo.environment)
    try ranks.followLauncher()
    DeviceMemory.startCounting()
    let configuration = try command.source.load()
    let stopRequest = StopRequest { Output.note($0) }
    let signals = SignalHandlers(request: stopRequest)
    let outcome = try withExtendedLifetime(signals) {
      try TrainingRun(
        configuration, resume: try ResumePolicy(locating: command.resume),
        stopRequest: stopRequest,
        environment: ranks, tracedSteps: try command.tracedSteps.map { try traceSteps($0) }
      ).run()
    }
    if ranks.rank > 0 {
      // Rank 0 tells how the run went.
    } else if command.json {
      report(outcome)
    } else {
      try summarize(outcome, configuration)
    }
    return outcome.isStopped ? .stopped : .success
  }

  /// The steps of `--trace steps=10..12`.
  private static func traceSteps(_ text: String) throws -> TraceSteps {
    let prefix = "steps="
    guard text.hasPrefix(prefix) else {
      throw TrainingError(
        .usage, "--trace must be steps=FIRST..LAST, such as steps=10..12, is \(text)")
    }
    do throws(TraceStepsError) {
      return try TraceSteps(String(text.dropFirst(prefix.count)))
    } catch {
      throw TrainingError(.usage, "--trace \(text): \(error)")
    }
  }

  private static func report(_ outcome: TrainingOutcome) {
    let layout = outcome.layout
    let members = JSONValue.members([
      "run_directory": .string(layout.root), "step": .integer(outcome.step),
      "stopped": .bool(outcome.isStopped), "loss": .number(outcome.finalLoss),
      "metrics": .string(layout.metrics), "chart": .string(layout.lossChart),
      "checkpoints": .string(layout.checkpoints), "export": .optional(outcome.exportPath),
    ])
    Output.tell(members.text())
  }

  private static func summarize(
    _ outcome: TrainingOutcome, _ configuration: RunConfiguration
  ) throws {
    let layout = outcome.layout
    let losses = try MetricsHistory(path: layout.metrics).training.map(\.loss)
    var rows = [(label: "run directory", value: layout.root)]
    if let first = losses.first, let last = losses.last {
      let text =
        "\(NumberFormat.loss(first)) to \(NumberFormat.loss(last)), \(outcome.step) steps"
      let width = Output.curveWidth(labelWidth: "run directory".count, textWidth: text.count)
      rows.append(("loss", "\(Sparkline.text(losses, width: width))  \(text)"))
    }
    rows.append(("chart", layout.lossChart))
    rows.append(("metrics", layout.metrics))
    if FileManager.default.fileExists(atPath: layout.checkpoints) {
      rows.append(("checkpoints", layout.checkpoints))
    }
    if let export = outcome.exportPath { rows.append(("export", export)) }
    var lines = [Output.lines(rows)]
    if outcome.isStopped {
      lines.append("stopped after step \(outcome.step); the same command goes on from there")
    } else if let export = outcome.exportPath {
      // What was trained on conversations answers badly to a bare text.
      let prompt = configuration.trainsOnConversations ? "--chat" : "--prompt \"...\""
      lines.append("try it: xtuner generate \(export) \(prompt)")
    }
    Output.tell(lines.joined(separator: "\n"))
  }
}

extension ModelLocation {
  /// With the Hub's cache of this process's user.
  static var ofProcess: ModelLocation {
    ModelLocation(environment: ProcessInfo.processInfo.environment)
  }
}

extension ConfigurationArguments {
  /// The configuration, with everything that is wrong with it in one error.
  ///
  /// Names of the Hub and run directories are replaced by the folders that they mean here.
  func load() throws(ConfigurationError) -> RunConfiguration {
    try RunConfiguration.load(file: file, overrides: overrides).located(.ofProcess)
  }
}
