import Testing

@testable import XTunerData

@Suite struct CostBalancerTests {
  @Test(arguments: [1, 2, 3, 8], [0, 1, 5, 8, 24, 97])
  func everyItemIsInOneBinAndCountsDifferByAtMostOne(bins: Int, count: Int) {
    var generator = SplitMix64(seed: UInt64(bins * 101 + count))
    let costs = (0..<count).map { _ in Double.random(in: 0...10, using: &generator) }
    let groups = CostBalancer.balance(costs: costs, bins: bins)
    #expect(groups.count == bins)
    #expect(groups.flatMap { $0 }.sorted() == Array(0..<count))
    let counts = groups.map(\.count)
    #expect(counts.max()! - counts.min()! <= 1)
    #expect(groups.allSatisfy { $0 == $0.sorted() })
    #expect(groups == CostBalancer.balance(costs: costs, bins: bins))
  }

  @Test func findsThePerfectSplitWhereLargestFirstDoesNot() {
    // Largest first gives [8, 6, 4 | 7, 5, 3] or worse; swaps must reach the even split.
    let costs: [Double] = [8, 7, 6, 5, 4, 2]
    let groups = CostBalancer.balance(costs: costs, bins: 2)
    let sums = groups.map { $0.reduce(0) { $0 + costs[$1] } }
    #expect(sums.sorted() == [16, 16])
  }

  @Test func isCloseToEvenOnSkewedCosts() {
    var generator = SplitMix64(seed: 19)
    let costs = (0..<256).map { _ -> Double in
      let length = Double(Int.random(in: 64...4096, using: &generator))
      return length + length * length / 4096
    }
    let groups = CostBalancer.balance(costs: costs, bins: 8)
    let imbalance = CostBalancer.imbalance(costs: costs, groups: groups)
    #expect(imbalance < 1.001, "\(imbalance)")
  }

  @Test func equalAndZeroCostsAreOrdinary() {
    #expect(CostBalancer.balance(costs: [0, 0, 0, 0], bins: 2).map(\.count) == [2, 2])
    #expect(CostBalancer.imbalance(costs: [0, 0], groups: [[0], [1]]) == 1)
  }

  @Test func costGrowsWithTheSquareOfEachSample() {
    let model = PackCostModel(linear: 2, quadratic: 3)
    #expect(model.cost(sampleLengths: [5, 7]) == 2 * 12 + 3 * (25 + 49))
  }
}
