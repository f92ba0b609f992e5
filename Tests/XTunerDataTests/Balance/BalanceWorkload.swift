import Foundation

@testable import XTunerData

/// Packs of log-normal lengths, as fine-tuning data has them: many short samples, a few very long.
struct BalanceWorkload: CustomStringConvertible {
  var sequenceLength: Int
  var medianLength: Double
  var sigma: Double

  static let chats = BalanceWorkload(sequenceLength: 4096, medianLength: 400, sigma: 1)
  static let documents = BalanceWorkload(sequenceLength: 32_768, medianLength: 1000, sigma: 1.5)

  var description: String {
    "packs of \(sequenceLength), median \(Int(medianLength)), sigma \(sigma)"
  }

  /// The shapes of Qwen3-30B-A3B: 2.73e9 active parameters without embedding and head; 48 layers
  /// with 32 heads of 128 for queries and values.
  static let cost = StepCost(
    linearPerToken: 6 * 2.73e9, headPerToken: 6 * 151_936 * 2048,
    attention: [AttentionCost(perPair: 48 * 6 * 32 * 256)])

  /// The first packs of an epoch, which take the longest samples out of the look-ahead, are left
  /// out: they are more alike than all later ones.
  private static let skippedCount = 4096

  /// Lengths of the samples of each of `count` packs.
  func packs(count: Int, seed: UInt64) throws -> [[Int]] {
    let end = Self.skippedCount + count
    var generator = SplitMix64(seed: seed)
    let mean = min(medianLength * exp(sigma * sigma / 2), Double(sequenceLength))
    // A quarter more samples than the mean asks for, since the tail is cut off.
    let sampleCount = Int(1.25 * Double(end * sequenceLength) / mean)
    let lengths = (0..<sampleCount).map { _ -> Int32 in
      let radius = (-2 * log(1 - Double.random(in: 0..<1, using: &generator))).squareRoot()
      let normal = radius * cos(2 * .pi * Double.random(in: 0..<1, using: &generator))
      return Int32(min(max(medianLength * exp(sigma * normal), 1), Double(sequenceLength)))
    }
    let plan = try PackPlanner(mode: .bestFit, sequenceLength: sequenceLength)
      .plan(lengths: lengths, order: Array(0..<Int32(sampleCount)))
    precondition(plan.packCount >= end, "\(plan.packCount) packs of \(end)")
    return (Self.skippedCount..<end).map { plan.pieceLengths(inPack: $0).map(Int.init) }
  }
}

/// Makespans of many steps over what evenly spread work would take: 1 is the ideal.
struct BalanceComparison {
  var rankCount: Int
  var packsPerRank: Int
  var interleave = 1
  var stepCount: Int

  enum Rule: String, CaseIterable {
    case inOrder = "in order"
    case sorted = "sorted, one step"
    case balanced = "balanced"
    case sortedWindow = "sorted, 50 steps"
    case groupedBalanced = "grouped, balanced"
  }

  var packsPerStep: Int { rankCount * packsPerRank }

  func ratio(_ rule: Rule, packs: [[Int]], seed: UInt64) -> Double {
    let costs = packs.map {
      BalanceWorkload.cost.cost(sequenceLengths: $0, lossTokens: $0.reduce(0, +))
    }
    var generator = SplitMix64(seed: seed, keys: 1)
    let order: [Int]
    switch rule {
    case .inOrder, .balanced: order = Array(costs.indices)
    case .sorted: order = sortedByProxy(packs, windowStepCount: 1, generator: &generator)
    case .sortedWindow:
      order = sortedByProxy(packs, windowStepCount: stepCount, generator: &generator)
    case .groupedBalanced:
      order = StepGrouping.order(
        costs: costs, packsPerStep: packsPerStep, windowStepCount: stepCount,
        generator: &generator)
    }
    var (makespan, mean) = (0.0, 0.0)
    for start in stride(from: 0, to: order.count, by: packsPerStep) {
      let stepCosts = order[start..<start + packsPerStep].map { costs[$0] }
      let assignment: StepAssignment =
        switch rule {
        case .inOrder, .sorted, .sortedWindow:
          .inOrder(count: packsPerStep, rankCount: rankCount, interleave: interleave)
        case .balanced, .groupedBalanced:
          .balanced(costs: stepCosts, rankCount: rankCount, interleave: interleave)
        }
      let prediction = assignment.prediction(costs: stepCosts)
      makespan += prediction.makespan
      mean += prediction.mean
    }
    return makespan / mean
  }

  /// The rule of XTuner V1: sort windows by the sum of `ceil(n / 128)^2`, cut into groups of one
  /// pack a rank, shuffle the groups, deal them out.
  private func sortedByProxy(
    _ packs: [[Int]], windowStepCount: Int, generator: inout SplitMix64
  ) -> [Int] {
    let proxies = packs.map { lengths in
      lengths.reduce(0) { sum, length in
        let blocks = (length + 127) / 128
        return sum + blocks * blocks
      }
    }
    var order: [Int] = []
    let size = windowStepCount * packsPerStep
    for start in stride(from: 0, to: packs.count, by: size) {
      let window = (start..<min(start + size, packs.count)).sorted {
        (proxies[$0], $1) > (proxies[$1], $0)
      }
      var groups = (0..<Int32(window.count / rankCount)).map { $0 }
      generator.shuffle(&groups)
      for group in groups {
        order += window[Int(group) * rankCount..<(Int(group) + 1) * rankCount]
      }
    }
    return order
  }
}
