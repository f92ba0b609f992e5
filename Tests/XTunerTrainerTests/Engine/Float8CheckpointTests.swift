import Foundation
import Testing
import Torch
import XTunerCheckpoint
import XTunerModels
import XTunerNN
import XTunerParallel

@testable import XTunerLaunch
@testable import XTunerRun
@testable import XTunerConfiguration
@testable import XTunerEngine
@testable import XTunerTrainer

/// Hugging Face folders whose matrices are float8 in blocks of 128 x 128.
@Suite(.serialized) struct Float8CheckpointTests {
  private let folder = FileManager.default.temporaryDirectory
    .appendingPathComponent("xtuner-test-\(UUID().uuidString)").path

  /// A mixture and a dense layer, with partial blocks in both dims.
  private func model() throws -> PreparedModel {
    let text = """
      {"model_type": "qwen3_moe", "vocab_size": 97, "hidden_size": 144, "intermediate_size": 270,
       "moe_intermediate_size": 140, "num_hidden_layers": 2, "num_attention_heads": 4,
       "num_key_value_heads": 2, "head_dim": 34, "num_experts": 4, "num_experts_per_tok": 2,
       "norm_topk_prob": true, "mlp_only_layers": [1], "rms_norm_eps": 1e-6, "rope_theta": 10000,
       "max_position_embeddings": 64, "hidden_act": "silu", "tie_word_embeddings": false}
      """
    let prepared = PreparedModel(
      try ModelConfiguration(parsing: Array(text.utf8), file: "test"), computeDType: .float32,
      isTrained: false)
    prepared.initialize(seed: 11)
    return prepared
  }

  private func export(_ prepared: PreparedModel, _ name: String, _ dtype: DType = .float8e4m3)
    throws
    -> HFCheckpointFolder
  {
    try HFWeights.export(
      prepared.model, units: prepared.units, to: "\(folder)/\(name)", dtype: dtype,
      maximumShardByteCount: 300_000)
    return try HFCheckpointFolder(path: "\(folder)/\(name)")
  }

  private func tensors(_ folder: HFCheckpointFolder) throws -> [String: Tensor] {
    var tensors: [String: Tensor] = [:]
    for entry in folder.entries {
      tensors[entry.name] = try folder.file(of: entry.name).tensor(entry.name)
    }
    return tensors
  }

  private func isMatrix(_ name: String) -> Bool {
    name.hasSuffix("_proj.weight")
  }

