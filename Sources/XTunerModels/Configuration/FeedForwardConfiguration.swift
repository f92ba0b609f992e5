/// What a layer does after attention.
public enum FeedForwardConfiguration: Sendable, Hashable {
  /// One gated network for every token.
  case dense(intermediateSize: Int)
  /// Many gated networks, of which a router picks a few for each token.
  case mixture(MixtureConfiguration)

  /// The experts, or nil where the layer is dense.
  public var mixture: MixtureConfiguration? {
    switch self {
    case .dense: nil
    case .mixture(let mixture): mixture
    }
  }
}

/// Sizes of a mixture-of-experts layer.
public struct MixtureConfiguration: Sendable, Hashable {
  /// Routed experts.
  public var expertCount: Int
  /// Routed experts a token goes through.
  public var expertsPerToken: Int
  /// Width of a routed expert.
  public var expertSize: Int
  /// Width of the network that every token goes through beside its experts; 0 where there is none.
  public var sharedExpertSize: Int
  /// Whether the experts' projections have biases.
  public var hasExpertBias: Bool
  /// How experts are picked and weighted.
  public var router: RouterConfiguration

  /// A layer from its sizes.
  public init(
    expertCount: Int, expertsPerToken: Int, expertSize: Int, sharedExpertSize: Int = 0,
    hasExpertBias: Bool = false, router: RouterConfiguration
  ) {
    self.expertCount = expertCount
    self.expertsPerToken = expertsPerToken
    self.expertSize = expertSize
    self.sharedExpertSize = sharedExpertSize
    self.hasExpertBias = hasExpertBias
    self.router = router
  }
}

/// How a router turns scores into experts and weights.
public struct RouterConfiguration: Sendable, Hashable {
  /// What is applied to the router's logits, and when.
  public enum Scoring: String, Sendable, Hashable, CaseIterable {
    /// Softmax over all experts, then the largest are kept.
    case softmax
    /// Logistic function of each logit, then the largest are kept.
    case sigmoid
    /// The largest logits are kept, then softmax over those.
    case softmaxAfterTopK
  }

  /// What is applied to the logits.
  public var scoring: Scoring
  /// Whether the weights of the chosen experts are divided by their sum.
  public var normalizesWeights: Bool
  /// Factor on the weights after that.
  public var scalingFactor: Double
  /// Groups that experts are divided into; 1 where there is no grouping.
  public var groupCount: Int
  /// Groups whose experts may be chosen, best first.
  public var keptGroupCount: Int
  /// Whether a bias without gradient is added to the scores when experts are picked.
  public var hasSelectionBias: Bool
  /// Whether the router's projection has a bias.
  public var hasBias: Bool

  /// A router from its parts.
  public init(
    scoring: Scoring, normalizesWeights: Bool, scalingFactor: Double = 1, groupCount: Int = 1,
    keptGroupCount: Int = 1, hasSelectionBias: Bool = false, hasBias: Bool = false
  ) {
    self.scoring = scoring
    self.normalizesWeights = normalizesWeights
    self.scalingFactor = scalingFactor
    self.groupCount = groupCount
    self.keptGroupCount = keptGroupCount
    self.hasSelectionBias = hasSelectionBias
    self.hasBias = hasBias
  }
}
