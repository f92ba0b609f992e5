import CTorch

// Shape legend for this file:
//   C rows   V vocabulary

extension Tensor {
  /// The cross-entropy of each row of these logits, `[C, V]`, which stay as they are.
  ///
  /// - Parameters:
  ///   - targets: The right column of each row, `[C]` int64.
  ///   - implementation: Which implementation runs.
  /// - Returns: log-sum-exp minus the target's logit, and the log-sum-exp, both `[C]` float32 (float64
  ///   for float64 logits).
  public func crossEntropy(
    targets: Tensor, implementation: Implementation = .kernel
  ) -> (lossesC: Tensor, logSumExpC: Tensor) {
    let (lossesC, logSumExpC) = withExtendedLifetime((self, targets)) {
      makeTensors2("xtuner::cross_entropy") {
        ct_cross_entropy(
          handle, targets.handle, nil, 0, implementation == .reference, $0, $1)
      }
    }
    return (lossesC, logSumExpC)
  }

  /// As ``crossEntropy(targets:implementation:)``; the logits then become the gradient of the weighted
  /// sum of losses, `w * (softmax - onehot)`, in their own dtype.
  ///
  /// - Parameters:
  ///   - targets: The right column of each row, `[C]` int64.
  ///   - weights: The weight of each row, `[C]` float32.
  ///   - zLoss: Weight of the squared log-sum-exp, which adds `w * 2 zLoss * logSumExp * softmax`.
  ///   - implementation: Which implementation runs.
  /// - Returns: Losses and log-sum-exps, both `[C]`, without weights and the z-loss.
  public func takeCrossEntropyGradient(
    targets: Tensor, weights: Tensor, zLoss: Double = 0, implementation: Implementation = .kernel
  ) -> (lossesC: Tensor, logSumExpC: Tensor) {
    let (lossesC, logSumExpC) = withExtendedLifetime((self, targets, weights)) {
      makeTensors2("xtuner::cross_entropy_") {
        ct_cross_entropy(
          handle, targets.handle, weights.handle, zLoss, implementation == .reference, $0, $1)
      }
    }
    return (lossesC, logSumExpC)
  }
}
