import Foundation
import Testing
import Torch
import XTunerModels
import XTunerParallel

@testable import XTunerLaunch
@testable import XTunerRun
@testable import XTunerConfiguration
@testable import XTunerEngine
@testable import XTunerTrainer

/// The same global batches give the same losses and gradient norms, however they are run.
///
/// Twenty AdamW steps in float32. Tolerances: loss and balance loss 1e-6 relative, gradient norm 1e-5
/// relative; sums are taken in another order, which is all that differs.
@Suite(.serialized) struct InvarianceTests {
  @Test(arguments: LayoutCase.layouts(model: "qwen3_moe"))
  func layoutChangesNothing(_ testCase: LayoutCase) throws { try check(testCase) }

  @Test(arguments: LayoutCase.layouts(model: "qwen3_tied"))
  func layoutOfADenseModelChangesNothing(_ testCase: LayoutCase) throws { try check(testCase) }

  @Test(arguments: LayoutCase.schedules)
  func scheduleChangesNothing(_ testCase: LayoutCase) throws { try check(testCase) }

  /// With the counts of a round, losses of several rounds are off by up to 1e-4 and norms by 2e-3.
  @Test(arguments: LayoutCase.rounds)
  func roundsChangeNothingWhereTheBalanceLossCountsTheStep(_ testCase: LayoutCase) throws {
    try check(testCase)
  }

  @Test(arguments: LayoutCase.policies)
  func memoryPolicyChangesNothing(_ testCase: LayoutCase) throws { try check(testCase) }

  private func check(_ testCase: LayoutCase) throws {
    let expected = try Self.reference(testCase)
    let curves = try runMesh(testCase.layout) { try InvarianceRun.curve(testCase, mesh: $0) }
    var (worstLoss, worstNorm) = (0.0, 0.0)
    for (rank, curve) in curves.enumerated() {
      for step in expected.losses.indices {
        let loss = abs(curve.losses[step] / expected.losses[step] - 1)
        let norm = abs(curve.norms[step] / expected.norms[step] - 1)
        (worstLoss, worstNorm) = (max(worstLoss, loss), max(worstNorm, norm))
        #expect(loss < 1e-6, "rank \(rank) step \(step): loss off by \(loss)")
        #expect(norm < 1e-5, "rank \(rank) step \(step): norm off by \(norm)")
        let balance = (curve.balanceLosses[step], expected.balanceLosses[step])
        #expect(
          abs(balance.0 - balance.1) <= 1e-6 * balance.1,
          "rank \(rank) step \(step): balance loss \(balance.0), not \(balance.1)")
      }
    }
    // A row of docs/invariance.md, see benchmarks/invariance_table.sh.
    Attachment.record(
      "| \(testCase.testDescription) | \(Self.text(worstLoss)) | \(Self.text(worstNorm)) |\n",
      named: "row.md")
  }

  private static func text(_ value: Double) -> String { String(format: "%.1e", value) }

  /// One rank with one micro-batch, computed once a model.
  private static func reference(_ testCase: LayoutCase) throws -> Curve {
    switch (testCase.model, testCase.hasRouterLoss) {
    case ("qwen3_moe", true): try moeWithLosses.get()
    case ("qwen3_moe", false): try moe.get()
    default: try dense.get()
    }
  }

  private static let moe = plain(LayoutCase(model: "qwen3_moe"))
  private static let moeWithLosses = plain(LayoutCase(model: "qwen3_moe", hasRouterLoss: true))
  private static let dense = plain(LayoutCase(model: "qwen3_tied"))

  private static func plain(_ testCase: LayoutCase) -> Result<Curve, any Error> {
    Result { try InvarianceRun.curve(testCase, mesh: ProcessMesh()) }
  }
}

extension LayoutCase {
  /// Every layout of 1, 2 and 4 ranks that fits, with two interleaved micro-batches.
  static func layouts(model: String) -> [LayoutCase] {
    let degrees = [1, 2, 4]
    let isMixture = model == "qwen3_moe"
    var cases: [LayoutCase] = []
    for ranks in degrees {
      for replicate in degrees {
        for expert in degrees {
          for expertTensor in degrees {
            for sequence in degrees where replicate <= ranks {
              let testCase = LayoutCase(
                model: model, ranks: ranks, replicate: replicate, expert: expert,
                expertTensor: expertTensor, sequence: sequence, microBatches: 2, interleave: 2,
                hasRouterLoss: isMixture)
              let problems = testCase.layout.problems(
                expertCount: isMixture ? 8 : nil, expertSize: isMixture ? 32 : nil, headCount: 4,
                keyValueHeadCount: 2)
              if problems.isEmpty { cases.append(testCase) }
            }
          }
        }
      }
    }
    return cases
  }

  /// Numbers of micro-batches, interleaved or one after another, and when weights are together.
  static var schedules: [LayoutCase] {
    let layouts: [(ranks: Int, expert: Int, sequence: Int)] = [(1, 1, 1), (2, 1, 1), (4, 2, 2)]
    return layouts.flatMap { layout in
      [(1, 1), (2, 1), (2, 2), (4, 1), (4, 2), (4, 4)].flatMap { microBatches, interleave in
        [(Schedule.Reshard.afterForward, 0), (.afterForward, 2), (.never, 1)].map {
          LayoutCase(
            model: "qwen3_moe", ranks: layout.ranks, expert: layout.expert,
            sequence: layout.sequence, microBatches: microBatches, interleave: interleave,
            reshard: $0, prefetch: $1, hasRouterLoss: microBatches == interleave)
        }
      }
    }
  }

  /// Steps of one, two and four rounds whose balance loss counts the rows of the step.
  static var rounds: [LayoutCase] {
    let layouts: [(ranks: Int, expert: Int, sequence: Int)] = [(1, 1, 1), (2, 1, 1), (4, 2, 2)]
    return layouts.flatMap { layout in
      [(1, 1), (2, 1), (4, 2), (4, 1)].map { microBatches, interleave in
        LayoutCase(
          model: "qwen3_moe", ranks: layout.ranks, expert: layout.expert,
          sequence: layout.sequence, microBatches: microBatches, interleave: interleave,
          recompute: microBatches == 2 ? .full : .none, swaps: microBatches == 2,
          reshard: interleave == 2 ? .never : .afterForward, hasRouterLoss: true, countsStep: true)
      }
    }
  }

  /// What is kept for backward and where.
  static var policies: [LayoutCase] {
    let layouts: [(model: String, ranks: Int, expert: Int, sequence: Int)] = [
      ("qwen3_moe", 1, 1, 1), ("qwen3_tied", 2, 1, 1), ("qwen3_moe", 4, 2, 2),
    ]
    return layouts.flatMap { layout in
      [LayoutCase.Recompute.selective, .half, .full].flatMap { recompute in
        [false, true].map {
          LayoutCase(
            model: layout.model, ranks: layout.ranks, expert: layout.expert,
            sequence: layout.sequence, microBatches: 2, interleave: 2, recompute: recompute,
            swaps: $0, hasRouterLoss: layout.model == "qwen3_moe")
        }
      }
    }
  }
}
