public import Torch
import XTunerMoE
public import XTunerNN

/// A decoder language model as a list of blocks: embedding, layers, head.
///
/// Built without memory: an engine gives the parameters their tensors. Nothing here knows of
/// sharding, schedules or optimizers.
public final class CausalLanguageModel: Module {
  /// What the model is.
  public let configuration: ModelConfiguration
  /// The token embeddings.
  public let embedding: TokenEmbedding
  /// The decoder layers, first to last.
  public let layers: [DecoderLayer]
  /// The final norm and the projection onto the vocabulary.
  public let head: OutputHead

  /// Declares all parameters of `configuration`.
  public init(_ configuration: ModelConfiguration) {
    self.configuration = configuration
    let deviation = configuration.initializerRange
    self.embedding = TokenEmbedding(
      vocabularySize: configuration.vocabularySize, hiddenSize: configuration.hiddenSize,
      standardDeviation: deviation)
    self.layers = configuration.layers.enumerated().map { index, layer in
      Self.makeLayer("layers.\(index)", layer, configuration)
    }
    self.head = OutputHead(
      embedding: embedding, vocabularySize: configuration.vocabularySize,
      hiddenSize: configuration.hiddenSize, epsilon: configuration.normEpsilon,
      isTied: configuration.tiesEmbeddings, standardDeviation: deviation)
  }

  /// All parameters, in the order of the forward pass.
  public var parameters: [Parameter] {
    embedding.parameters + layers.flatMap(\.parameters) + head.parameters
  }

  /// Where the parameters are, once they have memory, and with them everything that is computed.
  public var device: Device { embedding.weight.value.device }

  /// What a forward pass over a pack needs to know.
  ///
  /// `bounds` say where samples start and end, from 0 to the token count of the whole pack. Where a
  /// pack is spread over ranks, `tokens` are those of this rank. `positions`, `[T]` int64, count from
  /// 0 in each sample when they are not given.
  public func makeContext(
    bounds: [Int], tokens: Range<Int>? = nil, positions: Tensor? = nil,
    cache: KeyValueCache? = nil
  ) -> ForwardContext {
    let rotary = configuration.rotary
    let positions =
      positions
      ?? Self.positions(bounds: bounds, tokens: tokens ?? 0..<(bounds.last ?? 0), on: device)
    let lengths = cache?.lengths ?? zip(bounds, bounds.dropFirst()).map { $1 - $0 }
    let table = RotaryTable(
      positions: positions,
      inverseFrequencies: inverseFrequencies(
        lengths: lengths, bounds: bounds, tokens: tokens ?? 0..<(bounds.last ?? 0)),
      factor: rotary.attentionFactor, isInterleaved: rotary.isInterleaved)
    return ForwardContext(
      bounds: Tensor(hostElements: bounds.map(Int64.init), for: device), rotary: table,
      cache: cache)
  }

  /// `[d/2]`, or `[T, d/2]` where a sample is so long that the dynamic scaling gives it frequencies of
  /// its own: a sample's numbers do not depend on those beside it.
  private func inverseFrequencies(
    lengths: [Int], bounds: [Int], tokens: Range<Int>
  ) -> Tensor {
    let rotary = configuration.rotary
    guard case .dynamic(_, let original) = rotary.scaling,
      lengths.contains(where: { $0 > original })
    else { return Tensor(rotary.inverseFrequencies(), device: device) }
    var frequencies: [Float] = []
    frequencies.reserveCapacity(tokens.count * rotary.rotatedSize / 2)
    for (sample, length) in lengths.enumerated() {
      let own = (bounds[sample]..<bounds[sample + 1]).clamped(to: tokens)
      guard !own.isEmpty else { continue }
      let set = rotary.inverseFrequencies(length: length)
      for _ in own { frequencies += set }
    }
    return Tensor(frequencies, device: device).view([tokens.count, rotary.rotatedSize / 2])
  }

