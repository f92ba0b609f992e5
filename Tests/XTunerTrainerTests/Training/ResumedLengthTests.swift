import Foundation
import Testing

@testable import XTunerEngine
@testable import XTunerLaunch
@testable import XTunerRun
@testable import XTunerConfiguration
@testable import XTunerTrainer

/// How long a run is that goes on with other lengths than it began with.
@Suite struct ResumedLengthTests {
  private static let minimum = 1e-3
  private static let common = [
    "training.micro_batch_packs=1", "schedule.minimum_learning_rate_ratio=0.1",
    "schedule.warmup_steps=0", "evaluation.every_steps=null", "checkpoint.every_steps=5",
    "checkpoint.keep=null", "checkpoint.background=false",
  ]
  private static let epochs = common + ["training.steps=null", "training.epochs=2"]

  @Test(arguments: [1, 2], [[2, 4], [4, 2]])
  func withEpochsTheDataIsTrainedToItsEndWhateverTheSizeOfAStep(
    ranks: Int, sizes: [Int]
  ) throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let first = Self.epochs + ["training.packs_per_step=\(sizes[0])"]
    try tiny.train(ranks: ranks, run: "a", first)
    let whole = try tiny.steps(run: "a")

    let second = Self.epochs + ["training.packs_per_step=\(sizes[1])"]
    let start = tiny.checkpoint(run: "a", step: 5)
    let outcome = try tiny.train(ranks: ranks, run: "b", second, resume: .checkpoint(start))
    let rest = try tiny.steps(run: "b")
    #expect(outcome.firstStep == 6)
    #expect(rest.map(\.step) == Array(6...outcome.step))
    let tokens = (whole.prefix(5) + rest).reduce(0) { $0 + $1.tokens }
    #expect(tokens == whole.reduce(0) { $0 + $1.tokens })
    // The rate goes on from where it was, by the share of the data, and ends at its minimum.
    let last = try #require(rest.last)
    #expect(last.rate == Self.minimum)
    let ratio = Double(sizes[1]) / Double(sizes[0])
    let nearest = whole[min(5 + Int(ratio.rounded(.up)), whole.count - 1)].rate
    #expect(rest[0].rate < whole[4].rate && rest[0].rate >= nearest)
    #expect(zip(rest, rest.dropFirst()).allSatisfy { $0.rate > $1.rate })
    try expectLastStep(tiny, run: "b", outcome)
  }

  /// What the last step of a run does, whatever made it the last one.
  private func expectLastStep(_ tiny: TinyRun, run: String, _ outcome: TrainingOutcome) throws {
    #expect(!outcome.isStopped && outcome.exportPath != nil)
    let evaluations = try tiny.lines(run: run).filter(\.isEvaluation).map(\.step)
    #expect(evaluations == [outcome.step])
    let newest = try #require(tiny.names(run: run, "checkpoints").last)
    #expect(tiny.checkpoint(run: run, step: outcome.step).hasSuffix("/\(newest)"))
  }

  @Test func moreEpochsGoOnWithTheirData() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    try tiny.train(run: "whole", Self.epochs + ["training.epochs=3"])
    try tiny.train(run: "a", Self.epochs + ["training.epochs=1"])
    let done = try tiny.steps(run: "a").count
    let outcome = try tiny.train(run: "a", Self.epochs + ["training.epochs=3"])
    #expect(outcome.firstStep == done + 1)
    let steps = try tiny.steps(run: "a")
    let tokens = { (lines: [TinyRun.Line]) in lines.reduce(0) { $0 + $1.tokens } }
    #expect(tokens(steps) == tokens(try tiny.steps(run: "whole")))
    #expect(steps.last?.rate == Self.minimum)
    #expect(try tiny.lines(run: "a").filter(\.isEvaluation).map(\.step) == [done, outcome.step])
  }

  @Test func fewerEpochsEndWhereTheirDataDoes() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    try tiny.train(run: "one", Self.epochs + ["training.epochs=1"])
    try tiny.train(run: "a", Self.epochs)
    let start = ResumePolicy.checkpoint(tiny.checkpoint(run: "a", step: 5))
    let outcome = try tiny.train(run: "b", Self.epochs + ["training.epochs=1"], resume: start)
    #expect(outcome.step == (try tiny.steps(run: "one").count))
    #expect(try tiny.steps(run: "b").last?.rate == Self.minimum)
    try expectLastStep(tiny, run: "b", outcome)
  }

  @Test func fewerEpochsThanWereTrainedAreRefused() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let last = try tiny.train(run: "a", Self.epochs).step
    let error = #expect(throws: ConfigurationError.self) {
      try tiny.train(run: "a", Self.epochs + ["training.epochs=1"])
    }
    let text = error?.description ?? ""
    #expect(
      text.contains("training.epochs: is 1, but the checkpoint (step \(last)) stands in epoch 3,"))
    #expect(text.contains("set at least 2"))
  }

  @Test(arguments: [[2, 4], [4, 2]])
  func withStepsTheirNumberRulesAndTheDataGoesOn(sizes: [Int]) throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let steps = Self.common + ["training.steps=41"]
    try tiny.train(run: "a", steps + ["training.packs_per_step=\(sizes[0])"])
    let start = ResumePolicy.checkpoint(tiny.checkpoint(run: "a", step: 5))
    let outcome = try tiny.train(
      run: "b", steps + ["training.packs_per_step=\(sizes[1])"], resume: start)
    #expect(outcome.firstStep == 6 && outcome.step == 41)
    // The schedule is one of steps, too.
    let rates = try tiny.steps(run: "a").map(\.rate)
    #expect(try tiny.steps(run: "b").map(\.rate) == Array(rates.suffix(36)))
    try expectLastStep(tiny, run: "b", outcome)
  }

  @Test func fewerStepsThanWereTakenAreRefused() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    try tiny.train(run: "a")
    let error = #expect(throws: ConfigurationError.self) {
      try tiny.train(run: "a", ["training.steps=7"])
    }
    #expect(
      error?.description.contains("training.steps: is 7, but the checkpoint has 8 steps") == true)
  }

  @Test func aRunThatIsCutToItsCheckpointStillHasALastStep() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    let options = ["evaluation.every_steps=null"]
    try tiny.train(run: "a", options + ["checkpoint.at_end=false", "export.at_end=false"])
    let start = ResumePolicy.checkpoint(tiny.checkpoint(run: "a", step: 6))
    let outcome = try tiny.train(run: "b", options + ["training.steps=6"], resume: start)
    #expect(outcome.firstStep == nil && outcome.step == 6 && outcome.exportPath != nil)
    #expect(try tiny.lines(run: "b").filter(\.isEvaluation).map(\.step) == [6])
  }

  @Test func aFinishedRunIsNotEvaluatedAgain() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    try tiny.train(run: "a")
    let lines = try tiny.lines(run: "a").map(\.step)
    let outcome = try tiny.train(run: "a")
    #expect(outcome.firstStep == nil && outcome.exportPath != nil)
    #expect(try tiny.lines(run: "a").map(\.step) == lines)
  }
}
