public import Torch

// Shape legend for this file:
//   T tokens of the pack   D hidden   H query heads   G key-value heads   d head size   S sequences

/// Grouped-query attention with rotary positions, causal inside each sample.
public final class GroupedQueryAttention: AttentionPart {
  /// Sizes and variants of the layer.
  public struct Options: Sendable, Hashable {
    /// Query heads.
    public var headCount: Int
    /// Key and value heads; divides the query heads.
    public var keyValueHeadCount: Int
    /// Width of a head; independent of the hidden size.
    public var headSize: Int
    /// Whether queries and keys are normalised a head before the rotation.
    public var normalizesQueryAndKey: Bool
    /// Whether the query, key and value projections have a bias.
    public var hasInputBias: Bool
    /// Whether the output projection has a bias.
    public var hasOutputBias: Bool
    /// Whether each query head has a learned logit that takes weight and gives no value.
    public var hasSinks: Bool
    /// How many keys a query sees, itself included; nil for all.
    public var window: Int?

    /// All sizes and variants.
    public init(
      headCount: Int, keyValueHeadCount: Int, headSize: Int, normalizesQueryAndKey: Bool = false,
      hasInputBias: Bool = false, hasOutputBias: Bool = false, hasSinks: Bool = false,
      window: Int? = nil
    ) {
      self.headCount = headCount
      self.keyValueHeadCount = keyValueHeadCount
      self.headSize = headSize
      self.normalizesQueryAndKey = normalizesQueryAndKey
      self.hasInputBias = hasInputBias
      self.hasOutputBias = hasOutputBias
      self.hasSinks = hasSinks
      self.window = window
    }

    /// Rows of the query projection.
    public var querySize: Int { headCount * headSize }

    /// Rows of the key projection, and of the value projection.
    public var keyValueSize: Int { keyValueHeadCount * headSize }
  }

  let name: String
  let options: Options
  let query: Linear
  let key: Linear
  let value: Linear
  let outputProjection: Linear
  let queryNorm: RMSNorm?
  let keyNorm: RMSNorm?
  let sinks: Parameter?

  /// Declares the projections `query`, `key`, `value`, `output` and, where asked for, the norms and
  /// sinks.
  public init(_ name: String, _ options: Options, _ sizes: BlockSizes) {
    self.name = name
    self.options = options
    let (hidden, size) = (sizes.hiddenSize, options.headSize)
    func linear(_ part: String, _ inputSize: Int, _ outputSize: Int, hasBias: Bool) -> Linear {
      Linear(
        "\(name).\(part)", inputSize: inputSize, outputSize: outputSize, hasBias: hasBias,
        standardDeviation: sizes.standardDeviation)
    }
    self.query = linear("query", hidden, options.headCount * size, hasBias: options.hasInputBias)
    self.key = linear(
      "key", hidden, options.keyValueHeadCount * size, hasBias: options.hasInputBias)
    self.value = linear(
      "value", hidden, options.keyValueHeadCount * size, hasBias: options.hasInputBias)
    self.outputProjection = linear(
      "output", options.headCount * size, hidden, hasBias: options.hasOutputBias)
    self.queryNorm =
      options.normalizesQueryAndKey
      ? RMSNorm("\(name).queryNorm", size: size, epsilon: sizes.normEpsilon) : nil
    self.keyNorm =
      options.normalizesQueryAndKey
      ? RMSNorm("\(name).keyNorm", size: size, epsilon: sizes.normEpsilon) : nil
    self.sinks =
      options.hasSinks
      ? Parameter(
        "\(name).sinks", shape: [options.headCount], kind: .bias,
        initializer: .normal(standardDeviation: sizes.standardDeviation), precision: .full) : nil
  }

  /// All weights, in the order of the published checkpoints.
  public var parameters: [Parameter] {
    query.parameters + key.parameters + value.parameters
      + (queryNorm?.parameters ?? []) + (keyNorm?.parameters ?? [])
      + outputProjection.parameters + (sinks.map { [$0] } ?? [])
  }

  /// The heads that a sequence exchange spreads over ranks.
  public var heads: HeadCounts {
    HeadCounts(query: options.headCount, keyValue: options.keyValueHeadCount)
  }

  /// What work the scores and the mixing are.
  public var work: AttentionWork {
    AttentionWork(size: 2 * options.querySize, window: options.window)
  }

  /// A key and a value of each head.
  public var cachedElementCount: Int { 2 * options.keyValueSize }

