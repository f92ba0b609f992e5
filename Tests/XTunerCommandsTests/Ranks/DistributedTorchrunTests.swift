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

    /// Each agent counts its own restarts, and they need not count alike.
    ///
    /// Where one of them restarts a rank that was killed, the other may see a change of membership, which
    /// counts nothing.
    @Test(arguments: ["0", "1"], [0, 1])
    func twoAgentsGoOnAfterEitherRankIsKilled(ownStore: String, killed: Int) throws {
      try EngineRun.with { run in
        try run.train(ranks: 2, run: "whole", ["training.steps=80"])
        let port = try LocalPort.free()
        let agents = try (0..<2).map { _ in
          try run.start(
            "an agent",
            [
              try #require(Torchrun.path), "--no-python", "--nnodes", "2", "--nproc-per-node", "1",
              "--max-restarts", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint",
              "127.0.0.1:\(port)",
              "--local-addr", "127.0.0.1", run.enginePath,
            ] + run.arguments(run: "a", ["training.steps=80"]),
            ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE": ownStore])
        }
        try run.waitForSteps(5, run: "a")
        kill(try #require(run.process(ofRank: killed)), SIGKILL)
        for agent in agents { #expect(try agent.wait() == 0, "\(agent.output)") }
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
