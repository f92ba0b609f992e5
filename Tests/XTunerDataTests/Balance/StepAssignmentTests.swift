import Testing

@testable import XTunerData

@Suite struct StepAssignmentTests {
  private func randomCosts(_ count: Int, seed: UInt64) -> [Double] {
    var generator = SplitMix64(seed: seed)
    return (0..<count).map { _ in
      let share = Double.random(in: 0...1, using: &generator)
      return 1 + 40 * share * share * share * share
    }
  }

  /// The least makespan of all assignments, by trying them.
  private func leastMakespan(costs: [Double], rankCount: Int, interleave: Int) -> Double {
    let roundCount = (costs.count + rankCount * interleave - 1) / (rankCount * interleave)
    var sums = [Double](repeating: 0, count: roundCount * rankCount)
    var counts = [Int](repeating: 0, count: sums.count)
    var least = Double.infinity
    func place(_ pack: Int) {
      guard pack < costs.count else {
        let makespan = (0..<roundCount).reduce(0.0) { sum, round in
          sum + (sums[round * rankCount..<(round + 1) * rankCount].max() ?? 0)
        }
        least = min(least, makespan)
        return
      }
      for bin in sums.indices where counts[bin] < interleave {
        sums[bin] += costs[pack]
        counts[bin] += 1
        place(pack + 1)
        counts[bin] -= 1
        sums[bin] -= costs[pack]
      }
    }
    place(0)
    return least
  }

  @Test(arguments: [1, 2, 3, 7], [0, 1, 5, 12, 41])
  func everyPackIsComputedOnceAndOnlyTheLastRoundIsShort(rankCount: Int, count: Int) {
    let costs = randomCosts(count, seed: UInt64(rankCount * 101 + count))
    for interleave in 1...3 {
      let assignment = StepAssignment.balanced(
        costs: costs, rankCount: rankCount, interleave: interleave)
      #expect(assignment.rankCount == rankCount)
      #expect(assignment.packs.joined().sorted() == Array(0..<count))
      let roundCount = (count + rankCount * interleave - 1) / (rankCount * interleave)
      #expect(assignment.roundCount == roundCount)
      for rank in 0..<rankCount {
        for round in 0..<max(roundCount - 1, 0) {
          #expect(assignment.packs(rank: rank, round: round).count == interleave)
        }
        #expect(assignment.packs(rank: rank, round: roundCount).isEmpty)
      }
      #expect(
        assignment
          == .balanced(costs: costs, rankCount: rankCount, interleave: interleave))
    }
  }

  @Test(arguments: [UInt64(1), 2, 3, 4, 5, 6, 7])
  func onePackARoundIsTheBestPossible(seed: UInt64) {
    for (rankCount, count) in [(2, 7), (3, 7), (3, 6)] {
      let costs = randomCosts(count, seed: seed)
      let found = StepAssignment.balanced(costs: costs, rankCount: rankCount)
        .prediction(costs: costs).makespan
      let least = leastMakespan(costs: costs, rankCount: rankCount, interleave: 1)
      #expect(abs(found - least) <= 1e-9 * least, "\(found) where \(least) is possible")
    }
  }

  @Test(arguments: [UInt64(1), 2, 3, 4, 5, 6, 7])
  func interleavedRoundsAreNearTheBestPossible(seed: UInt64) {
    for (rankCount, interleave, count) in [(2, 2, 8), (3, 2, 6), (2, 3, 6), (2, 2, 7)] {
      let costs = randomCosts(count, seed: seed)
      let found = StepAssignment.balanced(
        costs: costs, rankCount: rankCount, interleave: interleave
      ).prediction(costs: costs).makespan
      let least = leastMakespan(costs: costs, rankCount: rankCount, interleave: interleave)
      #expect(found <= 1.05 * least, "\(found) where \(least) is possible: \(costs)")
    }
  }

  @Test func isNeverWorseThanTheGivenOrder() {
    for seed in 0..<20 as Range<UInt64> {
      let costs = randomCosts(53, seed: seed)
      for (rankCount, interleave) in [(1, 1), (4, 1), (4, 2), (5, 3), (64, 1), (60, 2)] {
        let balanced = StepAssignment.balanced(
          costs: costs, rankCount: rankCount, interleave: interleave
        ).prediction(costs: costs)
        let inOrder = StepAssignment.inOrder(
          count: costs.count, rankCount: rankCount, interleave: interleave
        ).prediction(costs: costs)
        #expect(balanced.makespan <= inOrder.makespan * (1 + 1e-12))
        #expect(balanced.spread >= 1 - 1e-12)
        #expect(abs(balanced.mean - inOrder.mean) < 1e-9 * inOrder.mean)
      }
    }
  }

  @Test func offKeepsTheOrderInRounds() {
    let assignment = StepAssignment.inOrder(count: 7, rankCount: 3)
    #expect(assignment.packs == [[0, 3, 6], [1, 4], [2, 5]])
    #expect(assignment.roundCount == 3)
    #expect(assignment.packs(rank: 1, round: 2).isEmpty)
    #expect(StepAssignment.inOrder(count: 0, rankCount: 2).packs == [[], []])
  }

  @Test func interleavingPairsDearWithCheap() {
    let costs: [Double] = [8, 1, 7, 2, 6, 3, 5, 4]
    let assignment = StepAssignment.balanced(costs: costs, rankCount: 4, interleave: 2)
    #expect(assignment.prediction(costs: costs).spread == 1)
  }

  @Test func ranksHaveTurnsAtTheDearestPack() {
    let costs: [Double] = [9, 7, 6, 4]
    let assignment = StepAssignment.balanced(costs: costs, rankCount: 2)
    #expect(assignment.packs == [[0, 3], [1, 2]])
  }

  @Test func equalAndZeroCostsAreOrdinary() {
    let assignment = StepAssignment.balanced(costs: [0, 0, 0], rankCount: 2, interleave: 2)
    #expect(assignment.packs.joined().sorted() == [0, 1, 2])
    #expect(assignment.prediction(costs: [0, 0, 0]).spread == 1)
    #expect(StepAssignment.balanced(costs: [], rankCount: 3).packs == [[], [], []])
  }
}

@Suite struct StepGroupingTests {
  @Test func isAPermutationWhoseStepsHaveAlikeCosts() {
    let costs: [Double] = [5, 1, 9, 2, 8, 3, 7, 4, 6, 0, 11]
    var generator = SplitMix64(seed: 3)
    let order = StepGrouping.order(
      costs: costs, packsPerStep: 3, windowStepCount: 5, generator: &generator)
    #expect(order.sorted() == Array(costs.indices))
    let steps = stride(from: 0, to: 9, by: 3).map { Array(order[$0..<$0 + 3]) }
    // Sorted: 11 9 8 | 7 6 5 | 4 3 2 | 1 0, each in the given order.
    #expect(Set(steps) == [[2, 4, 10], [0, 6, 8], [3, 5, 7]])
    #expect(Array(order[9...]) == [1, 9])
    var again = SplitMix64(seed: 3)
    #expect(
      order
        == StepGrouping.order(
          costs: costs, packsPerStep: 3, windowStepCount: 5, generator: &again))
  }

  @Test func packsStayInTheirWindow() {
    var generator = SplitMix64(seed: 5)
    let order = StepGrouping.order(
      costs: (0..<23).map(Double.init), packsPerStep: 2, windowStepCount: 3, generator: &generator)
    for (place, pack) in order.enumerated() { #expect(place / 6 == pack / 6) }
  }
}
