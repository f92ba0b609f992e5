import Testing
import Torch
import XTunerNN

@testable import XTunerMoE
@testable import XTunerModels

/// Parts that no family has yet, put together by the kit: sinks, a window, grouped sigmoid routing with a
/// selection bias, a shared expert.
@Suite struct DecoderBlockTests {
  private static let sizes = BlockSizes(hiddenSize: 14, normEpsilon: 1e-6, standardDeviation: 0.3)

  private static func layer(sharedExpertSize: Int = 11) -> DecoderLayerOptions {
    DecoderLayerOptions(
      attention: .groupedQuery(
        GroupedQueryAttention.Options(
          headCount: 6, keyValueHeadCount: 2, headSize: 10, hasInputBias: true,
          hasOutputBias: true, hasSinks: true, window: 3)),
      feedForward: .mixture(
        MixtureOfExperts.Options(
          router: Router.Options(
            scoring: .sigmoid, expertCount: 6, expertsPerToken: 2, normalizesWeights: true,
            scalingFactor: 2.5, groupCount: 3, keptGroupCount: 2, hasSelectionBias: true,
            hasBias: true),
          expertSize: 5, sharedExpertSize: sharedExpertSize)))
  }

  private static func block(_ layer: DecoderLayerOptions) -> DecoderBlock {
    DecoderBlock(
      "layers.0", attentionNorm: RMSNorm("layers.0.attentionNorm", sizes),
      attention: layer.attention.makePart("layers.0.attention", sizes),
      feedForwardNorm: RMSNorm("layers.0.feedForwardNorm", sizes),
      feedForward: layer.feedForward.makePart("layers.0", sizes))
  }

  private static func fill(_ parameters: [Parameter]) {
    for (index, parameter) in parameters.enumerated() {
      let generator = Generator(seed: UInt64(index + 1))
      parameter.value = (Tensor.randomNormal(parameter.shape, generator: generator) * 0.3).leaf()
    }
  }

  /// Two samples of 4 and 3 tokens.
  private static func context() -> ForwardContext {
    ForwardContext(
      ModelInput(bounds: [0, 4, 7]), RotaryConfiguration(base: 100, rotatedSize: 10), on: .cpu)
  }

  /// The values of all stages, by their names.
  private static func values(_ block: DecoderBlock, _ input: Tensor) -> [StageValue: Tensor] {
    let (context, record) = (context(), BlockRecord())
    var values: [StageValue: Tensor] = [.input: input]
    for stage in block.stages {
      let made = stage.run(stage.inputs.map { values.at($0) }, context, record)
      for (name, tensor) in zip(stage.outputs, made) { values[name] = tensor }
    }
    return values
  }

