import Foundation
import Testing
import Torch
import XTunerNN

@testable import XTunerMoE

private func makeRouter(
  _ scoring: Router.Options.Scoring, logitsTE: [[Float]], expertsPerToken: Int,
  normalizes: Bool = true, scaling: Double = 1, groups: Int = 1, kept: Int = 1,
  selectionBias: [Float]? = nil
) -> (Router, Tensor) {
  // With the identity as weight the hidden states are the logits.
  let experts = logitsTE[0].count
  let router = Router(
    "router", hiddenSize: experts,
    options: .init(
      scoring: scoring, expertCount: experts, expertsPerToken: expertsPerToken,
      normalizesWeights: normalizes, scalingFactor: scaling, groupCount: groups,
      keptGroupCount: kept, hasSelectionBias: selectionBias != nil),
    standardDeviation: 0.02)
  let identity = (0..<experts).flatMap { row in
    (0..<experts).map { $0 == row ? Float(1) : 0 }
  }
  router.weight.value = Tensor(identity, shape: [experts, experts]).leaf()
  if let selectionBias { router.selectionBias?.value = Tensor(selectionBias) }
  return (router, Tensor(logitsTE.flatMap { $0 }, shape: [logitsTE.count, experts]))
}

@Suite struct RouterTests {
  private let logits: [[Float]] = [[0, 3, 1, -1, 2], [5, 0, 0.5, 4, -2], [-1, -2, -3, -4, -5]]

  @Test func picksTheLargestAndNormalisesTheirWeights() {
    let (router, hidden) = makeRouter(.softmax, logitsTE: logits, expertsPerToken: 2)
    let output = router(hidden, stored: nil)
    #expect(output.routing.expertsTK.integers() == [1, 4, 0, 3, 0, 1])
    let weights = output.weightsTK.floats()
    #expect(abs(weights[0] - 0.7310586) < 1e-6)
    #expect(abs(weights[0] + weights[1] - 1) < 1e-6)
  }

  @Test func softmaxAfterTopKEqualsNormalisedSoftmax() {
    let (first, hidden) = makeRouter(.softmax, logitsTE: logits, expertsPerToken: 3)
    let (second, _) = makeRouter(
      .softmaxAfterTopK, logitsTE: logits, expertsPerToken: 3, normalizes: false)
    let difference = first(hidden, stored: nil).weightsTK - second(hidden, stored: nil).weightsTK
    #expect(difference.absolute().maximumValue().item() < 1e-6)
  }

  @Test func selectionBiasChangesTheChoiceAndNotTheWeights() {
    let (router, hidden) = makeRouter(
      .sigmoid, logitsTE: logits, expertsPerToken: 1, normalizes: false, scaling: 2.5,
      selectionBias: [0, -10, 0, 0, 0])
    let output = router(hidden, stored: nil)
    #expect(output.routing.expertsTK.integers() == [4, 0, 0])
    #expect(abs(output.weightsTK.floats()[0] - 2.5 * 0.8807971) < 1e-5)
  }

  /// Four groups of three with the scores of a token in each: a group counts by the sum of its two best.
  private static let groupScores: [[Float]] = [
    // The largest sum of three, 1.65, but only 1.1 of two.
    [0.55, 0.55, 0.55],
    // The largest sum of two, 1.5; its third is the smallest score of all.
    [0.01, 0.8, 0.7],
    // The largest score, and nothing beside it: 0.99.
    [0.95, 0.02, 0.04],
    // The second largest sum of two, 1.2.
    [0.6, 0.03, 0.6],
  ]

  private static func groupedRouter(
    experts: Int, kept: Int, selectionBias: [Float]? = nil
  ) -> (Router, Tensor) {
    let logits = groupScores.flatMap { $0 }.map { log($0 / (1 - $0)) }
    return makeRouter(
      .sigmoid, logitsTE: [logits], expertsPerToken: experts, normalizes: false, groups: 4,
      kept: kept, selectionBias: selectionBias)
  }

  /// Experts, groups they may be of, and the choice, best first.
  @Test(arguments: [
    // Also a poor expert of the best group comes before better ones of other groups.
    (3, 1, [4, 5, 3]), (2, 1, [4, 5]),
    // Of equal scores the first is chosen.
    (4, 2, [4, 5, 9, 11]), (5, 2, [4, 5, 9, 11, 10]),
    (6, 3, [4, 5, 9, 11, 0, 1]),
    // All groups: the best score of all leads.
    (3, 4, [6, 4, 5]),
  ])
  func onlyExpertsOfTheBestGroupsAreChosen(experts: Int, kept: Int, expected: [Int64]) {
    let (router, hidden) = Self.groupedRouter(experts: experts, kept: kept)
    #expect(router(hidden, stored: nil).routing.expertsTK.integers() == expected)
  }

  /// Groups are chosen by the scores with the bias, as experts are; weights are without it.
  @Test func selectionBiasMovesGroups() {
    var bias = [Float](repeating: 0, count: 12)
    bias[7] = 0.9  // 0.95 + 0.92 is the largest sum now.
    let (router, hidden) = Self.groupedRouter(experts: 2, kept: 1, selectionBias: bias)
    let output = router(hidden, stored: nil)
    #expect(output.routing.expertsTK.integers() == [6, 7])
    let weights = output.weightsTK.floats()
    #expect(abs(weights[0] - 0.95) < 1e-6 && abs(weights[1] - 0.02) < 1e-6)
  }

