package import Torch
package import XTunerParallel

/// AdamW on flat units: float32 master weights and moments, decoupled weight decay.
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
    /// Running mean of the gradient, `[elementCount]` float32.
    package let first: Tensor
    /// Running mean of the squared gradient, `[elementCount]` float32.
    package let second: Tensor
  }

  package let options: Options
  package let moments: [Moments]
  /// Updates done; a skipped step is not one.
  package var stepCount = 0

  package init(_ units: [FlatUnit], options: Options) {
    self.options = options
    self.moments = units.map { unit in
      Moments(
        unit: unit, first: Tensor.zeros([unit.elementCount], dtype: .float32),
        second: Tensor.zeros([unit.elementCount], dtype: .float32))
    }
  }

  /// The norm of all gradients, and the first unit whose gradient is not finite.
  package func gradientNorm() -> (norm: Double, nonFiniteUnit: String?) {
    var sum = 0.0
    var nonFinite: String?
    for state in moments {
      let square = state.unit.finishedGradient().squaredSum().item()
      if !square.isFinite && nonFinite == nil { nonFinite = state.unit.name }
      sum += square
    }
    return (sum.squareRoot(), nonFinite)
  }

  /// Updates all weights with the gradients times `gradientScale`.
  package func step(learningRate: Double, gradientScale: Double) {
    stepCount += 1
    withoutGradients {
      for state in moments {
        update(state, learningRate: learningRate, gradientScale: gradientScale)
      }
    }
  }

  private func update(_ state: Moments, learningRate: Double, gradientScale: Double) {
    let unit = state.unit
    guard let master = unit.master else {
      preconditionFailure("\(unit.name) was made for inference")
    }
    let gradient = unit.finishedGradient()
    let copy = unit.computeDType == .float32 ? nil : unit.compute
    let ranges = [
      (0..<unit.decayedCount, options.weightDecay), (unit.decayedCount..<unit.elementCount, 0),
    ]
    for (range, weightDecay) in ranges where !range.isEmpty {
      func part(_ tensor: Tensor) -> Tensor {
        tensor.narrowed(dim: 0, start: range.lowerBound, length: range.count)
      }
      Tensor.adamW(
        master: part(master), gradient: part(gradient), firstMoment: part(state.first),
        secondMoment: part(state.second), copy: copy.map(part), learningRate: learningRate,
        beta1: options.beta1, beta2: options.beta2, epsilon: options.epsilon,
        weightDecay: weightDecay, step: stepCount, gradientScale: gradientScale)
    }
  }
}
