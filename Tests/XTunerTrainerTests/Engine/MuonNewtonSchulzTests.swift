import Testing
import Torch

@testable import XTunerTrainer
@testable import XTunerRun
@testable import XTunerConfiguration
@testable import XTunerEngine

@Suite struct MuonNewtonSchulzTests {
  /// The polynomial, five times: it maps 0.0015...1 to 0.68...1.2024.
  private static func lifted(_ value: Double) -> Double {
    (0..<5).reduce(value) { x, _ in
      let square = x * x
      return x * (3.4445 + square * (-4.7750 + square * 2.0315))
    }
  }

  @Test(arguments: [(7, 7), (13, 5), (5, 13), (1, 11), (11, 1), (31, 17)])
  func singularValuesComeNearOneAndVectorsStay(rows: Int, columns: Int) {
    let rank = min(rows, columns)
    let left = PlainMatrix.orthonormal(rows: rows, columns: rank, seed: 3)
    let right = PlainMatrix.orthonormal(rows: columns, columns: rank, seed: 5)
    // From 1 down to 1/100, and all of it tiny as gradients are.
    let values = (0..<rank).map { 1e-4 / (1 + 99 * Double($0) / Double(max(rank - 1, 1))) }
    var scaled = left
    for row in 0..<rows {
      for column in 0..<rank { scaled[row, column] *= values[column] }
    }
    let matrix = (scaled * right.transposed).tensor
    let result = NewtonSchulz().orthogonalized(matrix.unsqueezed(dim: 0), dtype: .float32)
    #expect(result.shape == [1, rows, columns])
    let inner = left.transposed * PlainMatrix(result.selected(dim: 0, index: 0)) * right
    let norm = values.reduce(0) { $0 + $1 * $1 }.squareRoot()
    for row in 0..<rank {
      for column in 0..<rank {
        let expected = row == column ? Self.lifted(values[row] / norm) : 0
        let value = inner[row, column]
        #expect(abs(value - expected) < 1e-4, "[\(row), \(column)]: \(value), \(expected)")
      }
      #expect((0.68...1.2025).contains(inner[row, row]), "value \(row): \(inner[row, row])")
    }
  }

  @Test(arguments: [(7, 11), (11, 7), (5, 5), (1, 3), (3, 1)])
  func stackOfMatricesEqualsPlainLoops(rows: Int, columns: Int) {
    let stack = Tensor.randomNormal(
      [3, rows, columns], generator: Generator(seed: 7), dtype: .float32)
    let results = NewtonSchulz().orthogonalized(stack, dtype: .float32)
    for index in 0..<3 {
      let expected = PlainMatrix(stack.selected(dim: 0, index: index)).orthogonalized.tensor
      let difference = largestDifference(results.selected(dim: 0, index: index), expected)
      #expect(difference < 1e-5, "matrix \(index): off by \(difference)")
    }
  }

  @Test func bfloat16IsCloseToFloat32() {
    let stack = Tensor.randomNormal([2, 31, 17], generator: Generator(seed: 11), dtype: .float32)
    let exact = NewtonSchulz().orthogonalized(stack, dtype: .float32)
    let rounded = NewtonSchulz().orthogonalized(stack, dtype: .bfloat16)
    #expect(rounded.dtype == .bfloat16)
    // A few roundings of 2^-9 in each of five steps, of terms that cancel.
    #expect(relativeDifference(rounded, exact) < 0.02)
  }

  @Test(arguments: [DType.float32, .bfloat16])
  func zerosStayZerosAndNothingBecomesNaN(dtype: DType) {
    let stack = Tensor.randomNormal([4, 5, 3], generator: Generator(seed: 13), dtype: .float32)
    for (index, factor) in [0, 1e-38, 1e-9, 1e15].enumerated() {
      stack.selected(dim: 0, index: index).scale(by: .real(factor))
    }
    let result = NewtonSchulz().orthogonalized(stack, dtype: dtype)
    #expect(result.isFiniteMask().allTrue().item() == 1)
    #expect(result.selected(dim: 0, index: 0).absolute().maximumValue().item() == 0)
  }

  @Test func noStepsOnlyDivideByTheNorm() {
    let matrix = Tensor([3, 0, 0, 4] as [Float], shape: [1, 2, 2])
    let result = NewtonSchulz(stepCount: 0).orthogonalized(matrix, dtype: .float32)
    let expected = Tensor([0.6, 0, 0, 0.8] as [Float], shape: [1, 2, 2])
    #expect(largestDifference(result, expected) < 1e-7)
  }
}
