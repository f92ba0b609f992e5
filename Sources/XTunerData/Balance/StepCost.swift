/// The predicted work of a micro-batch, in floating-point operations of forward and backward.
///
/// Only ratios matter for balancing, but the unit is kept so that a prediction can be compared with
/// a device's rate. Coefficients come from a model's shapes; this module knows no models.
public struct StepCost: Sendable, Hashable, Codable {
  /// Operations a token in everything but attention's core and the head.
  public var linearPerToken: Double
  /// Operations a token with a loss in the head.
  public var headPerToken: Double
  /// Attention's core, one entry for each distance that layers see.
  public var attention: [AttentionCost]

  /// Makes a cost from its coefficients, which must be finite and not negative.
  public init(linearPerToken: Double, headPerToken: Double, attention: [AttentionCost]) {
    let coefficients = [linearPerToken, headPerToken] + attention.map(\.perPair)
    precondition(
      coefficients.allSatisfy { $0.isFinite && $0 >= 0 },
      "costs must be finite and not negative, are \(coefficients)")
    self.linearPerToken = linearPerToken
    self.headPerToken = headPerToken
    self.attention = attention
  }

  /// The work of sequences that do not see each other, `lossTokens` of whose tokens have a loss.
  public func cost(sequenceLengths: some Sequence<Int>, lossTokens: Int) -> Double {
    var tokenCount = 0
    var sum = headPerToken * Double(lossTokens)
    for length in sequenceLengths {
      tokenCount += length
      for layers in attention {
        sum += layers.perPair * layers.visiblePairs(length: length)
      }
    }
    return sum + linearPerToken * Double(tokenCount)
  }

  /// The work of sequences that lie between neighbouring `bounds`, which start at 0 and ascend.
  public func cost(bounds: [Int], lossTokens: Int) -> Double {
    cost(
      sequenceLengths: zip(bounds, bounds.dropFirst()).lazy.map { $1 - $0 },
      lossTokens: lossTokens)
  }
}
