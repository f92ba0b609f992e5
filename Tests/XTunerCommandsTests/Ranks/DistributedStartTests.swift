import Foundation
import Testing
import XTunerRun

extension DistributedProcessTests {
  /// Ranks that cannot meet, or must not.
  @Suite struct DistributedStartTests {
    @Test func aMasterThatNeverComesUpIsNamedByAddress() throws {
      try EngineRun.with { run in
        let port = try LocalPort.free()
        let rank = try run.startRank(
          1, of: 2, port: port, run: "a", ["parallel.timeout_seconds=2"])
        #expect(try rank.wait() == RunExitCode.communication.rawValue)
        #expect(
          rank.output.hasPrefix(
            "error: no store answered at 127.0.0.1:\(port) within 2 s; check that rank 0 has started"
          ),
          "\(rank.output)")
        expectNoStackTrace(rank.output)
      }
    }

    @Test func ranksThatNeverComeAreNamedByTheMaster() throws {
      try EngineRun.with { run in
        let port = try LocalPort.free()
        let ranks = try [0, 2].map { try run.startRank($0, of: 4, port: port, run: "a") }
        for rank in ranks {
          #expect(try rank.wait() == RunExitCode.communication.rawValue)
          #expect(
            rank.output
              == """
              error: ranks 1, 3 of 4 did not come within parallel.timeout_seconds \
              (\(EngineRun.timeoutSeconds)); look at their logs for the first error

              """)
        }
      }
    }

    @Test func aPortThatIsInUseIsNamed() throws {
      try EngineRun.with { run in
        try LocalPort.listening { port in
          let rank = try run.startRank(0, of: 2, port: port, run: "a")
          #expect(try rank.wait() == RunExitCode.communication.rawValue)
          #expect(
            rank.output
              == """
              error: port \(port) is in use on this machine; end the process that listens on it, \
              or choose another

              """)
        }
      }
    }

    @Test func everyRankSaysWhichOptionsDiffer() throws {
      try EngineRun.with { run in
        let port = try LocalPort.free()
        let ranks = try [[], ["optimizer.learning_rate=0.5", "training.packs_per_step=6"], []]
          .enumerated().map { try run.startRank($0, of: 3, port: port, run: "a", $1) }
        for rank in ranks {
          #expect(try rank.wait() == RunExitCode.usage.rawValue)
          #expect(
            rank.output
              == """
              error: rank 1 has another configuration than rank 0: training.packs_per_step is 6, \
              on rank 0 it is 4; optimizer.learning_rate is 0.5, on rank 0 it is 0.01; start all \
              ranks with the same files and --set options

              """)
        }
      }
    }

    @Test(arguments: [true, false])
    func aLayoutThatCannotBeIsRefusedBeforeRanksMeet(isLaunched: Bool) throws {
      try EngineRun.with { run in
        let layout = ["parallel.expert=4", "parallel.sequence=8", "parallel.replicate=3"]
        // Nobody hosts a store: a rank that looked for one would end with another code.
        let process =
          isLaunched
          ? try run.launch(ranks: 4, run: "a", layout)
          : try run.startRank(1, of: 4, port: try LocalPort.free(), run: "a", layout)
        #expect(try process.wait() == RunExitCode.usage.rawValue)
        for words in [
          "parallel.replicate: ", "parallel.sequence: ", "parallel.expert: ",
          "nearest layouts for 4 processes: ",
        ] {
          #expect(process.output.contains(words), "\(process.output)")
        }
        #expect(!FileManager.default.fileExists(atPath: "\(run.folder)/a"))
      }
    }
  }
}
