import Testing

@testable import XTunerData

@Suite struct StepCostTests {
  /// Pairs counted one by one.
  private func countedPairs(length: Int, window: Int?) -> Int {
    var count = 0
    for query in 0..<length {
      for key in 0...query where window.map({ query - key < $0 }) ?? true { count += 1 }
    }
    return count
  }

  @Test(arguments: [nil, 1, 2, 7, 13, 64] as [Int?], [0, 1, 2, 6, 7, 8, 29])
  func pairsAreThoseThatTheMaskLetsThrough(window: Int?, length: Int) {
    let pairs = AttentionCost(perPair: 1, window: window).visiblePairs(length: length)
    #expect(pairs == Double(countedPairs(length: length, window: window)))
  }

  @Test func aSequenceIsCheaperInPieces() {
    let cost = StepCost(
      linearPerToken: 3, headPerToken: 5, attention: [AttentionCost(perPair: 2)])
    #expect(cost.cost(sequenceLengths: [11], lossTokens: 7) == 33 + 35 + 2 * 66)
    #expect(cost.cost(sequenceLengths: [5, 6], lossTokens: 7) == 33 + 35 + 2 * (15 + 21))
    #expect(cost.cost(bounds: [0, 5, 11], lossTokens: 7) == 33 + 35 + 2 * (15 + 21))
  }

  @Test func layersOfDifferentWindowsAddUp() {
    let cost = StepCost(
      linearPerToken: 0, headPerToken: 0,
      attention: [AttentionCost(perPair: 2), AttentionCost(perPair: 3, window: 2)])
    #expect(cost.cost(sequenceLengths: [5], lossTokens: 0) == 2 * 15 + 3 * 9)
  }

  @Test func nothingCostsNothing() {
    let cost = StepCost(
      linearPerToken: 3, headPerToken: 5, attention: [AttentionCost(perPair: 2)])
    #expect(cost.cost(sequenceLengths: [], lossTokens: 0) == 0)
    #expect(cost.cost(bounds: [0], lossTokens: 0) == 0)
    #expect(cost.cost(bounds: [], lossTokens: 0) == 0)
  }

  @Test func longSequencesAreExact() {
    let pairs = AttentionCost(perPair: 1, window: 4096).visiblePairs(length: 1_048_576)
    #expect(pairs == 4096 * 4097 / 2 + 1_044_480 * 4096)
  }
}
