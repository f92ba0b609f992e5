import Testing
import Torch

/// The router's operators against their references.
@Suite struct RouterOperatorTests {
  // Nothing, one, primes, more rows than one block of the counting sort.
  static let tokenCounts = [0, 1, 13, 20_011]
  static let expertCounts = [1, 2, 16, 17, 131]

  /// Scores with many ties, all equal ones and none.
  private func scores(_ tokens: Int, _ experts: Int) -> [Tensor] {
    let normal = randomTensor(
      [tokens, experts], generator: Generator(seed: UInt64(tokens + experts)))
    return [normal, (normal * 3).to(.int64).to(.float32), Tensor.zeros([tokens, experts])]
  }

  @Test(arguments: tokenCounts, expertCounts)
  func choiceAndOrdersEqualReference(tokens: Int, experts: Int) {
    for scoresTE in scores(tokens, experts) {
      for count in [1, 2, 8] where count <= experts {
        let chosen = scoresTE.routedTopK(count)
        #expect(bytes(chosen) == bytes(scoresTE.routedTopK(count, implementation: .reference)))
        let order = ExpertOrder(expertsTK: chosen, expertCount: experts)
        let reference = ExpertOrder(
          expertsTK: chosen, expertCount: experts, implementation: .reference)
        #expect(bytes(order.tokenOfRow) == bytes(reference.tokenOfRow))
        #expect(bytes(order.rowOfSlotTK) == bytes(reference.rowOfSlotTK))
        #expect(bytes(order.countsE) == bytes(reference.countsE))
        #expect(bytes(order.offsetsE) == bytes(reference.offsetsE))
      }
    }
  }

  @Test func firstOfEqualScoresIsChosen() {
    let scores = Tensor([1, 3, 3, 0, 3, 1, -.infinity, -.infinity] as [Float], shape: [2, 4])
    #expect(scores.routedTopK(3).integers() == [1, 2, 0, 0, 1, 2])
  }

  @Test func oneExpertWithEverythingKeepsOrderOfTokens() {
    let order = ExpertOrder(
      expertsTK: Tensor.full([7, 1], value: 3, dtype: .int64), expertCount: 5)
    #expect(order.tokenOfRow.integers() == [0, 1, 2, 3, 4, 5, 6])
    #expect(order.rowOfSlotTK.integers() == [0, 1, 2, 3, 4, 5, 6])
    #expect(order.countsE.integers() == [0, 0, 0, 7, 0])
    #expect(order.offsetsE.integers() == [0, 0, 0, 7, 7])
  }

  @Test func expertThatDoesNotExistStops() async {
    let result = await #expect(
      processExitsWith: .exitCode(6), observing: [\.standardErrorContent]
    ) {
      _ = ExpertOrder(
        expertsTK: Tensor([0, 1, 9, 3] as [Int64], shape: [2, 2]), expertCount: 9)
    }
    #expect(FailureTests.message(result).contains("expert 9 of token 1 is outside 0..<9"))
  }

  @Test(arguments: [DType.float32, .float64], expertCounts)
  func scoresEqualReference(dtype: DType, experts: Int) {
    for tokens in [0, 1, 509] {
      let logits = randomTensor(
        [tokens, experts], dtype: dtype, deviation: 3, generator: Generator(seed: UInt64(tokens)))
      // Both results are differentiated, then one of them.
      expectKernelEqualsReference([logits], tolerance: .of(dtype)) {
        let (scores, logSumExp) = $0[0].routerScores(implementation: $1)
        return scores + (logSumExp * logSumExp).unsqueezed(dim: 1)
      }
      expectKernelEqualsReference([logits], tolerance: .of(dtype)) {
        $0[0].routerScores(implementation: $1).scoresTE
      }
      expectKernelEqualsReference([logits], tolerance: .of(dtype)) {
        $0[0].routerScores(implementation: $1).logSumExpT
      }
    }
  }
}