  @Test func matricesAreWrittenInBlocksAndTheRestInBfloat16() throws {
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let original = try model()
    let (exact, blocks) = (
      try tensors(export(original, "f32", .float32)), try tensors(export(original, "fp8"))
    )
    for (name, tensor) in exact {
      let written = try #require(blocks[name])
      guard isMatrix(name) else {
        #expect(written.dtype == .bfloat16, "\(name)")
        #expect(written.floats() == tensor.to(.bfloat16).floats(), "\(name)")
        continue
      }
      let expected = tensor.quantizedInBlocks(implementation: .reference)
      #expect(written.dtype == .float8e4m3, "\(name)")
      #expect(written.floats() == expected.values.floats(), "\(name)")
      let scales = try #require(blocks["\(name)_scale_inv"])
      #expect(scales.shape == [(tensor.size(0) + 127) / 128, (tensor.size(1) + 127) / 128])
      #expect(scales.floats() == expected.scales.floats(), "\(name)")
    }
    #expect(blocks.count == exact.count + exact.keys.filter(isMatrix).count)
    #expect(exact.keys.contains { $0.hasSuffix("mlp.gate.weight") && !isMatrix($0) })

    let configuration = try ModelConfiguration(path: "\(folder)/fp8")
    #expect(configuration.hasFloat8Blocks)
    let text = try configuration.configurationText()
    #expect(
      text.contains("weight_scale_inv") == false && text.contains("\"quant_method\": \"fp8\""))
    #expect(text.contains("model.layers.0.mlp.gate") && !text.contains("model.layers.1.mlp.gate"))
  }

  /// What is read is value times scale, and writing it again gives the same values.
  @Test func roundTripKeepsValues() throws {
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let first = try tensors(export(model(), "first"))
    let loaded = try PreparedModel(path: "\(folder)/first", computeDType: .float32)
    let read = try tensors(export(loaded, "read", .float32))
    for (name, tensor) in read {
      let written = try #require(first[name])
      guard let scales = first["\(name)_scale_inv"] else {
        #expect(tensor.floats() == written.floats(), "\(name)")
        continue
      }
      let blocks = Float8Tensor(values: written, scales: scales, tiling: .blocks)
      #expect(
        tensor.floats() == blocks.dequantized(implementation: .reference).floats(), "\(name)")
    }
    // 448 times a scale is rounded, so that a scale may come back with another last bit.
    let second = try tensors(export(loaded, "second"))
    #expect(Set(first.keys) == Set(second.keys))
    for (name, tensor) in first {
      let (before, after) = (tensor.floats(), try #require(second[name]).floats())
      for (a, b) in zip(before, after) {
        #expect(name.hasSuffix("scale_inv") ? abs(a - b) <= a.ulp : a == b, "\(name)")
      }
    }
    // Written in bfloat16, nothing says that the folder is quantised.
    _ = try export(loaded, "bf16", .bfloat16)
    let text = try String(contentsOfFile: "\(folder)/bf16/config.json", encoding: .utf8)
    #expect(!text.contains("quantization_config"))
  }

  @Test(arguments: ShardedWeightsTests.layouts)
  func ranksReadTheirPartsAndWriteTheSame(layout: ParallelLayout) throws {
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let source = try tensors(export(model(), "source"))
    let exact = try tensors(
      export(try PreparedModel(path: "\(folder)/source", computeDType: .float32), "exact", .float32)
    )
    let folder = folder
    _ = try runMesh(layout) { mesh in
      let prepared = try PreparedModel(
        path: "\(folder)/source", computeDType: .bfloat16, isTrained: true, mesh: mesh)
      for (name, dtype) in [("exact-copy", DType.float32), ("copy", .float8e4m3)] {
        try HFWeights.export(
          prepared.model, units: prepared.units, to: "\(folder)/\(name)", dtype: dtype)
      }
    }
    let copied = try tensors(HFCheckpointFolder(path: "\(folder)/exact-copy"))
    for (name, tensor) in exact { #expect(copied[name]?.floats() == tensor.floats(), "\(name)") }
    let copy = try tensors(HFCheckpointFolder(path: "\(folder)/copy"))
    #expect(Set(copy.keys) == Set(source.keys))
    for (name, tensor) in source where !name.hasSuffix("scale_inv") {
      #expect(copy[name]?.floats() == tensor.floats(), "\(name)")
    }
  }

  // MARK: Damage

  private static let query = "model.layers.0.self_attn.q_proj.weight"

  /// The message that a folder is refused with after a change of its tensors.
  private func refusal(
    _ change: (inout [String: Tensor]) -> Void, configuration: (String) -> String = { $0 }
  ) throws -> String {
    defer { try? FileManager.default.removeItem(atPath: folder) }
    var all = try tensors(export(model(), "fp8"))
    change(&all)
    let damaged = "\(folder)/damaged"
    try FileManager.default.createDirectory(atPath: damaged, withIntermediateDirectories: true)
    try SafetensorsFile.write(
      all.sorted { $0.key < $1.key }.map { (name: $0.key, tensor: $0.value) },
      to: "\(damaged)/model.safetensors")
    let text = try String(contentsOfFile: "\(folder)/fp8/config.json", encoding: .utf8)
    try configuration(text).write(
      toFile: "\(damaged)/config.json", atomically: true, encoding: .utf8)
    do {
      _ = try PreparedModel(path: damaged, computeDType: .float32)
    } catch {
      return "\(error)"
    }
    return "was read"
  }

  @Test func missingScalesAreNamedWithTheirFile() throws {
    let message = try refusal { $0["\(Self.query)_scale_inv"] = nil }
    #expect(message.contains("damaged/model.safetensors"))
    #expect(
      message.contains("tensor \(Self.query) is F8_E4M3, and \(Self.query)_scale_inv is missing"))
  }

  @Test func truncatedScalesAreNamedWithTheirFile() throws {
    let message = try refusal {
      $0["\(Self.query)_scale_inv"] = Tensor.ones([1, 2], dtype: .float32)
    }
    #expect(message.contains("damaged/model.safetensors"))
    #expect(message.contains("tensor \(Self.query)_scale_inv is [1, 2], must be [2, 2]"))
  }

  @Test func scalesOfTheWrongTypeOrValueAreNamed() throws {
    let type = try refusal { $0["\(Self.query)_scale_inv"] = Tensor.ones([2, 2], dtype: .int32) }
    #expect(type.contains("tensor \(Self.query)_scale_inv is I32, must be F32, BF16 or F16"))
    let value = try refusal {
      $0["\(Self.query)_scale_inv"] = Tensor.full([2, 2], value: .real(.nan), dtype: .float32)
    }
    #expect(value.contains("tensor \(Self.query) holds a NaN or an infinity"))
  }

  @Test func scalesOfNothingAreNotPartOfTheModel() throws {
    let message = try refusal {
      $0["model.norm.weight_scale_inv"] = Tensor.ones([1], dtype: .float32)
    }
    #expect(message.contains("not part of this model: model.norm.weight_scale_inv"))
  }

  @Test func float8WithoutItsConfigurationIsRefused() throws {
    let message = try refusal { _ in
    } configuration: {
      $0.replacingOccurrences(of: "quantization_config", with: "other")
    }
    #expect(message.contains("is F8_E4M3, and config.json has no quantization_config"))
  }

  @Test(arguments: [
    ("\"fp8\"", "\"gptq\"", "quant_method must be \"fp8\", is \"gptq\""),
    ("\"e4m3\"", "\"e5m2\"", "fmt must be \"e4m3\", is \"e5m2\""),
    ("\"dynamic\"", "\"static\"", "activation_scheme must be \"dynamic\", is \"static\""),
    ("weight_block_size", "other", "weight_block_size must be [128,128], is absent"),
  ])
  func otherQuantizationsAreRefused(from: String, to: String, reason: String) throws {
    let message = try refusal { _ in
    } configuration: {
      $0.replacingOccurrences(of: from, with: to)
    }
    #expect(message.contains(reason), "\(message)")
  }
}
