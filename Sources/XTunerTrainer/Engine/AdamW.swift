import Torch
package import XTunerParallel

/// AdamW on this rank's part of flat units, with decoupled weight decay.
///
/// Moments have the dtype of the weights. Those of a unit with a master are float32; where the bfloat16
/// compute copy has the weights, they are bfloat16 too, and updates are rounded stochastically.
package final class AdamW {
  package struct Options: Sendable, Hashable {
    package var beta1 = 0.9
    package var beta2 = 0.95
    package var epsilon = 1e-8
    package var weightDecay = 0.1

    package init() {}
  }

  /// The state of one unit.
  package struct Moments {
    package let unit: FlatUnit
    /// Running mean of the gradient, `[shardRange.count]`.
    package let first: RestingTensor
    /// Running mean of the squared gradient, `[shardRange.count]`.
    package let second: RestingTensor

    func prefetch() {
      first.prefetch()
      second.prefetch()
    }
  }

  package let options: Options
  package let moments: [Moments]
  /// Updates done; a skipped step is not one.
  package var stepCount = 0

  /// Moments of zeros; with `swap` they rest in host memory but for the update of their unit.
  package init(_ units: [FlatUnit], options: Options, swap: HostSwap? = nil) {
    self.options = options
    self.moments = units.map { unit in
      func zeros() -> RestingTensor {
        RestingTensor(
          Tensor.zeros(
            [unit.shardRange.count], dtype: unit.weights.dtype, device: unit.device), swap: swap)
      }
      return Moments(unit: unit, first: zeros(), second: zeros())
    }
  }

  /// Updates all weights with the gradients times `gradientScale`.
  package func step(learningRate: Double, gradientScale: Double) {
    stepCount += 1
    withoutGradients {
      for (index, state) in moments.enumerated() {
        // The next unit's moments come in while this one's are used, and this one's go out then.
        state.prefetch()
        if index + 1 < moments.count { moments[index + 1].prefetch() }
        state.first.use { first in
          state.second.use { second in
            update(
              state.unit, index, first: first, second: second, learningRate: learningRate,
              gradientScale: gradientScale)
          }
        }
      }
    }
  }

  private func update(
    _ unit: FlatUnit, _ index: Int, first: Tensor, second: Tensor, learningRate: Double,
    gradientScale: Double
  ) {
    let decayRanges = [
      (0..<unit.decayedCount, options.weightDecay), (unit.decayedCount..<unit.elementCount, 0),
    ]
    for (range, gradient) in unit.gradientPieces() {
      for (decayed, weightDecay) in decayRanges {
        let own = decayed.clamped(to: range)
        if own.isEmpty { continue }
        func part(_ tensor: Tensor) -> Tensor {
          tensor.narrowed(
            dim: 0, start: own.lowerBound - unit.shardRange.lowerBound, length: own.count)
        }
        let gradient = gradient.narrowed(
          dim: 0, start: own.lowerBound - range.lowerBound, length: own.count)
        if let master = unit.master {
          Tensor.adamW(
            master: part(master), gradient: gradient, firstMoment: part(first),
            secondMoment: part(second),
            copy: unit.computeDType == .float32 ? nil : part(unit.compute),
            learningRate: learningRate, beta1: options.beta1, beta2: options.beta2,
            epsilon: options.epsilon, weightDecay: weightDecay, step: stepCount,
            gradientScale: gradientScale)
        } else {
          Tensor.adamWRounded(
            weights: part(unit.compute), gradient: gradient, firstMoment: part(first),
            secondMoment: part(second), learningRate: learningRate, beta1: options.beta1,
            beta2: options.beta2, epsilon: options.epsilon, weightDecay: weightDecay,
            step: stepCount, gradientScale: gradientScale,
            seed: Self.seed(unit: index, step: stepCount), start: own.lowerBound)
        }
      }
    }
  }

  /// What the rounding of a unit's update depends on beside the element: not on the ranks.
  private static func seed(unit: Int, step: Int) -> UInt32 {
    // Odd constants near 2^32 divided by the golden ratio and by its square.
    UInt32(truncatingIfNeeded: step) &* 0x9E37_79B1 ^ UInt32(truncatingIfNeeded: unit)
      &* 0x85EB_CA77
  }
}
