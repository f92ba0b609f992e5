import Foundation
import Testing
import XTunerCheckpoint
import XTunerTrainer

extension DistributedProcessTests {
  @Suite struct DistributedStorageTests {
    @Test func aFullDiskOfOneRankCostsOnlyTheCheckpointThatWasBeingWritten() throws {
      try EngineRun.with { run in
        try run.train(ranks: 2, run: "whole")
        try run.train(ranks: 2, run: "a", ["training.steps=3"])

        let port = try LocalPort.free()
        // The part of rank 1 has some 70 kB.
        let ranks = try [nil, 16 << 10].enumerated().map {
          try run.startRank($0, of: 2, port: port, run: "a", fileLimit: $1)
        }
        #expect(try ranks[1].wait() == RunExitCode.storage.rawValue)
        #expect(try ranks[0].wait() == RunExitCode.communication.rawValue)
        let file = "\(run.store(run: "a").path(step: 6)).incomplete/weights-00001.safetensors"
        #expect(
          ranks[1].output.contains("error: \(file): cannot write"), "\(ranks[1].output)")
        #expect(ranks[1].output.contains("File too large"), "\(ranks[1].output)")
        #expect(
          ranks[0].output.contains("error: write a checkpoint: rank 1 failed: \(file): cannot"),
          "\(ranks[0].output)")
        #expect(try run.leftovers(run: "a") == [])
        let newest = try #require(try run.store(run: "a").latestComplete())
        #expect(newest.step == 3)
        try newest.verify()

        try run.train(ranks: 2, run: "a")
        #expect(run.firstSteps(run: "a") == [1, 4])
        #expect(run.steps(run: "a") == run.steps(run: "whole"))
      }
    }

    @Test func theExportAtTheEndNeedsNoDiskButTheRuns() throws {
      try EngineRun.with { run in
        let options = ["training.steps=2", "export.at_end=true"]
        let process = try run.start(
          "the run", [run.enginePath] + run.arguments(run: "a", options),
          ["TMPDIR": "/proc/there-is-no-such-folder"])
        #expect(try process.wait() == 0, "\(process.output)")
        let names = try FileManager.default.contentsOfDirectory(atPath: "\(run.folder)/a/export")
        #expect(names.contains("tokenizer.json") && names.contains("model.safetensors"))
      }
    }
  }
}
