import Foundation
import Testing

@testable import XTunerData

@Suite struct BalanceComparisonTests {
  @Test(arguments: [1, 4], [8, 64])
  func balancedStepsAreFasterThanThoseOfTheSortedRule(packsPerRank: Int, rankCount: Int) throws {
    let comparison = BalanceComparison(
      rankCount: rankCount, packsPerRank: packsPerRank, stepCount: 5)
    let packs = try BalanceWorkload.chats.packs(
      count: comparison.stepCount * comparison.packsPerStep, seed: 7)
    func ratio(_ rule: BalanceComparison.Rule) -> Double {
      comparison.ratio(rule, packs: packs, seed: 7)
    }
    // The true cost of a step's packs decides, so no other sorting can be better.
    #expect(ratio(.balanced) <= ratio(.sorted) * (1 + 1e-12))
    #expect(ratio(.balanced) <= ratio(.inOrder) * (1 + 1e-12))
    #expect(ratio(.groupedBalanced) <= ratio(.sortedWindow) * (1 + 1e-12))
    if packsPerRank > 1 { #expect(ratio(.balanced) < ratio(.inOrder)) }
  }

  private static let wantsTable =
    ProcessInfo.processInfo.environment["XTUNER_BALANCE_TABLE"] != nil

  /// The table of docs/balance.md; the largest row has 102,400 packs for each seed.
  @Test(.enabled(if: wantsTable, "set XTUNER_BALANCE_TABLE, in a release build"))
  func printsTheTable() throws {
    for workload in [BalanceWorkload.chats, .documents] {
      print("\n\(workload)")
      let rules = BalanceComparison.Rule.allCases
      let names = rules.map(\.rawValue).joined(separator: " | ")
      print("| ranks | packs a rank | interleave | \(names) |")
      print("| ---: | ---: | ---: |" + String(repeating: " ---: |", count: rules.count))
      for (packsPerRank, interleave) in [(1, 1), (4, 1), (4, 2), (4, 4)] {
        for rankCount in [8, 64, 512] {
          let comparison = BalanceComparison(
            rankCount: rankCount, packsPerRank: packsPerRank, interleave: interleave, stepCount: 50)
          var ratios: [[Double]] = Array(repeating: [], count: rules.count)
          for seed in 1...8 as ClosedRange<UInt64> {
            let packs = try workload.packs(
              count: comparison.stepCount * comparison.packsPerStep, seed: seed)
            for (index, rule) in rules.enumerated() {
              ratios[index].append(comparison.ratio(rule, packs: packs, seed: seed))
            }
          }
          let cells = ratios.map { values in
            let mean = values.reduce(0, +) / Double(values.count)
            return String(format: "%.4f (%.4f-%.4f)", mean, values.min()!, values.max()!)
          }
          let sizes = "| \(rankCount) | \(packsPerRank) | \(interleave)"
          print("\(sizes) | \(cells.joined(separator: " | ")) |")
        }
      }
    }
  }

  @Test(.enabled(if: wantsTable, "set XTUNER_BALANCE_TABLE, in a release build"))
  func printsHowLongAnAssignmentTakes() throws {
    for workload in [BalanceWorkload.chats, .documents] {
      let packs = try workload.packs(count: 4096, seed: 3)
      let costs = packs.map {
        BalanceWorkload.cost.cost(sequenceLengths: $0, lossTokens: $0.reduce(0, +))
      }
      for (rankCount, interleave) in [(1024, 1), (1024, 2), (1024, 4), (512, 2), (64, 8), (8, 4)] {
        var seconds: [Double] = []
        var spread = 0.0
        for _ in 0..<9 {
          let start = ContinuousClock.now
          let assignment = StepAssignment.balanced(
            costs: costs, rankCount: rankCount, interleave: interleave)
          seconds.append((ContinuousClock.now - start) / .seconds(1))
          spread = assignment.prediction(costs: costs).spread
        }
        seconds.sort()
        print(
          "4096 packs, \(rankCount) ranks, interleave \(interleave):",
          String(
            format: "median %.1f ms, most %.1f ms, spread %.4f", seconds[4] * 1e3,
            seconds[8] * 1e3, spread))
      }
    }
  }
}
