import Torch
public import XTunerMoE
public import XTunerNN

/// A pre-norm decoder layer: `x + attention(norm x)`, then `x + feed-forward(norm x)`.
///
/// It is cut into stages where something may travel between ranks, so that an engine can put the
/// exchanges of one micro-batch under the computation of another:
///
/// - dense: project, attend, feedForward;
/// - mixture of experts: project, attend, route, dispatch, experts, (shared,) combine.
public final class DecoderLayer: Block {
  /// What follows attention.
  public enum FeedForwardPart {
    case dense(FeedForward)
    case mixture(MixtureOfExperts)
  }

  /// Unique in the model, such as `layers.3`.
  public let name: String
  let attentionNorm: RMSNorm
  let attention: Attention
  let feedForwardNorm: RMSNorm
  let feedForward: FeedForwardPart
  /// The stages, in order.
  public let stages: [Stage]

  /// A layer from its parts.
  public init(
    _ name: String, attentionNorm: RMSNorm, attention: Attention, feedForwardNorm: RMSNorm,
    feedForward: FeedForwardPart
  ) {
    self.name = name
    self.attentionNorm = attentionNorm
    self.attention = attention
    self.feedForwardNorm = feedForwardNorm
    self.feedForward = feedForward
    let attentionStages = Self.attentionStages(attentionNorm, attention)
    switch feedForward {
    case .dense(let dense):
      self.stages =
        attentionStages + [Self.denseStage(attention, feedForwardNorm, dense)]
    case .mixture(let mixture):
      self.stages =
        attentionStages + Self.mixtureStages(attention, feedForwardNorm, mixture)
    }
  }

  /// All weights, in the order of the forward pass.
  public var parameters: [Parameter] {
    let rest: [Parameter] =
      switch feedForward {
      case .dense(let dense): dense.parameters
      case .mixture(let mixture): mixture.parameters
      }
    return attentionNorm.parameters + attention.parameters + feedForwardNorm.parameters + rest
  }

  /// The number of routed experts, or nil for a dense layer.
  public var expertCount: Int? {
    guard case .mixture(let mixture) = feedForward else { return nil }
    return mixture.expertCount
  }

  /// Experts a token, or nil for a dense layer.
  public var expertsPerToken: Int? {
    guard case .mixture(let mixture) = feedForward else { return nil }
    return mixture.expertsPerToken
  }

  private static func attentionStages(
    _ norm: RMSNorm, _ attention: Attention
  ) -> [Stage] {
    [
      Stage("project", inputs: [.input], outputs: [.query, .key, .value], travel: .toHeads) {
        values, context, _ in
        let projected = attention.project(
          norm(values[0], for: attention.inputProduct), context)
        return [projected.queryTHd, projected.keyTGd, projected.valueTGd]
      },
      Stage(
        "attend", inputs: [.query, .key, .value], outputs: [.attended], travel: .toTokens
      ) { values, context, _ in
        [attention.attend(query: values[0], key: values[1], value: values[2], context)]
      },
    ]
  }

  private static func denseStage(
    _ attention: Attention, _ norm: RMSNorm, _ dense: FeedForward
  ) -> Stage {
    Stage("feedForward", inputs: [.input, .attended], outputs: [.output]) { values, _, _ in
      let (hidden, normalizedTD) = norm.adding(
        values[0], to: attention.output(values[1]), for: dense.inputProduct)
      return [hidden + dense(normalizedTD)]
    }
  }

  private static func mixtureStages(
    _ attention: Attention, _ norm: RMSNorm, _ mixture: MixtureOfExperts
  ) -> [Stage] {
    let route = Stage(
      "route", inputs: [.input, .attended],
      outputs: [.residual, .normalized, .mixingWeights, .scoreSums, .squaredLogSumExp]
    ) { values, context, record in
      let (hidden, normalized) = norm.adding(values[0], to: attention.output(values[1]))
      let normalizedTD = normalized.rows
      let routed = mixture.route(normalizedTD, context, record)
      return [
        hidden, normalizedTD, routed.weightsTK,
        context.wantedSums.contains(.scoreSums) ? routed.scoreSumsE : nil,
        context.wantedSums.contains(.squaredLogSumExp) ? routed.squaredLogSumExp : nil,
      ]
    }
    let dispatch = Stage(
      "dispatch", inputs: [.normalized], outputs: [.dispatchedRows], travel: .toExperts
    ) { values, _, record in [mixture.dispatch(values[0], record)] }
    let experts = Stage(
      "experts", inputs: [.dispatchedRows], outputs: [.expertRows], travel: .fromExperts
    ) { values, _, record in [mixture.compute(values[0], record)] }
    // Between experts and combine, so that it runs while the experts' rows travel back.
    let shared = Stage("shared", inputs: [.normalized], outputs: [.sharedOutput]) { values, _, _ in
      [mixture.shared(values[0]) ?? values[0].zerosLike()]
    }
    let combine = Stage(
      "combine",
      inputs: [.residual, .expertRows, .mixingWeights]
        + (mixture.hasSharedExpert ? [.sharedOutput] : []),
      outputs: [.output]
    ) { values, _, record in
      let sum = values[0] + mixture.combine(values[1], values[2], record)
      return [values.count > 3 ? sum + values[3] : sum]
    }
    return [route, dispatch, experts] + (mixture.hasSharedExpert ? [shared] : []) + [combine]
  }
}

extension StageValue {
  static let query = StageValue("query")
  static let key = StageValue("key")
  static let value = StageValue("value")
  static let attended = StageValue("attended")
  static let residual = StageValue("residual")
  static let normalized = StageValue("normalized")
  static let mixingWeights = StageValue("mixingWeights")
  static let dispatchedRows = StageValue("dispatchedRows")
  static let expertRows = StageValue("expertRows")
  static let sharedOutput = StageValue("sharedOutput")
}
