import Foundation
import Testing
import XTunerCheckpoint
import XTunerModels

@testable import XTunerEngine
@testable import XTunerLaunch
@testable import XTunerConfiguration
@testable import XTunerRun
@testable import XTunerTrainer
import Torch

/// Exports of checkpoints that have everything they need.
@Suite(.serialized) struct RunExportTests {
  private func contents(_ folder: String) throws -> [String: Data] {
    var files: [String: Data] = [:]
    for name in try FileManager.default.contentsOfDirectory(atPath: folder) {
      files[name] = try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(name)"))
    }
    return files
  }

  @Test func aCheckpointAloneIsEnough() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    try tiny.train(run: "a", ["training.steps=3"])
    let expected = try contents("\(tiny.folder)/a/export")
    #expect(
      Set(expected.keys).isSuperset(of: [
        "config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
        "model.safetensors",
      ]))

    // Neither the run, nor its data, nor the tokenizer is there any more.
    let moved = "\(tiny.folder)-moved"
    defer { try? FileManager.default.removeItem(atPath: moved) }
    try FileManager.default.moveItem(
      atPath: "\(tiny.folder)/a/checkpoints/step-00000003", toPath: moved)
    tiny.remove()
    let export = try RunExport(path: moved)
    #expect(export.step == 3 && export.dtype == .bfloat16)
    try FileManager.default.createDirectory(atPath: tiny.folder, withIntermediateDirectories: true)
    try export.write(to: "\(tiny.folder)/out", dtype: export.dtype, overwrites: false)
    let found = try contents("\(tiny.folder)/out")
    #expect(found.keys.sorted() == expected.keys.sorted())
    for (name, data) in expected { #expect(found[name] == data, "\(name)") }
  }

  @Test func aRunDirectoryWithoutItsConfigurationIsEnough() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    try tiny.train(run: "a", ["training.steps=3", "export.at_end=false", "model.dtype=f32"])
    try FileManager.default.removeItem(atPath: "\(tiny.folder)/a/config.yaml")
    let export = try RunExport(path: "\(tiny.folder)/a")
    #expect(export.dtype == .float32)
  }

  /// Checkpoints of before carry nothing: the run's configuration names model and tokenizer.
  @Test func aCheckpointOfBeforeNeedsItsRun() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    // What follows the tokenizer today followed nothing then.
    let tokens = ["bos_token_id=null", "eos_token_id=2"].map { "model.architecture.\($0)" }
    try tiny.train(run: "a", ["training.steps=3"] + tokens)
    let expected = try contents("\(tiny.folder)/a/export")
    let folder = "\(tiny.folder)/a/checkpoints/step-00000003"
    let url = URL(fileURLWithPath: "\(folder)/manifest.json")
    var manifest = try JSONDecoder().decode(
      RunCheckpointManifest.self, from: try Data(contentsOf: url))
    let carried = try #require(manifest.modelFiles)
    manifest.formatVersion = 2
    manifest.modelFiles = nil
    manifest.files.removeAll { carried.contains($0.name) }
    try JSONEncoder().encode(manifest).write(to: url)
    for name in carried + ["manifest.sha256"] {
      try FileManager.default.removeItem(atPath: "\(folder)/\(name)")
    }

    let export = try RunExport(path: "\(tiny.folder)/a")
    try export.write(to: "\(tiny.folder)/out", dtype: export.dtype, overwrites: false)
    let found = try contents("\(tiny.folder)/out")
    #expect(found.keys.sorted() == expected.keys.sorted())
    for (name, data) in expected { #expect(found[name] == data, "\(name)") }
    // And it can be gone on from.
    let longer = ["training.steps=5", "export.at_end=false"] + tokens
    #expect(try tiny.train(run: "a", longer).step == 5)

    let alone = "\(tiny.folder)/alone"
    try FileManager.default.copyItem(atPath: folder, toPath: alone)
    let error = #expect(throws: TrainingError.self) { try RunExport(path: alone) }
    #expect(error?.description.contains("was written by an earlier version") == true)
  }

  @Test func aSampleBeyondTheModelsPositionsIsRefused() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let error = #expect(throws: ConfigurationError.self) {
      try tiny.train(run: "a", ["model.architecture.max_position_embeddings=8"])
    }
    #expect(
      error?.description.contains("tokens, but the model's positions end at 8") == true,
      "\(error as Any)")
    #expect(error?.description.contains("data.jsonl:") == true)
    // Packs alone may be longer.
    try tiny.train(
      run: "b", ["data.sequence_length=128", "training.steps=2", "export.at_end=false"])
    let long = try tiny.train(
      run: "c",
      [
        "model.architecture.max_position_embeddings=96", "data.sequence_length=128",
        "training.steps=2", "export.at_end=false",
      ])
    let log = try String(contentsOfFile: long.layout.log, encoding: .utf8)
    #expect(log.contains("packs of 128 tokens are longer than the model's 96 positions"))
  }
}
