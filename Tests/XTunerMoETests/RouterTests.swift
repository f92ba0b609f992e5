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
      keptGroupCount: kept),
    hasSelectionBias: selectionBias != nil, standardDeviation: 0.02)
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

  @Test func onlyExpertsOfTheBestGroupsAreChosen() {
    // Groups of two; the sums of their two best scores are 1.0+1.0, 0.9+0.9 and one huge, one tiny.
    let (router, hidden) = makeRouter(
      .sigmoid, logitsTE: [[1, 1, 0.9, 0.9, 3, -9]], expertsPerToken: 2, groups: 3, kept: 1)
    #expect(Set(router(hidden, stored: nil).routing.expertsTK.integers()) == [0, 1])
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

  @Test func noTokensGiveNoLossAndNoRows() {
    let (router, _) = makeRouter(.softmax, logitsTE: logits, expertsPerToken: 2)
    let output = router(Tensor.zeros([0, 5], dtype: .float32), stored: nil)
    #expect(output.routing.countsE.integers() == [0, 0, 0, 0, 0])
    let factors = RouterLoss.balanceFactors(
      countsE: output.routing.countsE, expertsPerToken: 2, weight: 1, tokenCount: 0,
      stepTokenCount: 7)
    #expect((output.scoreSumsE * factors).sum().item() == 0)
  }
}