  @Test func ordersAreInverseAndOffsetsEndExperts() {
    let (router, hidden) = makeRouter(.softmax, logitsTE: logits, expertsPerToken: 2)
    let routing = router(hidden, stored: nil).routing
    #expect(routing.countsE.integers() == [2, 2, 0, 1, 1])
    #expect(routing.offsetsE.integers() == [2, 4, 4, 5, 6])
    let tokens = routing.tokenOfRow.integers()
    for (slot, row) in routing.rowOfSlotTK.integers().enumerated() {
      #expect(tokens[Int(row)] == Int64(slot / 2))
    }
  }

  @Test func storedChoiceIsNotMadeAgain() {
    let (router, hidden) = makeRouter(.softmax, logitsTE: logits, expertsPerToken: 2)
    let first = router(hidden, stored: nil)
    let (_, changed) = makeRouter(
      .softmax, logitsTE: logits.map { $0.map { -$0 } }, expertsPerToken: 2)
    let again = router(changed, stored: first.routing)
    #expect(again.routing.expertsTK.integers() == first.routing.expertsTK.integers())
    #expect(again.weightsTK.floats() != first.weightsTK.floats())
  }

  @Test func balancedRoutingCostsTheWeightOfTheBalanceLoss() {
    let balanced: [[Float]] = [[9, 0, 0], [0, 9, 0], [0, 0, 9]]
    let (router, hidden) = makeRouter(.softmax, logitsTE: balanced, expertsPerToken: 1)
    let output = router(hidden, stored: nil)
    let factors = RouterLoss.balanceFactors(
      countsE: output.routing.countsE, expertsPerToken: 1, weight: 0.01, tokenCount: 3,
      stepTokenCount: 3)
    #expect(abs((output.scoreSumsE * factors).sum().item() - 0.01) < 1e-6)
    let zLoss =
      output.squaredLogSumExp.item() * RouterLoss.zFactor(weight: 0.001, stepTokenCount: 3)
    #expect(abs(zLoss - 0.001 * 81) < 1e-3)
  }

  /// The router of a micro-batch without tokens: everything is there, empty or zero, and finite.
  @Test(arguments: [Router.Options.Scoring.softmax, .sigmoid, .softmaxAfterTopK])
  func noTokensGiveNoLossNoRowsAndNoGradient(scoring: Router.Options.Scoring) {
    let (router, _) = makeRouter(scoring, logitsTE: logits, expertsPerToken: 2)
    let output = router(Tensor.zeros([0, 5], dtype: .float32), stored: nil)
    let routing = output.routing
    #expect(routing.countsE.integers() == [0, 0, 0, 0, 0])
    #expect(routing.offsetsE.integers() == [0, 0, 0, 0, 0])
    #expect(routing.tokenOfRow.shape == [0] && routing.rowOfSlotTK.shape == [0, 2])
    #expect(output.weightsTK.shape == [0, 2] && output.scoresTE.shape == [0, 5])
    #expect(output.scoreSumsE.floats() == [0, 0, 0, 0, 0])
    #expect(output.squaredLogSumExp.item() == 0)
    // Of a round that no rank has tokens for, in a step that has some.
    let none = RouterLoss.balanceFactors(
      countsE: routing.countsE, expertsPerToken: 2, weight: 1, tokenCount: 0, stepTokenCount: 7)
    #expect(none.floats() == [0, 0, 0, 0, 0])
    // Of a round that other ranks have tokens for: their rows give factors, and these no gradient.
    let others = RouterLoss.balanceFactors(
      countsE: Tensor([3, 0, 1, 4, 2] as [Int64]), expertsPerToken: 2, weight: 1, tokenCount: 5,
      stepTokenCount: 7)
    let found = gradients(
      of: [output.scoreSumsE, output.squaredLogSumExp], withRespectTo: [router.weight.value],
      outputGradients: [others, Tensor.ones([])])
    #expect(found[0]?.floats() == [Float](repeating: 0, count: 25))
  }

  /// Against the definition: the sum over experts of their share of rows and their mean score, times the
  /// number of experts and the weight.
  @Test func balanceLossIsThatOfItsDefinition() {
    let (router, hidden) = makeRouter(.softmax, logitsTE: logits, expertsPerToken: 2)
    let output = router(hidden, stored: nil)
    var expected = 0.0
    let scores = output.scoresTE.floats().map(Double.init)
    // Tokens 0, 1, 2 choose 1 and 4, 0 and 3, 0 and 1.
    for (expert, rows) in [2.0, 2, 0, 1, 1].enumerated() {
      let mean = (scores[expert] + scores[5 + expert] + scores[10 + expert]) / 3
      expected += rows / (2 * 3) * mean * 5 * 0.02
    }
    let factors = RouterLoss.balanceFactors(
      countsE: output.routing.countsE, expertsPerToken: 2, weight: 0.02, tokenCount: 3,
      stepTokenCount: 3)
    #expect(abs((output.scoreSumsE * factors).sum().item() - expected) < 1e-8)
    // A round of a step with 7 tokens counts for its tokens' share.
    let round = RouterLoss.balanceFactors(
      countsE: output.routing.countsE, expertsPerToken: 2, weight: 0.02, tokenCount: 3,
      stepTokenCount: 7)
    #expect(abs((output.scoreSumsE * round).sum().item() - expected * 3 / 7) < 1e-8)
  }
}
