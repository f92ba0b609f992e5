import Foundation
import Testing
import Torch
import XTunerCheckpoint
import XTunerModels
import XTunerNN

@testable import XTunerLaunch
@testable import XTunerRun
@testable import XTunerConfiguration
@testable import XTunerEngine
@testable import XTunerTrainer

/// Folders whose `config.json` ties the head to the embedding, and that have a head all the same.
@Suite struct TiedHeadTests {
  private enum Head { case copy, other, alone }

  private static let embeddingName = "model.embed_tokens.weight"
  private static let headName = "lm_head.weight"

  /// The tied reference model with a head beside, or instead of, its embedding.
  private func write(_ head: Head, to folder: String) throws {
    let reference = ReferenceModel(name: "qwen3_tied")
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    try FileManager.default.copyItem(
      atPath: "\(reference.folder)/config.json", toPath: "\(folder)/config.json")
    let file = try reference.file("model")
    var tensors = try file.names.map { (name: $0, tensor: try file.tensor($0)) }
    let embedding = try file.tensor(Self.embeddingName)
    let values = embedding.cloned()
    if head == .other {
      // The last element alone.
      values.view([-1]).narrowed(dim: 0, start: values.elementCount - 1, length: 1).fill(.real(0.5))
    }
    tensors.append((name: Self.headName, tensor: values))
    if head == .alone { tensors.removeAll { $0.name == Self.embeddingName } }
    try SafetensorsFile.write(tensors, to: "\(folder)/model.safetensors")
  }

  private func configuration(_ folder: String, _ overrides: [String] = []) throws
    -> RunConfiguration
  {
    try RunConfiguration.parse(
      """
      model: {path: \(folder)}
      data: {train: a.jsonl}
      training: {steps: 3}
      """, file: "run.yaml", overrides: overrides)
  }

  private func withFolder(_ head: Head, _ body: (String) throws -> Void) throws {
    let folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("xtuner-test-\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try write(head, to: "\(folder)/model")
    try body("\(folder)/model")
  }

  /// As transformers 5.23: two matrices, said so, and an export that says so too.
  @Test func aHeadThatDiffersIsUntied() throws {
    try withFolder(.other) { folder in
      let described = try configuration(folder).describedModel()
      #expect(!described.configuration.tiesEmbeddings)
      #expect(described.notes.count == 1)
      #expect(described.notes[0].contains("lm_head.weight and model.embed_tokens.weight differ"))

      let prepared = try PreparedModel(path: folder, computeDType: .float32)
      let head = try #require(prepared.model.head.weight).value
      let source = try HFCheckpointFolder(path: folder)
      let expected = try source.file(of: Self.headName).tensor(Self.headName)
      #expect(largestDifference(head, expected) == 0)
      #expect(largestDifference(prepared.model.source.weight.value, expected) > 0.1)

      let export = "\(folder)-export"
      try HFWeights.export(prepared.model, units: prepared.units, to: export, dtype: .float32)
      let again = try ModelConfiguration(path: export)
      #expect(!again.tiesEmbeddings && again.notes == [])
      let written = try HFCheckpointFolder(path: export)
      #expect(
        try largestDifference(
          written.file(of: Self.headName).tensor(Self.headName), expected) == 0)
    }
  }

  @Test func aHeadThatIsACopyStaysTied() throws {
    try withFolder(.copy) { folder in
      let described = try configuration(folder).describedModel()
      #expect(described.configuration.tiesEmbeddings && described.notes == [])
      #expect(try PreparedModel(path: folder, computeDType: .float32).model.head.weight == nil)
    }
  }

  /// transformers ties to whichever of the two is there.
  @Test func aHeadAloneIsTheEmbedding() throws {
    try withFolder(.alone) { folder in
      let prepared = try PreparedModel(path: folder, computeDType: .float32)
      #expect(prepared.model.head.weight == nil)
      let embedding = try ReferenceModel(name: "qwen3_tied").file("model")
        .tensor(Self.embeddingName)
      #expect(largestDifference(prepared.model.source.weight.value, embedding) == 0)
    }
  }

  @Test func whoeverAsksForATieGetsIt() throws {
    try withFolder(.other) { folder in
      let asked = try configuration(folder, ["model.overrides.tie_word_embeddings=true"])
      #expect(try asked.describedModel().configuration.tiesEmbeddings)
      // Nothing of the head is looked at where weights are drawn.
      let random = try configuration(folder, ["model.weights=random"])
      #expect(try random.describedModel().configuration.tiesEmbeddings)
    }
  }
}