  /// Hidden states `[T, D]` after the last layer, for tokens `[T]`; single-device forward.
  public func hiddenStates(_ tokensT: Tensor, _ context: ForwardContext) -> Tensor {
    layers.reduce(embedding(tokensT)) { hidden, layer in layer(hidden, context) }
  }

  private static func positions(
    bounds: [Int], tokens: Range<Int>, on device: Device
  ) -> Tensor {
    var positions: [Int64] = []
    positions.reserveCapacity(tokens.count)
    for (start, end) in zip(bounds, bounds.dropFirst()) {
      for token in (start..<end).clamped(to: tokens) { positions.append(Int64(token - start)) }
    }
    return Tensor(positions, device: device)
  }

  private static func makeLayer(
    _ name: String, _ layer: DecoderLayerConfiguration, _ configuration: ModelConfiguration
  ) -> DecoderLayer {
    let (hidden, epsilon) = (configuration.hiddenSize, configuration.normEpsilon)
    let deviation = configuration.initializerRange
    return DecoderLayer(
      name,
      attentionNorm: RMSNorm("\(name).attentionNorm", size: hidden, epsilon: epsilon),
      attention: makeAttention("\(name).attention", layer.attention, configuration),
      feedForwardNorm: RMSNorm("\(name).feedForwardNorm", size: hidden, epsilon: epsilon),
      feedForward: {
        switch layer.feedForward {
        case .dense(let size):
          .dense(
            FeedForward(
              "\(name).feedForward", hiddenSize: hidden, intermediateSize: size,
              standardDeviation: deviation))
        case .mixture(let mixture):
          .mixture(makeMixture(name, mixture, configuration))
        }
      }())
  }

  private static func makeAttention(
    _ name: String, _ attention: AttentionConfiguration, _ configuration: ModelConfiguration
  ) -> Attention {
    switch attention {
    case .groupedQuery(let options):
      return Attention(
        name,
        Attention.Options(
          hiddenSize: configuration.hiddenSize, headCount: options.headCount,
          keyValueHeadCount: options.keyValueHeadCount, headSize: options.headSize,
          queryKeyNormEpsilon: options.normalizesQueryAndKey ? configuration.normEpsilon : nil,
          hasInputBias: options.hasInputBias, hasOutputBias: options.hasOutputBias,
          hasSinks: options.hasSinks, window: options.slidingWindow,
          standardDeviation: configuration.initializerRange))
    case .latent:
      preconditionFailure("\(name): ModelConfiguration.validate() refuses latent attention")
    }
  }

  private static func makeMixture(
    _ name: String, _ mixture: MixtureConfiguration, _ configuration: ModelConfiguration
  ) -> MixtureOfExperts {
    let deviation = configuration.initializerRange
    let router = mixture.router
    let scoring: Router.Options.Scoring =
      switch router.scoring {
      case .softmax: .softmax
      case .sigmoid: .sigmoid
      case .softmaxAfterTopK: .softmaxAfterTopK
      }
    return MixtureOfExperts(
      router: Router(
        "\(name).router", hiddenSize: configuration.hiddenSize,
        options: Router.Options(
          scoring: scoring, expertCount: mixture.expertCount,
          expertsPerToken: mixture.expertsPerToken, normalizesWeights: router.normalizesWeights,
          scalingFactor: router.scalingFactor, groupCount: router.groupCount,
          keptGroupCount: router.keptGroupCount),
        hasBias: router.hasBias, hasSelectionBias: router.hasSelectionBias,
        standardDeviation: deviation),
      experts: Experts(
        "\(name).experts", expertCount: mixture.expertCount,
        hiddenSize: configuration.hiddenSize, expertSize: mixture.expertSize,
        standardDeviation: deviation),
      sharedExpert: mixture.sharedExpertSize > 0
        ? FeedForward(
          "\(name).sharedExpert", hiddenSize: configuration.hiddenSize,
          intermediateSize: mixture.sharedExpertSize, standardDeviation: deviation) : nil)
  }
}
