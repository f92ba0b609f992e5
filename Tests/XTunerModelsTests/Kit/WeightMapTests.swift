import Testing
import XTunerNN

@testable import XTunerModels

@Suite struct WeightMapTests {
  private let mixture = WeightMap(
    .qwen3MoE(
      vocabularySize: 19, hiddenSize: 5, expertCount: 3, expertsPerToken: 2, expertSize: 7,
      layerCount: 2, headCount: 4, keyValueHeadCount: 2, headSize: 6))

  private func entry(_ name: String) throws -> WeightMap.Entry {
    try #require(mixture.entries.first { $0.name == name })
  }

  @Test func placesExpertsInFusedParameters() throws {
    let up = try entry("model.layers.1.mlp.experts.2.up_proj.weight")
    #expect(up.parameter == "layers.1.experts.gateUp.weight" && up.shape == [7, 5])
    #expect(up.elementRange == 5 * 35..<6 * 35)
    let gate = try entry("model.layers.1.mlp.experts.2.gate_proj.weight")
    #expect(gate.elementRange == 4 * 35..<5 * 35)
    let down = try entry("model.layers.0.mlp.experts.1.down_proj.weight")
    #expect(down.parameter == "layers.0.experts.down.weight" && down.shape == [5, 7])
    #expect(down.elementRange == 35..<70)
    let shapes = Dictionary(uniqueKeysWithValues: mixture.parameters.map { ($0.path, $0.shape) })
    #expect(shapes["layers.0.experts.gateUp.weight"] == [3, 14, 5])
    #expect(shapes["layers.0.experts.down.weight"] == [3, 5, 7])
  }

  @Test func rangesCoverEveryParameterOnce() {
    for parameter in mixture.parameters {
      let ranges = mixture.entries.filter { $0.parameter == parameter.path }.map(\.elementRange)
        .sorted { $0.lowerBound < $1.lowerBound }
      #expect(ranges.first?.lowerBound == 0)
      #expect(ranges.last?.upperBound == parameter.elementCount)
      for (range, next) in zip(ranges, ranges.dropFirst()) {
        #expect(range.upperBound == next.lowerBound)
      }
    }
  }

  @Test func namesADenseTiedModel() throws {
    let names = WeightMap(
      .qwen3(
        vocabularySize: 19, hiddenSize: 5, intermediateSize: 11, layerCount: 1, headCount: 4,
        keyValueHeadCount: 2, headSize: 6, tiesEmbeddings: true))
    let found = names.entries.map { "\($0.name) \($0.shape) -> \($0.parameter)" }
    #expect(
      found == [
        "model.embed_tokens.weight [19, 5] -> embedding.weight",
        "model.layers.0.input_layernorm.weight [5] -> layers.0.attentionNorm.weight",
        "model.layers.0.self_attn.q_proj.weight [24, 5] -> layers.0.attention.query.weight",
        "model.layers.0.self_attn.k_proj.weight [12, 5] -> layers.0.attention.key.weight",
        "model.layers.0.self_attn.v_proj.weight [12, 5] -> layers.0.attention.value.weight",
        "model.layers.0.self_attn.q_norm.weight [6] -> layers.0.attention.queryNorm.weight",
        "model.layers.0.self_attn.k_norm.weight [6] -> layers.0.attention.keyNorm.weight",
        "model.layers.0.self_attn.o_proj.weight [5, 24] -> layers.0.attention.output.weight",
        "model.layers.0.post_attention_layernorm.weight [5] -> layers.0.feedForwardNorm.weight",
        "model.layers.0.mlp.gate_proj.weight [11, 5] -> layers.0.feedForward.gateUp.weight",
        "model.layers.0.mlp.up_proj.weight [11, 5] -> layers.0.feedForward.gateUp.weight",
        "model.layers.0.mlp.down_proj.weight [5, 11] -> layers.0.feedForward.down.weight",
        "model.norm.weight [5] -> finalNorm.weight",
      ])
    var tensors = names.entries.map { (name: $0.name, shape: $0.shape) }
    tensors.append((name: "lm_head.weight", shape: [19, 5]))
    #expect(names.mismatch(with: tensors).isEmpty)
  }

  @Test func namesBiases() throws {
    var configuration = ModelConfiguration.qwen3(
      vocabularySize: 19, hiddenSize: 5, intermediateSize: 11, layerCount: 1, headCount: 4,
      keyValueHeadCount: 2, headSize: 6, tiesEmbeddings: false)
    guard case .groupedQuery(var attention) = configuration.layers[0].attention else { return }
    attention.hasInputBias = true
    attention.hasOutputBias = true
    configuration.layers[0].attention = .groupedQuery(attention)
    let biases = WeightMap(configuration).entries.filter { $0.name.hasSuffix(".bias") }
    #expect(biases.map(\.shape) == [[24], [12], [12], [5]])
    #expect(biases[1].parameter == "layers.0.attention.key.bias")
    let count = WeightMap(configuration).parameters.reduce(0) { $0 + $1.elementCount }
    #expect(count == configuration.facts.parameterCount)
  }

  @Test func saysWhatIsMissingUnexpectedOrMisshapen() {
    var tensors = mixture.entries.map { (name: $0.name, shape: $0.shape) }
    let removed = tensors.remove(at: 2).name
    tensors[0].shape = [5, 19]
    tensors.append((name: "model.layers.2.input_layernorm.weight", shape: [5]))
    let mismatch = mixture.mismatch(with: tensors)
    #expect(mismatch.missing == [removed])
    #expect(mismatch.unexpected == ["model.layers.2.input_layernorm.weight"])
    #expect(mismatch.shapes.map(\.found) == [[5, 19]])
    #expect(
      mismatch.messages == [
        "missing: \(removed)", "not part of this model: model.layers.2.input_layernorm.weight",
        "wrong shape: model.embed_tokens.weight is [5, 19], must be [19, 5]",
      ])
  }
}
