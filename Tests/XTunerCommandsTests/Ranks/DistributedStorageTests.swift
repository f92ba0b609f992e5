import Foundation
import Testing
import XTunerCheckpoint
import XTunerRun

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
        let file = "\(run.store(run: "a").path(step: 6))/weights-00001.safetensors"
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

    /// Metrics and log are rank 0's alone; the others must not wait for it.
    @Test func metricsThatCannotBeWrittenEndAllRanksWithTheCause() throws {
      try EngineRun.with { run in
        let port = try LocalPort.free()
        let options = EngineRun.endless + ["checkpoint.every_steps=null"]
        let ranks = try [48 << 10, nil].enumerated().map {
          try run.startRank($0, of: 2, port: port, run: "a", options, fileLimit: $1)
        }
        #expect(try ranks[0].wait() == RunExitCode.storage.rawValue)
        #expect(try ranks[1].wait() == RunExitCode.communication.rawValue)
        let file = "\(run.folder)/a/metrics.jsonl: cannot write: File too large"
        #expect(ranks[0].output.contains("error: \(file)"), "\(ranks[0].output)")
        #expect(
          ranks[1].output.contains("error: write the run's files: rank 0 failed: \(file)"),
          "\(ranks[1].output)")
      }
    }

    /// The launcher's code is that of the rank that failed, and the sentence is the same on all.
    @Test func anExportThatFailsOnOneRankEndsAllWithTheCause() throws {
      try EngineRun.with { run in
        let options = ["training.steps=3", "export.at_end=true"]
        try FileManager.default.createDirectory(
          atPath: "\(run.folder)/a", withIntermediateDirectories: true)
        try run.write("in the way", to: "a/export.incomplete")
        let launcher = try run.launch(ranks: 2, run: "a", options)
        #expect(try launcher.wait() == RunExitCode.storage.rawValue)
        let sentence =
          "\(run.folder)/a/export: cannot create the folder: File exists"
        #expect(launcher.output.contains("error: \(sentence)"), "\(launcher.output)")
        #expect(
          run.log(run: "a").contains("error: export the model: rank 0 failed: \(sentence)"),
          "\(run.log(run: "a"))")
        // No temporary folder is needed for it.
        try FileManager.default.removeItem(atPath: "\(run.folder)/a/export.incomplete")
        let process = try run.start(
          "the launcher", run.command(ranks: 2, options), ["TMPDIR": "/dev/null/none"])
        #expect(try process.wait() == 0, "\(process.output)")
      }
    }
  }
}
