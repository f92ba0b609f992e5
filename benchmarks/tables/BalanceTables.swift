import BalanceTrials
import Foundation
import XTunerData

/// The tables of docs/balance.md.
enum BalanceTables {
  /// Makespans of every rule; the largest row has 102,400 packs for each seed.
  static func printRules() throws {
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
          let cells = try ratios(comparison, workload).map { values in
            let mean = values.reduce(0, +) / Double(values.count)
            return String(
              format: "%.4f (%.4f to %.4f)", mean, values.min() ?? .nan, values.max() ?? .nan)
          }
          let sizes = "| \(rankCount) | \(packsPerRank) | \(interleave)"
          print("\(sizes) | \(cells.joined(separator: " | ")) |")
        }
      }
    }
  }

  /// The ratios of each rule, one a seed.
  private static func ratios(
    _ comparison: BalanceComparison, _ workload: BalanceWorkload
  ) throws -> [[Double]] {
    let rules = BalanceComparison.Rule.allCases
    var ratios: [[Double]] = Array(repeating: [], count: rules.count)
    for seed in 1...8 as ClosedRange<UInt64> {
      let packs = try workload.packs(
        count: comparison.stepCount * comparison.packsPerStep, seed: seed)
      for (index, rule) in rules.enumerated() {
        ratios[index].append(comparison.ratio(rule, packs: packs, seed: seed))
      }
    }
    return ratios
  }

  /// How long it takes to assign 4096 packs.
  static func printSeconds() throws {
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
