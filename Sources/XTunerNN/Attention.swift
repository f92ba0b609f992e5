public import Torch

// Shape legend for this file:
//   T tokens of the pack   D hidden   H query heads   G key-value heads   d head size   S sequences

/// Grouped-query attention with rotary positions, causal inside each sample.
public final class Attention: Module {
  /// Sizes and variants of the layer.
  public struct Options: Sendable {
    /// Width of the hidden states.
    public var hiddenSize: Int
    /// Query heads.
    public var headCount: Int
    /// Key and value heads; divides the query heads.
    public var keyValueHeadCount: Int
    /// Width of a head.
    public var headSize: Int
    /// Whether queries and keys are normalised a head before the rotation, with this epsilon.
    public var queryKeyNormEpsilon: Double?
    /// Whether the query, key and value projections have a bias.
    public var hasInputBias: Bool
    /// Whether the output projection has a bias.
    public var hasOutputBias: Bool
    /// Whether each query head has a learned logit that takes weight and gives no value.
    public var hasSinks: Bool
    /// How many keys a query sees, itself included; nil for all.
    public var window: Int?
    /// Standard deviation of the first weights.
    public var standardDeviation: Double

    /// All sizes and variants.
    public init(
      hiddenSize: Int, headCount: Int, keyValueHeadCount: Int, headSize: Int,
      queryKeyNormEpsilon: Double? = nil, hasInputBias: Bool = false, hasOutputBias: Bool = false,
      hasSinks: Bool = false, window: Int? = nil, standardDeviation: Double = 0.02
    ) {
      self.hiddenSize = hiddenSize
      self.headCount = headCount
      self.keyValueHeadCount = keyValueHeadCount
      self.headSize = headSize
      self.queryKeyNormEpsilon = queryKeyNormEpsilon
      self.hasInputBias = hasInputBias
      self.hasOutputBias = hasOutputBias
      self.hasSinks = hasSinks
      self.window = window
      self.standardDeviation = standardDeviation
    }
  }

  let name: String
  let options: Options
  let query: Linear
  let key: Linear
  let value: Linear
  let output: Linear
  let queryNorm: RMSNorm?
  let keyNorm: RMSNorm?
  let sinks: Parameter?

  /// Declares the projections `query`, `key`, `value`, `output` and, where asked for, the norms and
  /// sinks.
  public init(_ name: String, _ options: Options) {
    self.name = name
    self.options = options
    let (hidden, size) = (options.hiddenSize, options.headSize)
    func linear(_ part: String, _ inputSize: Int, _ outputSize: Int, hasBias: Bool) -> Linear {
      Linear(
        "\(name).\(part)", inputSize: inputSize, outputSize: outputSize, hasBias: hasBias,
        standardDeviation: options.standardDeviation)
    }
    self.query = linear("query", hidden, options.headCount * size, hasBias: options.hasInputBias)
    self.key = linear("key", hidden, options.keyValueHeadCount * size, hasBias: options.hasInputBias)
    self.value = linear(
      "value", hidden, options.keyValueHeadCount * size, hasBias: options.hasInputBias)
    self.output = linear("output", options.headCount * size, hidden, hasBias: options.hasOutputBias)
    self.queryNorm = options.queryKeyNormEpsilon.map {
      RMSNorm("\(name).queryNorm", size: size, epsilon: $0)
    }
    self.keyNorm = options.queryKeyNormEpsilon.map {
      RMSNorm("\(name).keyNorm", size: size, epsilon: $0)
    }
    self.sinks =
      options.hasSinks
      ? Parameter(
        "\(name).sinks", shape: [options.headCount], kind: .bias,
        initializer: .normal(standardDeviation: options.standardDeviation), precision: .full) : nil
  }

  /// All weights, in the order of the published checkpoints.
  public var parameters: [Parameter] {
    query.parameters + key.parameters + value.parameters
      + (queryNorm?.parameters ?? []) + (keyNorm?.parameters ?? [])
      + output.parameters + (sinks.map { [$0] } ?? [])
  }

  /// Returns `[T, D]` for normalised hidden states `[T, D]`.
  public func callAsFunction(_ hiddenTD: Tensor, _ context: ForwardContext) -> Tensor {
    let tokenCount = hiddenTD.size(0)
    var queryTHd = query(hiddenTD).view([tokenCount, options.headCount, options.headSize])
    var keyTGd = key(hiddenTD).view([tokenCount, options.keyValueHeadCount, options.headSize])
    let valueTGd = value(hiddenTD).view([tokenCount, options.keyValueHeadCount, options.headSize])
    if let queryNorm, let keyNorm {
      queryTHd = queryNorm(queryTHd)
      keyTGd = keyNorm(keyTGd)
    }
    queryTHd = context.rotary.rotate(queryTHd)
    keyTGd = context.rotary.rotate(keyTGd)
    let mixedTHd = attend(queryTHd, keyTGd, valueTGd, context)
    return output(mixedTHd.reshaped([tokenCount, options.headCount * options.headSize]))
  }

  private var scale: Double { 1 / Double(options.headSize).squareRoot() }

  private func attend(
    _ queryTHd: Tensor, _ keyTGd: Tensor, _ valueTGd: Tensor, _ context: ForwardContext
  ) -> Tensor {
    if let cache = context.cache {
      let cached = cache.write(key: keyTGd, value: valueTGd, layer: name)
      if case .decode(let mask, let length) = cache.pass {
        return decode(queryTHd, cached, mask: mask, length: length)
      }
    }
    return Tensor.varlenAttention(
      query: queryTHd, key: keyTGd, value: valueTGd, bounds: context.bounds, scale: scale,
      window: options.window, sinks: sinks?.value)
  }

  /// One new token a sequence against everything cached: `[S, H, d]`.
  private func decode(
    _ querySHd: Tensor, _ cached: (key: Tensor, value: Tensor), mask: Tensor, length: Int
  ) -> Tensor {
    precondition(
      options.window == nil && sinks == nil, "\(name): generation with windows or sinks is not built")
    let query = querySHd.unsqueezed(dim: 2)
    let key = cached.key.narrowed(dim: 1, start: 0, length: length).transposed(1, 2)
    let value = cached.value.narrowed(dim: 1, start: 0, length: length).transposed(1, 2)
    let mixed = Tensor.scaledDotProductAttention(
      query: query, key: key, value: value, mask: mask, dropout: 0, isCausal: false, scale: scale,
      enableGQA: true)
    return mixed.squeezed(dim: 2)
  }
}
