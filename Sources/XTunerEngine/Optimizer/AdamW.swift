import Torch
package import XTunerCheckpoint
import XTunerConfiguration
import XTunerNN
package import XTunerParallel

/// AdamW on this rank's part of flat units, with decoupled weight decay.
///
/// Moments have the dtype of the weights. Those of a unit with a master are float32; where the bfloat16
/// compute copy has the weights, they are bfloat16 too, and updates are rounded stochastically: by chances that
/// a parameter's name, an element's index in the whole parameter and the step decide, and not the ranks.
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
      return updateRounded(
        unit, first: first, second: second, learningRate: learningRate,
        gradientScale: gradientScale)
    }
    let decayRanges = [
      (0..<unit.decayedCount, options.weightDecay), (unit.decayedCount..<unit.elementCount, 0),
    ]
    for (range, gradient) in unit.gradientPieces() {
      for (decayed, weightDecay) in decayRanges {
        let own = decayed.clamped(to: range)
        if own.isEmpty { continue }
        func part(_ tensor: Tensor) -> Tensor { Self.part(tensor, own, of: unit.shardRange) }
        Tensor.adamW(
          master: part(master), gradient: Self.part(gradient, own, of: range),
          firstMoment: part(first), secondMoment: part(second),
          copy: unit.computeDType == .float32 ? nil : part(unit.compute),
          learningRate: learningRate, beta1: options.beta1, beta2: options.beta2,
          epsilon: options.epsilon, weightDecay: weightDecay, step: stepCount,
          gradientScale: gradientScale)
      }
    }
  }

  /// The update of weights without a master, a parameter at a time: each has its own chances.
  private func updateRounded(
    _ unit: FlatUnit, first: Tensor, second: Tensor, learningRate: Double, gradientScale: Double
  ) {
    for (range, gradient) in unit.gradientPieces() {
      for slot in unit.slots {
        let own = slot.range.clamped(to: range).clamped(to: unit.shardRange)
        if own.isEmpty { continue }
        func part(_ tensor: Tensor) -> Tensor { Self.part(tensor, own, of: unit.shardRange) }
        var indices = slot.slice.indices
        indices.first = own.lowerBound - slot.offset
        let isDecayed = slot.range.upperBound <= unit.decayedCount
        Tensor.adamWRounded(
          weights: part(unit.compute), gradient: Self.part(gradient, own, of: range),
          firstMoment: part(first), secondMoment: part(second), learningRate: learningRate,
          beta1: options.beta1, beta2: options.beta2, epsilon: options.epsilon,
          weightDecay: isDecayed ? options.weightDecay : 0, step: stepCount,
          gradientScale: gradientScale,
          seed: UInt32(
            truncatingIfNeeded: FlatUnit.seed(UInt64(stepCount), name: slot.parameter.name)),
          indices: indices)
      }
    }
  }

  /// The elements `own` of a unit in a tensor that has those of `range`.
  private static func part(_ tensor: Tensor, _ own: Range<Int>, of range: Range<Int>) -> Tensor {
    tensor.narrowed(dim: 0, start: own.lowerBound - range.lowerBound, length: own.count)
  }
}

extension AdamW.Options {
  init(_ options: OptimizerOptions) {
    self.init()
    beta1 = options.betas.first
    beta2 = options.betas.second
    epsilon = options.epsilon
    weightDecay = options.weightDecay
  }
}

extension AdamW {
  /// What a checkpoint holds of the units.
  package func checkpointParts(includesMoments: Bool) -> [UnitFiles.Part] {
    moments.flatMap { state -> [UnitFiles.Part] in
      var parts = [UnitFiles.Part(unit: state.unit, kind: .weights, tensor: state.unit.weights)]
      if includesMoments {
        parts.append(.init(unit: state.unit, kind: .firstMoments, resting: state.first))
        parts.append(.init(unit: state.unit, kind: .secondMoments, resting: state.second))
      }
      return parts
    }
  }
}
