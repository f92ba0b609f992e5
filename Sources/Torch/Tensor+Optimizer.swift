import CTorch

/// Which elements of a whole parameter the consecutive elements of a slice are.
///
/// Element i is the one of index `start + l + l / row * gap`, with `l = first + i`: a slice has rows of `row`
/// elements, and the whole has `gap` others between them. Without a gap the whole has them in a row.
public struct SliceIndices: Sendable, Hashable {
  /// The index of the slice's element 0.
  public var start: Int
  /// The place in the slice of the first element.
  public var first = 0
  /// Elements of a row, at least 1.
  public var row = 1
  /// Elements of the whole between two rows.
  public var gap = 0

  /// Elements that lie side by side from `start` on.
  public init(start: Int = 0) { self.start = start }
}

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
  /// index in the whole parameter alone. First moments, which change by a tenth a step, are rounded to
  /// nearest.
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
  ///   - seed: What the chance depends on, another one for each step and parameter; 32 bits count.
  ///   - indices: Which elements of the parameter these are.
  public static func adamWRounded(
    weights: Tensor, gradient: Tensor, firstMoment: Tensor, secondMoment: Tensor,
    learningRate: Double, beta1: Double, beta2: Double, epsilon: Double, weightDecay: Double,
    step: Int, gradientScale: Double = 1, seed: UInt32, indices: SliceIndices = SliceIndices()
  ) {
    withExtendedLifetime((weights, gradient, firstMoment, secondMoment)) {
      torchCall("xtuner::adamw_rounded_") {
        indices.gap == 0
          ? ct_adamw_rounded(
            weights.handle, gradient.handle, firstMoment.handle, secondMoment.handle, learningRate,
            beta1, beta2, epsilon, weightDecay, Int64(step), gradientScale, Int64(seed),
            Int64(indices.start + indices.first))
          : ct_adamw_rounded_rows(
            weights.handle, gradient.handle, firstMoment.handle, secondMoment.handle, learningRate,
            beta1, beta2, epsilon, weightDecay, Int64(step), gradientScale, Int64(seed),
            Int64(indices.start), Int64(indices.first), Int64(indices.row), Int64(indices.gap))
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
