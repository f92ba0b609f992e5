import Torch
public import XTunerMoE
public import XTunerNN

/// A pre-norm decoder layer: `x + attention(norm x)`, then `x + feed-forward(norm x)`.
///
/// A dense layer is one stage. A mixture-of-experts layer is five, so that an engine can put the
/// exchanges of one micro-batch under the computation of another.
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
    switch feedForward {
    case .dense(let dense):
      self.stages = [
        Stage("layer", .compute, inputs: [.input], outputs: [.output]) { values, context, _ in
          let hidden = values[0] + attention(attentionNorm(values[0]), context)
          return [hidden + dense(feedForwardNorm(hidden))]
        }
      ]
    case .mixture(let mixture):
      self.stages = Self.stages(attentionNorm, attention, feedForwardNorm, mixture)
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

  private static func stages(
    _ attentionNorm: RMSNorm, _ attention: Attention, _ feedForwardNorm: RMSNorm,
    _ mixture: MixtureOfExperts
  ) -> [Stage] {
    let residual = StageValue("residual")
    let normalized = StageValue("normalized")
    let weights = StageValue("mixingWeights")
    let dispatched = StageValue("dispatchedRows")
    let expertRows = StageValue("expertRows")
    let combined = StageValue("combined")
    return [
      Stage(
        "attention", .compute, inputs: [.input],
        outputs: [residual, normalized, weights, .auxiliaryLoss]
      ) { values, context, record in
        let hidden = values[0] + attention(attentionNorm(values[0]), context)
        let normalizedTD = feedForwardNorm(hidden)
        let routed = mixture.route(normalizedTD, context, record)
        return [hidden, normalizedTD, routed.weightsTK, routed.auxiliaryLoss]
      },
      Stage("dispatch", .exchange, inputs: [normalized], outputs: [dispatched]) {
        values, _, record in [mixture.dispatch(values[0], record)]
      },
      Stage("experts", .compute, inputs: [dispatched], outputs: [expertRows]) {
        values, _, record in [mixture.compute(values[0], record)]
      },
      Stage("combine", .exchange, inputs: [expertRows, weights], outputs: [combined]) {
        values, _, record in [mixture.combine(values[0], values[1], record)]
      },
      Stage("residual", .compute, inputs: [residual, normalized, combined], outputs: [.output]) {
        values, _, _ in
        let sum = values[0] + values[2]
        return [mixture.shared(values[1]).map { sum + $0 } ?? sum]
      },
    ]
  }
}
