import Testing
import Torch

/// A random assignment of `tokens` x `slots` rows: the two index tensors of a permutation.
struct Assignment {
  let tokenOfRow, rowOfSlot: Tensor

  init(tokens: Int, slots: Int, seed: UInt64) {
    let order = Tensor.randomPermutation(
      tokens * slots, generator: Generator(seed: seed), dtype: .int64)
    rowOfSlot = order.reshaped([tokens, slots])
    var tokenOfRow = [Int64](repeating: 0, count: tokens * slots)
    for (slot, row) in order.integers().enumerated() { tokenOfRow[Int(row)] = Int64(slot / slots) }
    self.tokenOfRow = Tensor(tokenOfRow)
  }
}

/// `permutedRows` and `unpermutedRows` against their references.
@Suite struct PermuteOperatorTests {
  static let shapes = [(0, 3, 5), (1, 1, 1), (1, 8, 16), (13, 2, 17), (29, 7, 131), (61, 1, 33)]

  @Test(arguments: floatingTypes, shapes)
  func permutationEqualsReference(dtype: DType, shape: (tokens: Int, slots: Int, width: Int)) {
    let assignment = Assignment(tokens: shape.tokens, slots: shape.slots, seed: 3)
    let x = randomTensor(
      [shape.tokens, shape.width], dtype: dtype, generator: Generator(seed: 4))
    expectKernelEqualsReference([x], tolerance: .of(dtype)) {
      $0[0].permutedRows(
        tokenOfRow: assignment.tokenOfRow, rowOfSlot: assignment.rowOfSlot, implementation: $1)
    }
  }

  @Test(arguments: floatingTypes, shapes)
  func unpermutationEqualsReference(dtype: DType, shape: (tokens: Int, slots: Int, width: Int)) {
    let assignment = Assignment(tokens: shape.tokens, slots: shape.slots, seed: 5)
    let generator = Generator(seed: 6)
    let rows = randomTensor(
      [shape.tokens * shape.slots, shape.width], dtype: dtype, generator: generator)
    let weights = randomTensor([shape.tokens, shape.slots], generator: generator).softmax(dim: -1)
    expectKernelEqualsReference([rows, weights], tolerance: .of(dtype)) {
      $0[0].unpermutedRows(
        weights: $0[1], rowOfSlot: assignment.rowOfSlot, implementation: $1)
    }
  }

  @Test func unpermutationUndoesPermutationWithWeightsThatSumToOne() {
    let assignment = Assignment(tokens: 17, slots: 4, seed: 7)
    let x = randomTensor([17, 23], generator: Generator(seed: 8))
    let weights = Tensor.full([17, 4], value: 0.25)
    let rows = x.permutedRows(
      tokenOfRow: assignment.tokenOfRow, rowOfSlot: assignment.rowOfSlot)
    let y = rows.unpermutedRows(weights: weights, rowOfSlot: assignment.rowOfSlot)
    #expect(y.floats() == x.floats())
  }

  @Test func rowsWithoutSlotHaveZeroGradient() {
    let rows = randomTensor([5, 3], generator: Generator(seed: 9))
    let rowOfSlot = Tensor([4, 0, 2] as [Int64], shape: [3, 1])
    let outcome = Outcome([rows]) {
      $0[0].unpermutedRows(weights: Tensor.ones([3, 1]), rowOfSlot: rowOfSlot)
    }
    let gradient = outcome.inputGradients[0].floats()
    #expect(gradient[3..<6].allSatisfy { $0 == 0 })
    #expect(gradient[9..<12].allSatisfy { $0 == 0 })
    #expect(gradient[0..<3].allSatisfy { $0 != 0 })
  }

  @Test func twoRunsAreEqualToTheLastBit() {
    let assignment = Assignment(tokens: 307, slots: 5, seed: 10)
    let x = randomTensor([307, 211], dtype: .bfloat16, generator: Generator(seed: 11))
    let weights = randomTensor([307, 5], generator: Generator(seed: 12))
    let run = {
      Outcome([x, weights]) {
        $0[0].permutedRows(tokenOfRow: assignment.tokenOfRow, rowOfSlot: assignment.rowOfSlot)
          .unpermutedRows(weights: $0[1], rowOfSlot: assignment.rowOfSlot)
      }
    }
    expectSameBits(run(), run())
  }
}
