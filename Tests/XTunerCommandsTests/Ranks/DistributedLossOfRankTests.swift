import Foundation
import Testing
import XTunerRun

/// Tests that start several processes; one after another, since each keeps the machine busy.
@Suite(.serialized) enum DistributedProcessTests {}

extension DistributedProcessTests {
  /// Ranks that go away, or stand still, in the middle of training.
  @Suite struct DistributedLossOfRankTests {
    @Test(arguments: [0, 2])
    func theLauncherNamesTheRankThatWasKilledAndLeavesNothingRunning(rank: Int) throws {
      try EngineRun.with { run in
        let launcher = try run.launch(ranks: 3, run: "a", EngineRun.endless)
        try run.waitForSteps(2, run: "a")
        kill(try #require(run.process(ofRank: rank)), SIGKILL)
        #expect(try launcher.wait() == RunExitCode.communication.rawValue)
        #expect(
          launcher.output.contains("error: rank \(rank) of 3 was killed by signal 9 (Killed)"),
          "\(launcher.output)")
        // Rank 0 has the terminal.
        #expect(
          launcher.output.contains("logs/rank-00002.log") == (rank == 2), "\(launcher.output)")
        #expect(!launcher.output.contains("SIGTERM"), "\(launcher.output)")
        #expect(run.living() == [])
      }
    }

    @Test func aSurvivorNamesTheOperationTheBlockTheGroupAndTheRankThatIsMissing() throws {
      try EngineRun.with { run in
        let port = try LocalPort.free()
        let ranks = try (0..<2).map {
          try run.startRank($0, of: 2, port: port, run: "a", EngineRun.endless)
        }
        try run.waitForSteps(2, run: "a")
        ranks[1].signal(SIGKILL)
        #expect(try ranks[0].wait() == RunExitCode.communication.rawValue)
        let pattern = /error: [a-z-]+ of .+ in group \w+ \(ranks 0, 1\) failed after/
        #expect(ranks[0].output.contains(pattern), "\(ranks[0].output)")
        #expect(ranks[0].output.contains("rank 1 did not take part"), "\(ranks[0].output)")
      }
    }

    @Test func aSurvivorOfTheRankThatHostsTheStoreSaysSo() throws {
      try EngineRun.with { run in
        let port = try LocalPort.free()
        let ranks = try (0..<2).map {
          try run.startRank($0, of: 2, port: port, run: "a", EngineRun.endless)
        }
        try run.waitForSteps(2, run: "a")
        ranks[0].signal(SIGKILL)
        #expect(try ranks[1].wait() == RunExitCode.communication.rawValue)
        #expect(
          ranks[1].output.contains("the process that hosts the store is gone or stands still"),
          "\(ranks[1].output)")
        expectNoStackTrace(ranks[1].output)
      }
    }

    /// A node that freezes closes no connection.
    @Test(arguments: [0, 1])
    func aRankThatStandsStillEndsTheOthersAfterTheTimeout(rank: Int) throws {
      try EngineRun.with { run in
        let port = try LocalPort.free()
        let ranks = try (0..<2).map {
          try run.startRank($0, of: 2, port: port, run: "a", EngineRun.endless)
        }
        try run.waitForSteps(2, run: "a")
        ranks[rank].signal(SIGSTOP)
        let other = ranks[1 - rank]
        #expect(try other.wait() == RunExitCode.communication.rawValue)
        let named =
          rank == 0
          ? "the process that hosts the store is gone or stands still"
          : "rank 1 did not take part; look at its log for the first error"
        #expect(other.output.contains(named), "\(other.output)")
        expectNoStackTrace(other.output)
      }
    }

    @Test func aRankThatCannotBeginTellsTheOthersWhy() throws {
      try EngineRun.with { run in
        let port = try LocalPort.free()
        // One configuration; what it names is there for rank 0 alone.
        let configuration = try String(contentsOfFile: "\(run.folder)/config.yaml", encoding: .utf8)
          .replacing("path: \(run.folder)/tokenizer", with: "path: tokenizer")
        try run.write(configuration, to: "relative.yaml")
        let ranks = try (0..<2).map { rank in
          try run.startRank(
            rank, of: 2, port: port, run: "a", configuration: "\(run.folder)/relative.yaml",
            directory: rank == 0 ? run.folder : "/")
        }
        #expect(try ranks[1].wait() == RunExitCode.model.rawValue)
        #expect(try ranks[0].wait() == RunExitCode.communication.rawValue)
        let own =
          "\(run.folder)/relative.yaml:26: tokenizer.path: tokenizer: there is no such folder here"
        #expect(ranks[1].output.contains("error: \(own)"), "\(ranks[1].output)")
        #expect(
          ranks[0].output.contains("error: prepare the data: rank 1 failed: \(own)"),
          "\(ranks[0].output)")
      }
    }

    @Test func theLauncherNamesARankThatIsKilledRightAfterItsStart() throws {
      try EngineRun.with { run in
        let launcher = try run.launch(ranks: 2, run: "a", EngineRun.endless)
        try waitUntil("rank 1 runs") { run.process(ofRank: 1) != nil }
        kill(try #require(run.process(ofRank: 1)), SIGKILL)
        #expect(try launcher.wait() == RunExitCode.communication.rawValue)
        #expect(
          launcher.output.contains("error: rank 1 of 2 was killed by signal 9"),
          "\(launcher.output)")
        #expect(run.living() == [])
      }
    }

    @Test func ranksEndWithALauncherThatIsKilled() throws {
      try EngineRun.with { run in
        let launcher = try run.launch(ranks: 2, run: "a", EngineRun.endless)
        try run.waitForSteps(1, run: "a")
        launcher.signal(SIGKILL)
        try launcher.wait()
        try waitUntil("no rank is left") { run.living() == [] }
      }
    }
  }
}

/// Expects a message for people, without the pages that libtorch prints.
func expectNoStackTrace(_ output: String) {
  #expect(!output.contains("frame #"), "\(output)")
  #expect(output.split(separator: "\n").count <= 5, "\(output)")
}
