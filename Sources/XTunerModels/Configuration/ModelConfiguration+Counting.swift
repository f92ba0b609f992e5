/// Parameters and floating-point work.
extension ModelConfiguration {
  /// All parameters that are trained; buffers such as selection biases are not counted.
  public var parameterCount: Int { parameterCount { $0.expertCount } }

  /// Parameters that one token passes through, embedding and head included.
  public var activeParameterCount: Int { parameterCount { $0.expertsPerToken } }

  /// Active parameters that take part in a matrix product: without the embedding, with the head.
  public var computedParameterCount: Int {
    activeParameterCount - (tiesEmbeddings ? 0 : vocabularySize * hiddenSize)
  }

  /// Floating-point operations to train on one token, in forward and backward together.
  ///
  /// `effectiveLength` is `Σ length² / Σ length` over the samples of a pack, which is the sequence
  /// length for one unpacked document. The causal half is accounted for; recomputation is not
  /// counted.
  public func trainingOperationsPerToken(effectiveLength: Double) -> Double {
    let attention = layers.reduce(0.0) { sum, layer in
      let window = layer.attention.slidingWindow.map { 2 * Double($0) } ?? .infinity
      let size = Double(layer.attention.queryAndValueHeadSize * layer.attention.headCount)
      return sum + size * min(effectiveLength, window)
    }
    return 6 * Double(computedParameterCount) + 3 * attention
  }

  private func parameterCount(experts: (MixtureConfiguration) -> Int) -> Int {
    let embeddings = vocabularySize * hiddenSize * (tiesEmbeddings ? 1 : 2)
    return layers.reduce(embeddings + hiddenSize) { sum, layer in
      let attention = layer.attention.parameterCount(hiddenSize: hiddenSize)
      let feedForward = layer.feedForward.parameterCount(hiddenSize: hiddenSize, experts: experts)
      return sum + attention + feedForward + 2 * hiddenSize
    }
  }
}

extension AttentionConfiguration {
  func parameterCount(hiddenSize: Int) -> Int {
    switch self {
    case .groupedQuery(let attention):
      let inputSize = attention.querySize + 2 * attention.keyValueSize
      var count = hiddenSize * inputSize + attention.querySize * hiddenSize
      if attention.normalizesQueryAndKey { count += 2 * attention.headSize }
      if attention.hasInputBias { count += inputSize }
      if attention.hasOutputBias { count += hiddenSize }
      if attention.hasSinks { count += attention.headCount }
      return count
    case .latent(let attention):
      let querySize = attention.headCount * attention.queryHeadSize
      let expandedSize =
        attention.headCount * (attention.unrotatedHeadSize + attention.valueHeadSize)
      let query =
        attention.queryRank.map { hiddenSize * $0 + $0 + $0 * querySize } ?? hiddenSize * querySize
      let latent = hiddenSize * (attention.keyValueRank + attention.rotatedHeadSize)
      let expansion = attention.keyValueRank + attention.keyValueRank * expandedSize
      let output = attention.headCount * attention.valueHeadSize * hiddenSize
      return query + latent + expansion + output
    }
  }
}

extension FeedForwardConfiguration {
  func parameterCount(hiddenSize: Int, experts: (MixtureConfiguration) -> Int) -> Int {
    switch self {
    case .dense(let intermediateSize): return 3 * hiddenSize * intermediateSize
    case .mixture(let mixture):
      let bias = mixture.hasExpertBias ? 2 * mixture.expertSize + hiddenSize : 0
      let expert = 3 * hiddenSize * mixture.expertSize + bias
      let router = mixture.expertCount * hiddenSize
      let routerBias = mixture.router.hasBias ? mixture.expertCount : 0
      let shared = 3 * hiddenSize * mixture.sharedExpertSize
      return experts(mixture) * expert + router + routerBias + shared
    }
  }
}