  @Test func stagesFollowFromTheParts() {
    let names = { (layer: DecoderLayerOptions) in Self.block(layer).stages.map(\.name) }
    #expect(
      names(Self.layer())
        == [.project, .attend, .route, .dispatch, .experts, .shared, .combine])
    #expect(
      names(Self.layer(sharedExpertSize: 0))
        == [.project, .attend, .route, .dispatch, .experts, .combine])
    var dense = Self.layer()
    dense.feedForward = .dense(intermediateSize: 9)
    #expect(names(dense) == [.project, .attend, .feedForward])
  }

  /// The output is the residual, the weighted rows of the chosen experts and the shared expert's output,
  /// each computed here from the layer's own definition.
  @Test func aMixtureAddsItsExpertsAndTheSharedOne() throws {
    let block = Self.block(Self.layer())
    Self.fill(block.parameters)
    let input = Tensor.randomNormal([7, 14], generator: Generator(seed: 99))
    let values = withoutGradients { Self.values(block, input) }
    let weight = { (name: String) throws -> Tensor in
      try #require(block.parameters.first { $0.name == "layers.0.\(name)" }).value.detached()
    }
    func gated(_ x: Tensor, _ gateUp: Tensor, _ down: Tensor) -> Tensor {
      let size = gateUp.size(0) / 2
      let both = Tensor.linear(x, weight: gateUp, bias: nil)
      let gate = both.narrowed(dim: -1, start: 0, length: size)
      let up = both.narrowed(dim: -1, start: size, length: size)
      return Tensor.linear(gate * gate.sigmoid() * up, weight: down, bias: nil)
    }
    let normalized = values.at(.normalized)
    let logits = Tensor.linear(
      normalized, weight: try weight("router.weight"), bias: try weight("router.bias"))
    let scores = logits.sigmoid().floats()
    let bias = try weight("router.selectionBias").floats()
    var rows: [Tensor] = []
    for token in 0..<7 {
      let own = Array(scores[token * 6..<token * 6 + 6])
      let ranking = zip(own, bias).map(+)
      let groups = (0..<3).map { ranking[2 * $0] + ranking[2 * $0 + 1] }
      let best = (0..<3).sorted { groups[$0] > groups[$1] }.prefix(2)
      let chosen = best.flatMap { [2 * $0, 2 * $0 + 1] }.sorted { ranking[$0] > ranking[$1] }
        .prefix(2)
      let sum = chosen.reduce(Float(0)) { $0 + own[$1] }
      let x = normalized.narrowed(dim: 0, start: token, length: 1)
      var row = gated(
        x, try weight("sharedExpert.gateUp.weight"), try weight("sharedExpert.down.weight"))
      for expert in chosen {
        let output = gated(
          x, try weight("experts.gateUp.weight").selected(dim: 0, index: expert),
          try weight("experts.down.weight").selected(dim: 0, index: expert))
        row = row + output * Double(2.5 * own[expert] / sum)
      }
      rows.append(row)
    }
    let expected = values.at(.residual) + Tensor.concatenated(rows, dim: 0)
    let difference = (values.at(.output) - expected).absolute().maximumValue().item()
    // float32 sums of at most 14 products of numbers near 1.
    #expect(difference < 2e-5)
  }

  @Test func everyParameterButTheSelectionBiasHasAGradient() {
    let block = Self.block(Self.layer())
    Self.fill(block.parameters)
    let input = Tensor.randomNormal([7, 14], generator: Generator(seed: 99))
    let output = block(input, Self.context())
    let found = gradients(
      of: [output], withRespectTo: block.parameters.map(\.value),
      outputGradients: [Tensor.randomNormal([7, 14], generator: Generator(seed: 7))])
    for (parameter, gradient) in zip(block.parameters, found) {
      let isMoved = (gradient?.absolute().maximumValue().item() ?? 0) > 0
      #expect(isMoved == (parameter.role != .replicated), "\(parameter.name)")
    }
  }

  /// Counts come from the parts, whichever they are.
  @Test func factsCountWhatTheModelHas() throws {
    var configuration = ModelConfiguration.qwen3MoE(
      vocabularySize: 31, hiddenSize: 14, expertCount: 6, expertsPerToken: 2, expertSize: 5,
      layerCount: 2, headCount: 6, keyValueHeadCount: 2, headSize: 10)
    configuration.layers[1] = Self.layer()
    let model = configuration.makeModel()
    let trained = model.parameters.filter { $0.role != .replicated }
    #expect(model.facts.parameterCount == trained.reduce(0) { $0 + $1.elementCount })
    // Four of six experts are not passed, in two layers.
    #expect(
      model.facts.parameterCount - model.facts.activeParameterCount == 2 * 4 * 3 * 5 * 14)
    #expect(model.facts.expertParameterCount == 2 * 6 * 3 * 5 * 14)
    #expect(model.facts.computedParameterCount == model.facts.activeParameterCount - 31 * 14)
    #expect(model.facts.cachedElementsPerToken == 2 * (2 * 2 * 10))
    #expect(model.facts.blocks.map(\.attention?.window) == [nil, 3])
    #expect(model.facts.blocks[1].heads == HeadCounts(query: 6, keyValue: 2))
    #expect(model.facts.blocks[1].experts == RoutedExperts(count: 6, perToken: 2, size: 5))
  }
}