  /// Projections of the normalised hidden states, then the attention itself.
  public func stages(norm: RMSNorm) -> [Stage] {
    [
      Stage(.project, inputs: [.input], outputs: [.query, .key, .value], travel: .toHeads) {
        values, context, _ in
        let projected = self.project(norm(values[0], for: self.query.weight.product), context)
        return [projected.queryTHd, projected.keyTGd, projected.valueTGd]
      },
      Stage(.attend, inputs: [.query, .key, .value], outputs: [.attended], travel: .toTokens) {
        values, context, _ in
        [self.attend(query: values[0], key: values[1], value: values[2], context)]
      },
    ]
  }

  /// Rotated queries `[T, H, d]` and keys `[T, G, d]`, and values `[T, G, d]`.
  public func project(
    _ hiddenTD: LinearInput, _ context: ForwardContext
  ) -> (queryTHd: Tensor, keyTGd: Tensor, valueTGd: Tensor) {
    let tokenCount = hiddenTD.rows.size(0)
    let queryTHd = query(hiddenTD).view([tokenCount, options.headCount, options.headSize])
    let keyTGd = key(hiddenTD).view([tokenCount, options.keyValueHeadCount, options.headSize])
    let valueTGd = value(hiddenTD).view([tokenCount, options.keyValueHeadCount, options.headSize])
    if let queryNorm, let keyNorm {
      return (
        queryNorm.normalizeThenRotate(queryTHd, context.rotary),
        keyNorm.normalizeThenRotate(keyTGd, context.rotary), valueTGd
      )
    }
    return (context.rotary.rotate(queryTHd), context.rotary.rotate(keyTGd), valueTGd)
  }

  /// The mixed values, `[T, H, d]`, of all heads or of the context's slice of them.
  public func attend(
    query queryTHd: Tensor, key keyTGd: Tensor, value valueTGd: Tensor, _ context: ForwardContext
  ) -> Tensor {
    if let cache = context.cache {
      let cached = cache.write(key: keyTGd, value: valueTGd, layer: name)
      if cache.pass == .decode {
        return decode(queryTHd, cached, mask: cache.mask(window: options.window))
      }
    }
    return Tensor.varlenAttention(
      query: queryTHd, key: keyTGd, value: valueTGd, bounds: context.bounds, scale: scale,
      window: options.window, sinks: sinks.map { slice($0.value, context) })
  }

  /// Projects the heads `[T, H, d]` onto hidden states, `[T, D]`.
  public func output(_ mixedTHd: Tensor) -> Tensor {
    outputProjection(
      mixedTHd.reshaped([mixedTHd.size(0), options.headCount * options.headSize]))
  }

  private func slice(_ sinksH: Tensor, _ context: ForwardContext) -> Tensor {
    let (index, count) = context.headSlice
    guard count > 1 else { return sinksH }
    let size = options.headCount / count
    return sinksH.narrowed(dim: 0, start: index * size, length: size)
  }

  private var scale: Double { 1 / Double(options.headSize).squareRoot() }

  /// One new token a sequence, `[S, H, d]`, against everything cached, `[S, G, N, d]`; `[S, H, d]`.
  ///
  /// The query heads of a group are taken as rows of one matrix, so that keys are never repeated.
  private func decode(
    _ querySHd: Tensor, _ cached: (key: Tensor, value: Tensor), mask: Tensor?
  ) -> Tensor {
    let (sequenceCount, groupCount) = (querySHd.size(0), options.keyValueHeadCount)
    let groupSize = options.headCount / groupCount
    let query = querySHd.reshaped([sequenceCount, groupCount, groupSize, options.headSize])
    let mixed: Tensor
    if let sinks {
      var scores = query.to(.float32).matmul(cached.key.to(.float32).transposed(2, 3)) * scale
      if let mask { scores = scores.maskedFill(where: mask.logicalNot(), value: .real(-.infinity)) }
      let sink = sinks.value.view([1, groupCount, groupSize, 1])
        .expanded([sequenceCount, groupCount, groupSize, 1])
      mixed = Tensor.concatenated([scores, sink], dim: -1).softmax(dim: -1)
        .narrowed(dim: 3, start: 0, length: cached.key.size(2))
        .matmul(cached.value.to(.float32)).to(query.dtype)
    } else {
      mixed = Tensor.scaledDotProductAttention(
        query: query, key: cached.key, value: cached.value, mask: mask, dropout: 0, isCausal: false,
        scale: scale, enableGQA: false)
    }
    return mixed.reshaped([sequenceCount, options.headCount, options.headSize])
  }
}

extension StageName {
  /// The products that make queries, keys and values.
  public static let project = StageName("project")
  /// The attention itself, between its projections.
  public static let attend = StageName("attend")
}

extension StageValue {
  static let query = StageValue("query")
  static let key = StageValue("key")
  static let value = StageValue("value")
}
