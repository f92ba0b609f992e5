import XTunerData

/// Makespans of many steps over what evenly spread work would take: 1 is the ideal.
package struct BalanceComparison {
  package var rankCount: Int
  package var packsPerRank: Int
  package var interleave = 1
  package var stepCount: Int

  package enum Rule: String, CaseIterable {
    case inOrder = "in order"
    case sorted = "sorted, one step"
    case balanced = "balanced"
    case sortedWindow = "sorted, 50 steps"
    case groupedBalanced = "grouped, balanced"
  }

  /// Steps of `packsPerRank` packs on each of `rankCount` ranks.
  package init(rankCount: Int, packsPerRank: Int, interleave: Int = 1, stepCount: Int) {
    self.rankCount = rankCount
    self.packsPerRank = packsPerRank
    self.interleave = interleave
    self.stepCount = stepCount
  }

  package var packsPerStep: Int { rankCount * packsPerRank }

  package func ratio(_ rule: Rule, packs: [[Int]], seed: UInt64) -> Double {
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
