import CTorch

extension Tensor {
  /// One step of AdamW in place, as `torch.optim.AdamW`: decoupled decay and bias correction.
  ///
  /// All tensors have one element count; all but `copy` are contiguous float32. Any of them may be a
  /// contiguous view. Elements are independent: a step on two halves is the step on the whole.
  /// - Parameters:
  ///   - master: The weights.
  ///   - gradient: The gradient, not changed.
  ///   - firstMoment: The running mean of the gradient.
  ///   - secondMoment: The running mean of the gradient's square.
  ///   - copy: Takes the new weights, rounded; bfloat16 or float16.
  ///   - learningRate: The step's size.
  ///   - beta1: Decay of the first moment.
  ///   - beta2: Decay of the second moment.
  ///   - epsilon: Added to the root of the second moment.
  ///   - weightDecay: Weights shrink by this times the learning rate, before the step.
  ///   - step: The number of this step, from 1.
  ///   - gradientScale: Factor of the gradient, such as the one that clips its norm.
  public static func adamW(
    master: Tensor, gradient: Tensor, firstMoment: Tensor, secondMoment: Tensor,
    copy: Tensor? = nil, learningRate: Double, beta1: Double, beta2: Double, epsilon: Double,
    weightDecay: Double, step: Int, gradientScale: Double = 1
  ) {
    withExtendedLifetime((master, gradient, firstMoment, secondMoment, copy)) {
      torchCall("xtuner::adamw_") {
        ct_adamw(
          master.handle, gradient.handle, firstMoment.handle, secondMoment.handle, copy?.handle,
          learningRate, beta1, beta2, epsilon, weightDecay, Int64(step), gradientScale)
      }
    }
  }

  /// The sum of the squares of a contiguous floating-point tensor, a float64 scalar.
  ///
  /// Summed in float64 in an order that does not depend on the number of threads.
  public func squaredSum() -> Tensor {
    withExtendedLifetime(self) { makeTensor("xtuner::squared_sum") { ct_squared_sum(handle, $0) } }
  }
}
