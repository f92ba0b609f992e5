public import Torch
public import XTunerNN

/// The auxiliary losses of a router, as sums over tokens that a schedule completes.
///
/// Both losses are products of a sum over this rank's tokens and a factor that needs numbers of
/// other ranks and micro-batches: the rows of each expert, the tokens of the step. So a layer gives
/// the sums, and the engine multiplies, in the loss and as the start of the gradient.
public enum RouterLoss {
  /// The factors `[E]` float32 of an expert's score sum: `weight * E / (K T N) * rows of e`, with `T`
  /// the tokens that `countsE` counts (those of all ranks, in one round of micro-batches or in the whole step)
  /// and `N` the step's.
  ///
  /// A perfectly balanced layer gives `weight` when the rounds of a step are summed.
  public static func balanceFactors(
    countsE: Tensor, expertsPerToken: Int, weight: Double, tokenCount: Int, stepTokenCount: Int
  ) -> Tensor {
    let factor =
      weight * Double(countsE.size(0))
      / (Double(expertsPerToken) * Double(max(tokenCount, 1)) * Double(max(stepTokenCount, 1)))
    return countsE.to(.float32) * factor
  }

  /// The factor of the sum of squared log-sum-exps: `weight / N`.
  public static func zFactor(weight: Double, stepTokenCount: Int) -> Double {
    weight / Double(max(stepTokenCount, 1))
  }
}

/// Weights of the router's auxiliary losses; zero switches one off.
public struct RouterLossWeights: Sendable, Hashable {
  /// Weight of the balance loss.
  public var balance: Double
  /// Weight of the router's z-loss.
  public var z: Double

  /// Weights of both losses.
  public init(balance: Double, z: Double) {
    self.balance = balance
    self.z = z
  }

  /// The sums that losses with these weights are made of.
  public var sums: Set<StageValue> {
    var sums: Set<StageValue> = []
    if balance > 0 { sums.insert(.scoreSums) }
    if z > 0 { sums.insert(.squaredLogSumExp) }
    return sums
  }

  /// No auxiliary loss.
  public static let none = RouterLossWeights(balance: 0, z: 0)
}

extension StageValue {
  /// The sum over tokens of each expert's score, `[E]` float32: what the balance loss weighs.
  public static let scoreSums = StageValue("scoreSums")
  /// The sum over tokens of the squared log-sum-exp of the router's logits, a float32 scalar.
  public static let squaredLogSumExp = StageValue("squaredLogSumExp")
}
