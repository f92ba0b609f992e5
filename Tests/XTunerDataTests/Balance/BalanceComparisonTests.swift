import BalanceTrials
import Testing
import XTunerData

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
}
