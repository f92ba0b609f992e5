public import XTunerMoE
public import XTunerNN

/// One decoder layer.
public struct DecoderLayerOptions: Sendable, Hashable {
  /// The attention half.
  public var attention: AttentionOptions
  /// The feed-forward half.
  public var feedForward: FeedForwardOptions

  /// A layer from its halves.
  public init(attention: AttentionOptions, feedForward: FeedForwardOptions) {
    self.attention = attention
    self.feedForward = feedForward
  }
}

/// How a layer attends: one case a kind of attention that XTunerNN has.
public enum AttentionOptions: Sendable, Hashable {
  /// Several query heads share a key and value head.
  case groupedQuery(GroupedQueryAttention.Options)

  /// The part itself.
  public func makePart(_ name: String, _ sizes: BlockSizes) -> any AttentionPart {
    switch self {
    case .groupedQuery(let options): GroupedQueryAttention(name, options, sizes)
    }
  }

  /// Tokens visible to a query, itself included; nil where it sees every earlier token.
  public var window: Int? {
    get {
      switch self {
      case .groupedQuery(let options): options.window
      }
    }
    set {
      switch self {
      case .groupedQuery(var options):
        options.window = newValue
        self = .groupedQuery(options)
      }
    }
  }
}

/// What a layer does after attention: one case a kind of feed-forward part.
public enum FeedForwardOptions: Sendable, Hashable {
  /// One gated network for every token.
  case dense(intermediateSize: Int)
  /// Many gated networks, of which a router picks a few for each token.
  case mixture(MixtureOfExperts.Options)

  /// The part itself; a dense one is called `feedForward` in the block of that name.
  public func makePart(_ blockName: String, _ sizes: BlockSizes) -> any FeedForwardPart {
    switch self {
    case .dense(let size):
      FeedForward(
        "\(blockName).feedForward", hiddenSize: sizes.hiddenSize, intermediateSize: size,
        standardDeviation: sizes.standardDeviation)
    case .mixture(let options): MixtureOfExperts(blockName, options, sizes)
    }
  }

  /// The experts, or nil where the layer is dense.
  public var mixture: MixtureOfExperts.Options? {
    switch self {
    case .dense: nil
    case .mixture(let options): options
    }
  }
}
