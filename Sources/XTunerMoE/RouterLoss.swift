public import Torch
public import XTunerNN

/// The auxiliary losses of a router in one layer and micro-batch.
public struct RouterLoss {
  /// The balance loss, a float32 scalar.
  ///
  /// `weight * E/K * sum_e f_e * P_e`, with `f_e` the share of the micro-batch's tokens that chose
  /// expert e (no gradient) and `P_e` the sum of its scores divided by the step's tokens; a perfectly
  /// balanced layer gives `weight` when the micro-batches of a step are summed.
  public let balance: Tensor
  /// The z-loss, a float32 scalar: `weight * sum_t logsumexp(logits_t)^2 / step tokens`.
  public let z: Tensor

  /// The losses of `output`; a loss of weight zero is a zero without gradient.
  public init(_ output: Router.Output, weights: RouterLossWeights, stepTokenCount: Int) {
    let zero = Tensor.zeros([], dtype: .float32, device: output.scoresTE.device)
    let tokenCount = output.scoresTE.size(0)
    guard tokenCount > 0 else {
      (balance, z) = (zero, zero)
      return
    }
    if weights.balance > 0 {
      let (expertCount, slotCount) = (output.scoresTE.size(1), output.routing.expertsTK.size(1))
      let factor =
        weights.balance * Double(expertCount)
        / (Double(slotCount) * Double(tokenCount) * Double(stepTokenCount))
      let scoreSums = output.scoresTE.sum(dims: [0])
      balance = (scoreSums * output.routing.countsE.to(.float32)).sum() * factor
    } else {
      balance = zero
    }
    if weights.z > 0 {
      let logSumExp = output.logitsTE.logSumExp(dims: [-1], keepDim: false)
      z = (logSumExp * logSumExp).sum() * (weights.z / Double(stepTokenCount))
    } else {
      z = zero
    }
  }
}
