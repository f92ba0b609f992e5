import Foundation
import Testing
import Torch
import XTunerCheckpoint
import XTunerModels

@testable import XTunerLaunch
@testable import XTunerConfiguration
@testable import XTunerRun
@testable import XTunerEngine
@testable import XTunerTrainer

@Suite struct TrainingRunTests {
  @Test func trainsEvaluatesCheckpointsAndExports() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let outcome = try tiny.train(run: "a")
    #expect(outcome.step == 8)
    #expect(!outcome.isStopped)
    let curve = try tiny.curve(run: "a")
    #expect(curve.count == 8)
    let history = try MetricsHistory(path: outcome.layout.metrics)
    #expect(history.training[7].loss < history.training[0].loss)
    #expect(history.evaluation.map(\.step) == [4, 8])
    let checkpoints = try FileManager.default.contentsOfDirectory(
      atPath: outcome.layout.checkpoints)
    #expect(checkpoints.sorted() == ["step-00000006", "step-00000008"])
    let exported = try PreparedModel(
      path: try #require(outcome.exportPath), computeDType: .bfloat16)
    #expect(exported.model.configuration.vocabularySize == 300)
    for name in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"] {
      #expect(FileManager.default.fileExists(atPath: "\(outcome.layout.export)/\(name)"))
    }
    #expect(FileManager.default.fileExists(atPath: outcome.layout.lossChart))
  }

  /// What `kill -9` leaves behind: checkpoints of before, metrics of after, a half-written one.
  @Test func resumedRunEqualsUninterruptedRunBitForBit() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    try tiny.train(run: "whole")
    try tiny.train(
      run: "killed", ["training.steps=8", "checkpoint.at_end=false", "export.at_end=false"])
    let checkpoints = "\(tiny.folder)/killed/checkpoints"
    try FileManager.default.removeItem(atPath: "\(checkpoints)/step-00000006")
    try FileManager.default.createDirectory(
      atPath: "\(checkpoints)/step-00000007.incomplete", withIntermediateDirectories: true)
    let metrics = "\(tiny.folder)/killed/metrics.jsonl"
    let text = try String(contentsOfFile: metrics, encoding: .utf8)
    try Data(text.utf8.dropLast(11)).write(to: URL(fileURLWithPath: metrics))

    let outcome = try tiny.train(run: "killed")
    #expect(outcome.firstStep == 4 && outcome.step == 8)
    #expect(try tiny.curve(run: "killed") == tiny.curve(run: "whole"))
    let (a, b) = (
      try HFCheckpointFolder(path: "\(tiny.folder)/whole/export"),
      try HFCheckpointFolder(path: "\(tiny.folder)/killed/export")
    )
    for entry in a.entries {
      let same = try a.file(of: entry.name).tensor(entry.name).to(.float32).equal(
        b.file(of: entry.name).tensor(entry.name).to(.float32))
      #expect(same.allTrue().item() == 1, "\(entry.name)")
    }
  }

  @Test func stopRequestWritesACheckpointAndResumes() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    // More than are trained until the request is seen, and no checkpoint but the one of the stop.
    let options = [
      "training.steps=97", "checkpoint.every_steps=null", "evaluation.every_steps=null",
      "export.at_end=false",
    ]
    try tiny.train(run: "whole", options)
    let request = StopRequest()
    let metrics = "\(tiny.folder)/stopped/metrics.jsonl"
    Thread.detachNewThread {
      while (FileManager.default.contents(atPath: metrics)?.count ?? 0) == 0 {
        Thread.sleep(forTimeInterval: 0.001)
      }
      request.request()
    }
    let stopped = try tiny.train(run: "stopped", options, stopRequest: request)
    #expect(stopped.isStopped && stopped.step > 0 && stopped.step < 97)
    #expect(stopped.exportPath == nil)
    let newest = try #require(
      try RunCheckpointStore(folder: stopped.layout.checkpoints).latestComplete())
    #expect(newest.step == stopped.step)
    try newest.verify()
    let resumed = try tiny.train(run: "stopped", options)
    #expect(!resumed.isStopped)
    #expect(resumed.firstStep == stopped.step + 1)
    #expect(try tiny.curve(run: "stopped") == tiny.curve(run: "whole"))
  }

  /// A directory that has another name by now is not made again.
  @Test(arguments: ["renamed", "removed", "replaced"])
  func aRunWhoseDirectoryIsNotThereAnyMoreStops(_ change: String) throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let run = try TrainingRun(
      try tiny.configuration(run: "a"), resume: .automatic, stopRequest: StopRequest())
    let (root, manager) = ("\(tiny.folder)/a", FileManager.default)
    switch change {
    case "removed": try manager.removeItem(atPath: root)
    default: try manager.moveItem(atPath: root, toPath: "\(tiny.folder)/b")
    }
    if change == "replaced" {
      try manager.createDirectory(atPath: root, withIntermediateDirectories: false)
    }
    let error = #expect(throws: RunDirectoryError.self) { try run.run() }
    #expect(error?.code == .moved && error?.path == root)
    #expect(tiny.names(run: "a", "") == [])
    #expect(manager.fileExists(atPath: root) == (change == "replaced"))
    guard change != "removed" else { return }
    // What it had open goes on in the directory that it began in, until something is made by name.
    #expect(try tiny.steps(run: "b").first?.step == 1)
  }

  @Test(arguments: [
    ("export", "no folder"), ("checkpoints", "no folder"), ("loss.svg", "a folder"),
  ])
  func whatIsInTheWayOfTheEndIsFoundAtTheStart(name: String, what: String) throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let path = "\(tiny.folder)/a/\(name)"
    try FileManager.default.createDirectory(
      atPath: name == "loss.svg" ? path : "\(tiny.folder)/a", withIntermediateDirectories: true)
    if name != "loss.svg" { try tiny.write("x", to: "a/\(name)") }
    let error = #expect(throws: RunDirectoryError.self) { try tiny.train(run: "a") }
    #expect(error?.description.hasPrefix("\(path): is \(what)") == true)
    #expect(!FileManager.default.fileExists(atPath: "\(tiny.folder)/a/metrics.jsonl"))
  }

  @Test(arguments: ["training.recompute=full", "training.recompute=0.5"])
  func recomputationChangesNoBit(_ override: String) throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    try tiny.train(run: "plain", ["export.at_end=false"])
    try tiny.train(run: "recomputed", [override, "export.at_end=false"])
    #expect(try tiny.curve(run: "plain") == tiny.curve(run: "recomputed"))
  }

  @Test func usedDirectoryIsRefusedWithoutResume() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    try tiny.train(run: "a", ["training.steps=3", "export.at_end=false"])
    #expect(throws: TrainingError.self) { try tiny.train(run: "a", resume: .never) }
  }

  @Test func olderCheckpointOfTheSameRunIsRefused() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    try tiny.train(run: "a", ["export.at_end=false"])
    let older = "\(tiny.folder)/a/checkpoints/step-00000006"
    let error = #expect(throws: TrainingError.self) {
      try tiny.train(run: "a", resume: .checkpoint(older))
    }
    #expect(error?.description.contains("run.directory") == true)
  }

  @Test func vocabularySmallerThanATokenIsRefused() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let error = #expect(throws: (any Error).self) {
      try tiny.train(run: "a", ["model.architecture.vocab_size=280"])
    }
    #expect("\(error!)".contains("outside the model's vocabulary of 280"))
  }

  @Test func checkpointOfAnotherModelIsRefused() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    try tiny.train(run: "a", ["training.steps=3", "export.at_end=false"])
    let error = #expect(throws: CheckpointError.self) {
      try tiny.train(run: "a", ["model.architecture.moe_intermediate_size=32"])
    }
    #expect(error?.code == .mismatch)
    #expect(error?.description.contains("another model") == true)
  }

  @Test func weightsWithNaNAreRefusedByName() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let reference = ReferenceModel(name: "qwen3_moe")
    let copy = "\(tiny.folder)/model"
    try FileManager.default.copyItem(atPath: reference.folder, toPath: copy)
    let file = try reference.file("model")
    let tensors = try file.names.map { name -> (name: String, tensor: Tensor) in
      let tensor = try file.tensor(name).cloned()
      if name == "model.layers.1.mlp.gate.weight" {
        tensor.narrowed(dim: 0, start: 2, length: 1).fill(.real(.nan))
      }
      return (name, tensor)
    }
    try SafetensorsFile.write(tensors, to: "\(copy)/model.safetensors")
    for name in ["expected", "grads", "packed_grads", "training_curve"] {
      try? FileManager.default.removeItem(atPath: "\(copy)/\(name).safetensors")
    }
    let error = #expect(throws: CheckpointError.self) {
      try PreparedModel(path: copy, computeDType: .float32)
    }
    #expect(error?.description.contains("model.layers.1.mlp.gate.weight") == true)
  }

  @Test func divergedRunStopsWithItsCause() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let error = #expect(throws: TrainingError.self) {
      try tiny.train(run: "a", ["training.skip_threshold=1.0e-9", "training.steps=40"])
    }
    #expect(error?.exitCode == .nonFinite)
    #expect(error?.description.contains("skip_threshold") == true)
  }
}
