import Foundation
import Testing
import XTunerCheckpoint
import XTunerRun

extension DistributedProcessTests {
  /// Runs that are interrupted and go on with the same number of ranks: the same bits.
  @Suite struct DistributedResumeTests {
    private static let steps = ["training.steps=80"]

    @Test func aStopWritesACheckpointFromWhichTheSameCommandGoesOn() throws {
      try EngineRun.with { run in
        try run.train(ranks: 2, run: "whole", Self.steps)
        let launcher = try run.launch(ranks: 2, run: "a", Self.steps)
        try run.waitForSteps(1, run: "a")
        launcher.signal(SIGTERM)
        #expect(try launcher.wait() == RunExitCode.stopped.rawValue)
        #expect(run.living() == [])
        let done = run.steps(run: "a").count
        #expect(done < 80)
        let newest = try #require(try run.store(run: "a").latestComplete())
        #expect(newest.step == done)
        try newest.verify()

        try run.train(ranks: 2, run: "a", Self.steps)
        #expect(run.firstSteps(run: "a") == [1, done + 1])
        #expect(run.steps(run: "a") == run.steps(run: "whole"))
        #expect(run.steps(run: "a").map(\.number) == Array(1...80))
      }
    }

    @Test func aRunWhoseProcessesAreKilledGoesOnFromItsNewestCheckpoint() throws {
      try EngineRun.with { run in
        try run.train(ranks: 2, run: "whole", Self.steps)
        let launcher = try run.launch(ranks: 2, run: "a", Self.steps)
        try run.waitForSteps(5, run: "a")
        try waitUntil("a checkpoint is whole") {
          try run.store(run: "a").latestComplete() != nil
        }
        for identifier in run.living() { kill(identifier, SIGKILL) }
        try launcher.wait()
        try waitUntil("no rank is left") { run.living() == [] }
        #expect(run.steps(run: "a").count < 80)
        let newest = try #require(try run.store(run: "a").latestComplete())

        try run.train(ranks: 2, run: "a", Self.steps)
        #expect(run.firstSteps(run: "a") == [newest.step + 1])
        #expect(run.steps(run: "a") == run.steps(run: "whole"))
        #expect(run.steps(run: "a").map(\.number) == Array(1...80))
        #expect(try run.leftovers(run: "a") == [])
      }
    }
  }
}
