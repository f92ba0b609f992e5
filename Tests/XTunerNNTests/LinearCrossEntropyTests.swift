import Testing
import Torch

@testable import XTunerNN

@Suite struct LinearCrossEntropyTests {
  private let generator = Generator(seed: 11)
  private let positionCount = 13
  private let hiddenSize = 5
  private let vocabularySize = 17

  private func random(_ shape: [Int]) -> Tensor {
    Tensor.randomNormal(shape, generator: generator, dtype: .float32)
  }

  /// Chunks that divide the positions, do not, and are larger than all of them.
  @Test(arguments: [1, 4, 7, 100], [0.0, 0.01])
  func lossAndGradientsEqualAutograd(chunkSize: Int, zLoss: Double) throws {
    let hidden = random([positionCount, hiddenSize]).leaf()
    let head = random([vocabularySize, hiddenSize]).leaf()
    let positions: [Int64] = [0, 1, 2, 4, 5, 7, 11, 12]
    let tokens: [Int64] = [3, 16, 0, 8, 8, 1, 9, 2]
    let weights: [Float] = [0.1, 0.2, 0.05, 0.15, 0.1, 0.1, 0.2, 0.1]
    let targets = LinearCrossEntropy.Targets(
      positionsN: Tensor(positions), tokensN: Tensor(tokens), weightsN: Tensor(weights))
    let headGradient = Tensor.zeros([vocabularySize, hiddenSize], dtype: .float32)
    let result = LinearCrossEntropy(chunkSize: chunkSize, zLoss: zLoss).lossAndGradient(
      hiddenTD: hidden.detached(), headVD: head.detached(), targets: targets,
      headGradient: headGradient)

    let logits = Tensor.linear(
      hidden.selectingRows(dim: 0, index: Tensor(positions)), weight: head)
    let logSumExp = logits.logSumExp(dims: [1], keepDim: false)
    let chosen = logits.gathered(
      dim: 1, index: Tensor(tokens).unsqueezed(dim: 1), sparseGradient: false
    ).squeezed(dim: 1)
    let loss = ((logSumExp - chosen) * Tensor(weights)).sum()
    let zTerm = (logSumExp * logSumExp * Tensor(weights)).sum() * zLoss
    #expect(abs(result.loss.item() - loss.item()) < 1e-5)
    #expect(abs(result.zLoss.item() - zTerm.item()) < 1e-5)
    let expected = gradients(
      of: [loss + zTerm], withRespectTo: [hidden, head], outputGradients: [nil])
    let hiddenDifference = result.hiddenGradient - (try #require(expected[0]))
    #expect(hiddenDifference.absolute().maximumValue().item() < 1e-5)
    let headDifference = headGradient - (try #require(expected[1]))
    #expect(headDifference.absolute().maximumValue().item() < 1e-5)
    #expect(
      abs(
        LinearCrossEntropy(chunkSize: chunkSize).loss(
          hiddenTD: hidden, headVD: head, targets: targets
        ).item() - loss.item()) < 1e-5)
  }

  /// The published models round logits to bfloat16 and take the loss of the rounded ones.
  @Test(arguments: [0.0, 0.01])
  func bfloat16LossIsThatOfRoundedLogits(zLoss: Double) {
    let hidden = random([positionCount, hiddenSize]).to(.bfloat16)
    let head = random([vocabularySize, hiddenSize]).to(.bfloat16)
    let tokens = Tensor((0..<positionCount).map { Int64(($0 * 5 + 3) % vocabularySize) })
    let weights = Tensor((0..<positionCount).map { Float($0 + 1) / 91 })
    let targets = LinearCrossEntropy.Targets(
      positionsN: Tensor((0..<positionCount).map(Int64.init)), tokensN: tokens, weightsN: weights)
    let headGradient = Tensor.zeros([vocabularySize, hiddenSize], dtype: .float32)
    let result = LinearCrossEntropy(chunkSize: 5, zLoss: zLoss).lossAndGradient(
      hiddenTD: hidden, headVD: head, targets: targets, headGradient: headGradient)

    let logits = Tensor.linear(hidden, weight: head).to(.float32).leaf()
    let logSumExp = logits.logSumExp(dims: [1], keepDim: false)
    let chosen = logits.gathered(
      dim: 1, index: tokens.unsqueezed(dim: 1), sparseGradient: false
    ).squeezed(dim: 1)
    let loss = ((logSumExp - chosen) * weights).sum()
    let zTerm = (logSumExp * logSumExp * weights).sum() * zLoss
    #expect(abs(result.loss.item() - loss.item()) < 1e-5)
    #expect(abs(result.zLoss.item() - zTerm.item()) < 1e-5)
    let exact = gradients(of: [loss + zTerm], withRespectTo: [logits], outputGradients: [nil])[0]!
    // Logits' gradients are rounded once, to 8 bits, and each product to a bfloat16 once.
    let hiddenDifference =
      result.hiddenGradient.to(.float32) - exact.matrixProduct(head.to(.float32))
    #expect(hiddenDifference.absolute().maximumValue().item() < 2e-3)
    let headDifference =
      headGradient - exact.transposed().matrixProduct(hidden.to(.float32))
    #expect(headDifference.absolute().maximumValue().item() < 2e-3)
  }

  @Test func positionsWithoutTargetHaveNoGradient() {
    let targets = LinearCrossEntropy.Targets(
      positionsN: Tensor([2] as [Int64]), tokensN: Tensor([1] as [Int64]),
      weightsN: Tensor([1] as [Float]))
    let result = LinearCrossEntropy(chunkSize: 3).lossAndGradient(
      hiddenTD: random([5, hiddenSize]), headVD: random([vocabularySize, hiddenSize]),
      targets: targets, headGradient: Tensor.zeros([vocabularySize, hiddenSize], dtype: .float32))
    let rows = result.hiddenGradient.absolute().sum(dims: [1]).floats()
    #expect(rows[2] > 0)
    #expect(rows.enumerated().allSatisfy { $0.offset == 2 || $0.element == 0 })
  }
}
