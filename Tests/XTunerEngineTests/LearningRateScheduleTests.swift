import Foundation
import Testing

@testable import XTunerConfiguration
@testable import XTunerEngine

@Suite struct LearningRateScheduleTests {
  /// Rates at steps 1...stepCount.
  private func rates(_ schedule: LearningRateSchedule) -> [Double] {
    (1...schedule.stepCount).map { schedule.learningRate(step: $0) }
  }

  private func expectClose(
    _ actual: [Double], _ expected: [Double], sourceLocation: SourceLocation = #_sourceLocation
  ) {
    #expect(actual.count == expected.count, sourceLocation: sourceLocation)
    for (index, pair) in zip(actual, expected).enumerated() {
      #expect(
        abs(pair.0 - pair.1) <= 1e-15 * max(abs(pair.1), 1), "step \(index + 1)",
        sourceLocation: sourceLocation)
    }
  }

  @Test func cosineFallsFromThePeakAfterTheWarmUpToTheMinimumAtTheLastStep() {
    let schedule = LearningRateSchedule(
      shape: .cosine, peak: 1, stepCount: 6, warmupSteps: 2, minimumRatio: 0.2)
    let root = 2.0.squareRoot() / 2
    expectClose(
      rates(schedule), [0.5, 1, 0.2 + 0.4 * (1 + root), 0.6, 0.2 + 0.4 * (1 - root), 0.2])
  }

  @Test func linearFallsInEqualSteps() {
    let schedule = LearningRateSchedule(
      shape: .linear, peak: 8, stepCount: 7, warmupSteps: 3, minimumRatio: 0.5)
    expectClose(rates(schedule), [8.0 / 3, 16.0 / 3, 8, 7, 6, 5, 4])
  }

  @Test func constantStaysAtThePeak() {
    expectClose(
      rates(.init(shape: .constant, peak: 3, stepCount: 5, warmupSteps: 2)), [1.5, 3, 3, 3, 3])
  }

  @Test func stableDecayFallsOverItsLastSteps() {
    let schedule = LearningRateSchedule(
      shape: .warmupStableDecay(decaySteps: 4), peak: 1, stepCount: 8, warmupSteps: 1,
      minimumRatio: 0)
    expectClose(rates(schedule), [1, 1, 1, 1, 0.75, 0.5, 0.25, 0])
  }

  @Test(arguments: [
    LearningRateSchedule.Shape.cosine, .linear, .constant, .warmupStableDecay(decaySteps: 3),
  ])
  func boundariesAreExact(shape: LearningRateSchedule.Shape) {
    let end = shape == .constant ? 3e-4 : 3e-5
    let schedule = LearningRateSchedule(
      shape: shape, peak: 3e-4, stepCount: 1009, warmupSteps: 101, minimumRatio: 0.1)
    #expect(schedule.learningRate(step: 101) == 3e-4)
    #expect(schedule.learningRate(step: 1) == 3e-4 / 101)
    #expect(abs(schedule.learningRate(step: 1009) - end) < 1e-18)
    #expect(schedule.learningRate(step: 5000) == schedule.learningRate(step: 1009))
    let all = rates(schedule)
    #expect(zip(all.dropFirst(101), all.dropFirst(102)).allSatisfy { $0 >= $1 })
  }

  @Test func warmUpAsLongAsTheRunEndsAtThePeak() {
    for shape in [LearningRateSchedule.Shape.cosine, .warmupStableDecay(decaySteps: 5)] {
      expectClose(rates(.init(shape: shape, peak: 3, stepCount: 3, warmupSteps: 9)), [1, 2, 3])
    }
  }

  @Test func runOfOneStepHasARate() {
    #expect(
      LearningRateSchedule(shape: .cosine, peak: 3, stepCount: 1, warmupSteps: 1)
        .learningRate(step: 1) == 3)
    #expect(
      LearningRateSchedule(shape: .constant, peak: 3, stepCount: 1).learningRate(step: 1) == 3)
  }

  @Test func ratiosOfTheConfigurationBecomeSteps() {
    var options = LearningRateOptions()
    options.name = .wsd
    options.warmupRatio = 0.1
    options.decayRatio = 0.25
    let schedule = LearningRateSchedule(options, optimizer: OptimizerOptions(), stepCount: 47)
    #expect(schedule.warmupSteps == 5)
    #expect(schedule.shape == .warmupStableDecay(decaySteps: 12))
    #expect(schedule.peak == 1e-5)
  }
}
