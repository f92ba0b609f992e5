import Foundation
import Testing
import Torch
import XTunerMoE
import XTunerModels
import XTunerNN
import XTunerParallel

@testable import XTunerLaunch
@testable import XTunerRun
@testable import XTunerConfiguration
@testable import XTunerEngine
@testable import XTunerTrainer

/// `loss.balance_scope`: the balance loss of a step in several rounds.
@Suite struct BalanceScopeTests {
  /// What the products are computed in.
  enum Precision: String, CaseIterable {
    case float32, bfloat16, float8
  }

  /// An engine with a balance loss on a model of two layers with eight experts.
  private func makeEngine(
    _ precision: Precision, countsStep: Bool, recomputed: Int = 0
  ) throws -> TrainingEngine {
    let prepared = PreparedModel(
      try Float8TrainingTests.models[1].configuration(),
      computeDType: precision == .float32 ? .float32 : .bfloat16, isTrained: true,
      float8: precision == .float8 ? Float8TrainingTests.standard : [])
    prepared.initialize(seed: 7)
    var options = TrainingEngine.Options()
    options.routerLoss = .init(balance: 0.5, z: 0.01)
    options.countsRowsOfStep = countsStep
    options.recomputedLayerCount = recomputed
    return TrainingEngine(model: prepared.model, units: prepared.units, options: options)
  }

  /// Samples that use few tokens each, so that what the experts get differs from round to round.
  private static let samples: [[Int32]] = [(37, 3), (61, 5), (23, 7)].map { length, step in
    (0..<length).map { Int32($0 % step * 29 + step) }
  }

  private static func batches(ofSamples groups: [[Int]]) -> [MicroBatch] {
    groups.map { group in
      var batch = MicroBatch()
      for index in group {
        batch.append(tokens: samples[index], labels: samples[index], reduction: .token)
      }
      return batch
    }
  }

  private static let rounds = batches(ofSamples: [[0], [1], [2]])

  /// The pass that counts chooses the experts of the passes with gradients, also where a tie is near.
  @Test(arguments: Precision.allCases, [0, 2])
  func rowsThatWereCountedBeforeAreThoseOfTheRounds(_ precision: Precision, recomputed: Int) throws
  {
    let counted = try makeEngine(precision, countsStep: true, recomputed: recomputed)
      .accumulateGradients(Self.rounds)
    let summed = try makeEngine(precision, countsStep: false, recomputed: recomputed)
      .accumulateGradients(Self.rounds)
    #expect(counted.roundCount == 3)
    #expect(counted.expertCounts == summed.expertCounts)
    // Two experts for each of 121 tokens, in both layers.
    let rowCounts: [Int64] = counted.expertCounts.map { $0.reduce(0, +) }
    #expect(rowCounts == [242, 242])
    #expect(counted.loss == summed.loss && counted.routerZLoss == summed.routerZLoss)
    #expect(abs(counted.balanceLoss - summed.balanceLoss) > 1e-3, "the scopes are not the same")
  }

  /// Loss and gradients of three rounds are those of one, which those of a round are not.
  @Test func stepInRoundsHasTheNumbersOfOneRound() throws {
    let whole = try makeEngine(.float32, countsStep: false)
    let expected = try whole.accumulateGradients(Self.batches(ofSamples: [[0, 1, 2]]))
    let step = try makeEngine(.float32, countsStep: true)
    let found = try step.accumulateGradients(Self.rounds)
    #expect(abs(found.balanceLoss / expected.balanceLoss - 1) < 1e-6)
    #expect(worstDifference(step, whole) < 1e-5)

    let round = try makeEngine(.float32, countsStep: false)
    let other = try round.accumulateGradients(Self.rounds)
    #expect(abs(other.balanceLoss / expected.balanceLoss - 1) > 1e-3)
    #expect(worstDifference(round, whole) > 1e-3)
  }

  @Test func oneRoundIsComputedAsWithoutTheOption() throws {
    let batches = Self.batches(ofSamples: [[2, 0]])
    let engines = try [false, true].map { try makeEngine(.bfloat16, countsStep: $0) }
    let measured = try engines.map { try $0.accumulateGradients(batches) }
    #expect(measured[0].balanceLoss == measured[1].balanceLoss)
    #expect(worstDifference(engines[0], engines[1]) == 0)
  }

  /// A micro-batch without tokens has no rows, no loss and no gradient.
  @Test(arguments: [false, true])
  func microBatchesWithoutTokensChangeNothing(countsStep: Bool) throws {
    let alone = try makeEngine(.float32, countsStep: countsStep)
    let expected = try alone.accumulateGradients(Self.rounds)
    let beside = try makeEngine(.float32, countsStep: countsStep)
    let found = try beside.accumulateGradients(Self.rounds + [MicroBatch()])
    #expect(found.roundCount == 4)
    #expect(found.loss == expected.loss && found.balanceLoss == expected.balanceLoss)
    #expect(found.routerZLoss == expected.routerZLoss)
    #expect(found.expertCounts == expected.expertCounts)
    #expect(worstDifference(beside, alone) == 0)
  }

  /// The largest relative difference of a parameter's gradient.
  private func worstDifference(_ engine: TrainingEngine, _ other: TrainingEngine) -> Double {
    func gradients(_ engine: TrainingEngine) -> [Tensor] {
      engine.model.parameters.map { engine.units.unit(of: $0).gradientView(of: $0) }
    }
    return zip(gradients(engine), gradients(other)).map(relativeDifference).max() ?? .nan
  }

  /// The option of a whole run: what a step's balance loss is does not depend on its micro-batches.
  @Test func runsOfAnyMicroBatchesReportTheSameBalanceLoss() throws {
    let tiny = try TinyRun()
    defer { tiny.remove() }
    func balanceLoss(_ run: String, _ overrides: [String]) throws -> Double {
      let outcome = try tiny.train(
        run: run,
        [
          "model.dtype=f32", "training.steps=1", "schedule.warmup_steps=0",
          "export.at_end=false", "loss.balance_loss=0.1",
        ]
          + overrides)
      let text = try String(contentsOfFile: outcome.layout.metrics, encoding: .utf8)
      let line = try #require(text.split(separator: "\n").first)
      let step = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
      return try #require(step?["balance_loss"] as? Double)
    }
    let whole = try balanceLoss("whole", ["training.micro_batch_packs=4"])
    let step = try balanceLoss(
      "step", ["training.micro_batch_packs=1", "loss.balance_scope=step"])
    let round = try balanceLoss("round", ["training.micro_batch_packs=1"])
    #expect(abs(step / whole - 1) < 1e-6, "\(step), not \(whole)")
    #expect(abs(round / whole - 1) > 1e-4, "the rounds of this run are alike")
  }
}
