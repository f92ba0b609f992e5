import Foundation
public import XTunerConfiguration

/// The learning rate as a pure function of the step.
///
/// Steps count from 1, the first update, to ``stepCount``, the last. With `w` warm-up steps the
/// rate of step `s <= w` is `peak * s / w`: the first update already moves, and step `w` is at the
/// peak. After the warm-up, `t = (s - w) / (stepCount - w)` runs to exactly 1 at the last step,
/// whose rate is `peak * minimumRatio` for the shapes that fall.
public struct LearningRateSchedule: Sendable, Equatable {
  /// How the rate changes after the warm-up.
  public enum Shape: Sendable, Equatable {
    /// `minimum + (peak - minimum) * (1 + cos(pi * t)) / 2`.
    case cosine
    /// `peak + (minimum - peak) * t`.
    case linear
    /// The peak until the last step.
    case constant
    /// The peak, then a line down to the minimum over the last `decaySteps` steps.
    case warmupStableDecay(decaySteps: Int)
  }

  /// Learning rate at the end of the warm-up.
  public let peak: Double
  /// Steps of the run.
  public let stepCount: Int
  /// Steps of the warm-up.
  public let warmupSteps: Int
  /// Learning rate at the last step as a share of the peak.
  public let minimumRatio: Double
  /// How the rate changes after the warm-up.
  public let shape: Shape

  /// Creates a schedule; lengths beyond the run are cut to it.
  public init(
    shape: Shape, peak: Double, stepCount: Int, warmupSteps: Int = 0, minimumRatio: Double = 0
  ) {
    precondition(stepCount >= 1, "stepCount: must be at least 1, is \(stepCount)")
    precondition(warmupSteps >= 0, "warmupSteps: must be at least 0, is \(warmupSteps)")
    self.peak = peak
    self.stepCount = stepCount
    self.warmupSteps = min(warmupSteps, stepCount)
    self.minimumRatio = minimumRatio
    if case .warmupStableDecay(let decay) = shape {
      self.shape = .warmupStableDecay(
        decaySteps: min(max(decay, 0), stepCount - min(warmupSteps, stepCount)))
    } else {
      self.shape = shape
    }
  }

  /// Learning rate of an update.
  ///
  /// - Parameter step: The update, from 1; a step after the last has the last one's rate.
  /// - Returns: The rate; 0 only where the minimum is 0.
  public func learningRate(step: Int) -> Double {
    precondition(step >= 1, "step: must be at least 1, is \(step)")
    let step = min(step, stepCount)
    guard step > warmupSteps else { return peak * Double(step) / Double(warmupSteps) }
    let progress = Double(step - warmupSteps) / Double(max(stepCount - warmupSteps, 1))
    let minimum = peak * minimumRatio
    switch shape {
    case .cosine:
      guard step < stepCount else { return minimum }
      return minimum + (peak - minimum) * (1 + cos(.pi * progress)) / 2
    case .linear:
      return peak + (minimum - peak) * progress
    case .constant:
      return peak
    case .warmupStableDecay(let decaySteps):
      let decayed = step - (stepCount - decaySteps)
      guard decayed > 0 else { return peak }
      return peak + (minimum - peak) * (Double(decayed) / Double(decaySteps))
    }
  }
}

extension LearningRateSchedule {
  /// The schedule that a configuration describes.
  ///
  /// Ratios turn into steps by rounding to the nearest.
  ///
  /// - Parameters:
  ///   - schedule: The section `schedule`.
  ///   - optimizer: The section `optimizer`, which has the peak.
  ///   - stepCount: Steps of the run, which the configuration may give as epochs only.
  public init(_ schedule: LearningRateOptions, optimizer: OptimizerOptions, stepCount: Int) {
    func steps(_ count: Int?, _ ratio: Double?) -> Int {
      count ?? Int((Double(stepCount) * (ratio ?? 0)).rounded())
    }
    let shape: Shape =
      switch schedule.name {
      case .cosine: .cosine
      case .linear: .linear
      case .constant: .constant
      case .wsd:
        .warmupStableDecay(decaySteps: steps(schedule.decaySteps, schedule.decayRatio))
      }
    self.init(
      shape: shape, peak: optimizer.learningRate, stepCount: stepCount,
      warmupSteps: steps(schedule.warmupSteps, schedule.warmupRatio),
      minimumRatio: schedule.minimumLearningRateRatio)
  }
}
