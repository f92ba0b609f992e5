import Foundation
import Testing
import XTunerTrainer

/// PyTorch's own launcher.
private enum Torchrun {
  static let path = ProcessInfo.processInfo.environment["PATH"]?.split(separator: ":")
    .map { "\($0)/torchrun" }.first { FileManager.default.isExecutableFile(atPath: $0) }
}

extension DistributedProcessTests {
  @Suite(.enabled(if: Torchrun.path != nil, "torchrun is not on PATH"))
  struct DistributedTorchrunTests {
    @Test func trainsAsTheLauncherOfTheEngineDoes() throws {
      try EngineRun.with { run in
        try run.train(ranks: 2, run: "whole")
        let process = try start(run)
        #expect(try process.wait() == 0, "\(process.output)")
        #expect(run.steps(run: "a") == run.steps(run: "whole"))
      }
    }

    /// The second attempt meets at the store of the first.
    @Test func goesOnAfterARestart() throws {
      try EngineRun.with { run in
        try run.train(ranks: 2, run: "whole", ["training.steps=80"])
        let process = try start(run, ["--max-restarts", "1"], ["training.steps=80"])
        try run.waitForSteps(5, run: "a")
        kill(try #require(run.process(ofRank: 1)), SIGKILL)
        #expect(try process.wait() == 0, "\(process.output)")
        #expect(run.steps(run: "a") == run.steps(run: "whole"))
      }
    }

    private func start(
      _ run: EngineRun, _ options: [String] = [], _ overrides: [String] = []
    ) throws -> EngineProcess {
      let torchrun = try #require(Torchrun.path)
      let port = String(try LocalPort.free())
      return try run.start(
        "torchrun",
        [torchrun, "--no-python", "--nproc-per-node", "2", "--master-port", port] + options
          + [run.enginePath] + run.arguments(run: "a", overrides))
    }
  }
}
