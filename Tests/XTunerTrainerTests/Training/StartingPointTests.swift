import Foundation
import Testing
import XTunerCheckpoint

@testable import XTunerEngine
@testable import XTunerLaunch
@testable import XTunerConfiguration
@testable import XTunerRun
@testable import XTunerTrainer

/// Where a run starts when its checkpoints are not what they were.
@Suite struct StartingPointTests {
  private let tiny: TinyRun
  private let manager = FileManager.default

  init() throws { tiny = try TinyRun() }

  private static let options = [
    "export.at_end=false", "evaluation.every_steps=null", "checkpoint.keep=null",
  ]

  /// Checkpoints of steps 3, 6 and 8.
  private func trained() throws {
    try tiny.train(run: "a", Self.options)
    #expect(names == ["step-00000003", "step-00000006", "step-00000008"])
  }

  private var names: [String] { tiny.names(run: "a", "checkpoints") }

  private func cutShort(_ step: Int) throws {
    let file = "\(tiny.checkpoint(run: "a", step: step))/weights-00000.safetensors"
    let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: file))
    try handle.truncate(atOffset: 100)
    try handle.close()
  }

  private func metrics() throws -> [Int] { try tiny.steps(run: "a").map(\.step) }

  @Test func allCheckpointsCutShortAreNamedAndTheRunIsRefused() throws {
    defer { tiny.remove() }
    try trained()
    for step in [3, 6, 8] { try cutShort(step) }
    let error = #expect(throws: TrainingError.self) { try tiny.train(run: "a", Self.options) }
    #expect(error?.exitCode == .model)
    for step in [3, 6, 8] {
      let file = "\(tiny.checkpoint(run: "a", step: step))/weights-00000.safetensors: is 100 bytes"
      #expect(error?.description.contains(file) == true, "\(error!)")
    }
    #expect(error?.description.contains("--resume anew") == true)
    #expect(try metrics() == Array(1...8))

    let outcome = try tiny.train(run: "a", Self.options, resume: .anew)
    #expect(outcome.firstStep == 1)
    #expect(
      names == [
        "step-00000003", "step-00000003.damaged", "step-00000006", "step-00000006.damaged",
        "step-00000008", "step-00000008.damaged",
      ])
    #expect(
      try tiny.log(run: "a").contains("metrics.jsonl ended at step 8, there is no checkpoint"))
  }

  @Test func aDamagedNewestIsRefusedAndAnOlderOneCanBeNamed() throws {
    defer { tiny.remove() }
    try trained()
    try cutShort(8)
    let error = #expect(throws: TrainingError.self) { try tiny.train(run: "a", Self.options) }
    #expect(error?.description.contains("step-00000008/weights-00000") == true)
    let older = tiny.checkpoint(run: "a", step: 6)
    #expect(error?.description.contains("the newest whole one is \(older)") == true)
    let export = #expect(throws: CheckpointError.self) { try RunExport(path: "\(tiny.folder)/a") }
    #expect(export?.description.contains("step-00000008/weights-00000") == true)

    let outcome = try tiny.train(run: "a", Self.options, resume: .checkpoint(older))
    #expect(outcome.firstStep == 7)
    #expect(names.contains("step-00000008.damaged"))
    #expect(
      try tiny.log(run: "a").contains("metrics.jsonl ended at step 8, the checkpoint is of step 6"))
    // From now on the run goes on by itself.
    #expect(try tiny.train(run: "a", Self.options + ["training.steps=9"]).firstStep == 9)
  }

  @Test func aDamagedOlderOneIsPassedOverByName() throws {
    defer { tiny.remove() }
    try trained()
    try cutShort(6)
    #expect(try tiny.train(run: "a", Self.options + ["training.steps=9"]).firstStep == 9)
    let log = try tiny.log(run: "a")
    #expect(log.contains("passed over: \(tiny.checkpoint(run: "a", step: 6))/weights"), "\(log)")
  }

  @Test func aLinkToADiskThatIsNotMountedIsRefused() throws {
    defer { tiny.remove() }
    try trained()
    let checkpoints = "\(tiny.folder)/a/checkpoints"
    try manager.moveItem(atPath: checkpoints, toPath: "\(tiny.folder)/disk")
    try manager.createSymbolicLink(
      atPath: checkpoints, withDestinationPath: "\(tiny.folder)/disk")
    #expect(try tiny.train(run: "a", Self.options + ["training.steps=9"]).firstStep == 9)
    try manager.moveItem(atPath: "\(tiny.folder)/disk", toPath: "\(tiny.folder)/unmounted")
    for resume in [ResumePolicy.automatic, .never, .anew] {
      let error = #expect(throws: CheckpointError.self) {
        try tiny.train(run: "a", Self.options, resume: resume)
      }
      #expect(error?.description.contains("\(checkpoints): is a link to what is not there") == true)
    }
    // A mount point without its disk is an empty folder.
    try manager.createDirectory(
      atPath: "\(tiny.folder)/disk", withIntermediateDirectories: false)
    let error = #expect(throws: TrainingError.self) { try tiny.train(run: "a", Self.options) }
    #expect(error?.description.contains("says that one of step 9 was written") == true)
    #expect(try metrics() == Array(1...9))
    // What began anew and has no checkpoint yet misses none.
    let none = Self.options + ["checkpoint.every_steps=null", "checkpoint.at_end=false"]
    #expect(try tiny.train(run: "a", none, resume: .anew).firstStep == 1)
    #expect(try tiny.train(run: "a", none).firstStep == 1)
  }

  @Test func aRunThatNeverHadACheckpointBeginsAgainAndSaysSo() throws {
    defer { tiny.remove() }
    let options = Self.options + ["checkpoint.every_steps=null", "checkpoint.at_end=false"]
    try tiny.train(run: "a", options)
    #expect(try tiny.train(run: "a", options).firstStep == 1)
    #expect(
      try tiny.log(run: "a").contains(
        "metrics.jsonl ended at step 8, there is no checkpoint: steps 1 to 8 are computed again"))
  }

  @Test func linesThatAreLostAreTold() throws {
    defer { tiny.remove() }
    try trained()
    let path = "\(tiny.folder)/a/metrics.jsonl"
    let lines = try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").prefix(3)
    try tiny.write(lines.joined(separator: "\n") + "\n", to: "a/metrics.jsonl")
    try tiny.train(run: "a", Self.options + ["training.steps=9"])
    #expect(
      try tiny.log(run: "a").contains(
        "metrics.jsonl ended at step 3, the checkpoint is of step 8: the lines of steps 4 to 8"))
  }

  @Test func wholeCheckpointsAreNotMixedWithARunThatBeginsAnew() throws {
    defer { tiny.remove() }
    try trained()
    let error = #expect(throws: TrainingError.self) {
      try tiny.train(run: "a", Self.options, resume: .anew)
    }
    #expect(error?.exitCode == .storage)
    #expect(error?.description.contains("holds a whole checkpoint of step 8") == true)
  }
}
