import CTorch

extension Tensor {
  /// One step of AdamW in place, as `torch.optim.AdamW`: decoupled decay and bias correction.
  ///
  /// All tensors have one element count and are contiguous, maybe views; all but the gradient and
  /// `copy` are float32. Elements are independent: a step on two halves is the step on the whole.
  /// - Parameters:
  ///   - master: The weights.
  ///   - gradient: The gradient, float32 or bfloat16, not changed.
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

  /// One step of AdamW in place on weights and moments that are bfloat16 and have no float32 master.
  ///
  /// Computed in float32. Weights and second moments are rounded up or down by chance, so that changes
  /// below the last digit come true in the mean; the chance is a function of `seed` and an element's
  /// index alone. First moments, which change by a tenth a step, are rounded to nearest.
  /// - Parameters:
  ///   - weights: The weights.
  ///   - gradient: The gradient, float32 or bfloat16, not changed.
  ///   - firstMoment: The running mean of the gradient.
  ///   - secondMoment: The running mean of the gradient's square.
  ///   - learningRate: The step's size.
  ///   - beta1: Decay of the first moment.
  ///   - beta2: Decay of the second moment.
  ///   - epsilon: Added to the root of the second moment.
  ///   - weightDecay: Weights shrink by this times the learning rate, before the step.
  ///   - step: The number of this step, from 1.
  ///   - gradientScale: Factor of the gradient, such as the one that clips its norm.
  ///   - seed: What the chance depends on, another one for each step and tensor; 32 bits count.
  ///   - start: The index of the first element, for parts of a larger tensor.
  public static func adamWRounded(
    weights: Tensor, gradient: Tensor, firstMoment: Tensor, secondMoment: Tensor,
    learningRate: Double, beta1: Double, beta2: Double, epsilon: Double, weightDecay: Double,
    step: Int, gradientScale: Double = 1, seed: UInt32, start: Int = 0
  ) {
    withExtendedLifetime((weights, gradient, firstMoment, secondMoment)) {
      torchCall("xtuner::adamw_rounded_") {
        ct_adamw_rounded(
          weights.handle, gradient.handle, firstMoment.handle, secondMoment.handle, learningRate,
          beta1, beta2, epsilon, weightDecay, Int64(step), gradientScale, Int64(seed), Int64(start))
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
