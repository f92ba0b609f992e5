import Foundation

/// How a layer attends.
public enum AttentionConfiguration: Sendable, Hashable {
  /// Several query heads share a key and value head.
  case groupedQuery(GroupedQueryAttention)
  /// Keys and values are expanded from one narrow latent vector a token.
  case latent(LatentAttention)
}

/// Sizes and switches of grouped-query attention.
public struct GroupedQueryAttention: Sendable, Hashable {
  /// Query heads.
  public var headCount: Int
  /// Key and value heads; divides `headCount`.
  public var keyValueHeadCount: Int
  /// Entries of a head; independent of the hidden size.
  public var headSize: Int
  /// Whether queries and keys are RMS-normalised per head before the rotation.
  public var normalizesQueryAndKey: Bool
  /// Whether the query, key and value projections have a bias.
  public var hasInputBias: Bool
  /// Whether the output projection has a bias.
  public var hasOutputBias: Bool
  /// Whether each query head has a learned logit that takes part in the softmax only.
  public var hasSinks: Bool
  /// Tokens visible to a query, itself included; nil where it sees every earlier token.
  public var slidingWindow: Int?

  /// Attention from its parts.
  public init(
    headCount: Int, keyValueHeadCount: Int, headSize: Int, normalizesQueryAndKey: Bool,
    hasInputBias: Bool = false, hasOutputBias: Bool = false, hasSinks: Bool = false,
    slidingWindow: Int? = nil
  ) {
    self.headCount = headCount
    self.keyValueHeadCount = keyValueHeadCount
    self.headSize = headSize
    self.normalizesQueryAndKey = normalizesQueryAndKey
    self.hasInputBias = hasInputBias
    self.hasOutputBias = hasOutputBias
    self.hasSinks = hasSinks
    self.slidingWindow = slidingWindow
  }

  /// Rows of the query projection.
  public var querySize: Int { headCount * headSize }

  /// Rows of the key projection, and of the value projection.
  public var keyValueSize: Int { keyValueHeadCount * headSize }

  /// Factor on the query-key products: one over the root of the head size.
  public var softmaxScale: Double { 1 / Double(headSize).squareRoot() }
}

/// Sizes of multi-head latent attention.
public struct LatentAttention: Sendable, Hashable {
  /// Query, key and value heads.
  public var headCount: Int
  /// Width of the query's latent vector; nil where queries are projected directly.
  public var queryRank: Int?
  /// Width of the latent vector that keys and values are expanded from.
  public var keyValueRank: Int
  /// Entries of a query or key head that are not rotated.
  public var unrotatedHeadSize: Int
  /// Entries of a query or key head that are rotated; the key's are shared by all heads.
  public var rotatedHeadSize: Int
  /// Entries of a value head.
  public var valueHeadSize: Int

  /// Attention from its sizes.
  public init(
    headCount: Int, queryRank: Int?, keyValueRank: Int, unrotatedHeadSize: Int,
    rotatedHeadSize: Int, valueHeadSize: Int
  ) {
    self.headCount = headCount
    self.queryRank = queryRank
    self.keyValueRank = keyValueRank
    self.unrotatedHeadSize = unrotatedHeadSize
    self.rotatedHeadSize = rotatedHeadSize
    self.valueHeadSize = valueHeadSize
  }

  /// Entries of a query or key head.
  public var queryHeadSize: Int { unrotatedHeadSize + rotatedHeadSize }

  /// Factor on the query-key products.
  ///
  /// One over the root of the head size, times the square of the YaRN factor that this family
  /// moves from the rotation into the softmax.
  public func softmaxScale(rotary: RotaryConfiguration) -> Double {
    let scale = 1 / Double(queryHeadSize).squareRoot()
    guard case .yarn(let yarn) = rotary.scaling, let exponent = yarn.magnitudeScaleAllDimensions
    else { return scale }
    let magnitude = YaRNScaling.magnitude(factor: yarn.factor, scale: exponent)
    return scale * magnitude * magnitude
  }
}

extension AttentionConfiguration {
  /// Query heads.
  public var headCount: Int {
    switch self {
    case .groupedQuery(let attention): attention.headCount
    case .latent(let attention): attention.headCount
    }
  }

  /// Entries of a query head plus entries of a value head, which attention work is proportional to.
  var queryAndValueHeadSize: Int {
    switch self {
    case .groupedQuery(let attention): 2 * attention.headSize
    case .latent(let attention): attention.queryHeadSize + attention.valueHeadSize
    }
  }

  /// Tokens visible to a query, or nil where it sees every earlier token.
  public var slidingWindow: Int? {
    switch self {
    case .groupedQuery(let attention): attention.slidingWindow
    case .latent: nil
    }
  }
}
