import Torch
package import XTunerParallel

/// AdamW on this rank's part of flat units: float32 master weights and moments, decoupled weight
/// decay.
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
    /// Running mean of the gradient, `[shardRange.count]` float32.
    package let first: RestingTensor
    /// Running mean of the squared gradient, `[shardRange.count]` float32.
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
          Tensor.zeros([unit.shardRange.count], dtype: .float32, device: unit.device), swap: swap)
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
              state.unit, first: first, second: second, learningRate: learningRate,
              gradientScale: gradientScale)
          }
        }
      }
    }
  }

  private func update(
    _ unit: FlatUnit, first: Tensor, second: Tensor, learningRate: Double, gradientScale: Double
  ) {
    guard let master = unit.master else {
      preconditionFailure("\(unit.name) was made for inference")
    }
    let gradient = unit.finishedGradient()
    let copy = unit.computeDType == .float32 ? nil : unit.compute
    let ranges = [
      (0..<unit.decayedCount, options.weightDecay), (unit.decayedCount..<unit.elementCount, 0),
    ]
    for (range, weightDecay) in ranges {
      let own = range.clamped(to: unit.shardRange)
      if own.isEmpty { continue }
      func part(_ tensor: Tensor) -> Tensor {
        tensor.narrowed(
          dim: 0, start: own.lowerBound - unit.shardRange.lowerBound, length: own.count)
      }
      Tensor.adamW(
        master: part(master), gradient: part(gradient), firstMoment: part(first),
        secondMoment: part(second), copy: copy.map(part), learningRate: learningRate,
        beta1: options.beta1, beta2: options.beta2, epsilon: options.epsilon,
        weightDecay: weightDecay, step: stepCount, gradientScale: gradientScale)
    }
  }
}
