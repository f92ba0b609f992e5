import Foundation
import Testing
import Torch

/// `crossEntropy` and `takeCrossEntropyGradient` against their references.
@Suite struct CrossEntropyTests {
  // Sizes: one column, around the vector width, a whole block of vectors and a bit, primes.
  static let widths = [1, 2, 15, 16, 17, 127, 128, 131, 1009]

  private struct Rows {
    let logits, targets, weights: Tensor

    init(count: Int, width: Int, dtype: DType, seed: UInt64) {
      let generator = Generator(seed: seed)
      logits = randomTensor([count, width], dtype: dtype, deviation: 4, generator: generator)
      targets = Tensor((0..<count).map { Int64(($0 * 7 + 5) % width) })
      weights = randomTensor([count], generator: generator).absolute()
    }
  }

  @Test(arguments: floatingTypes, widths)
  func lossAndGradientEqualReference(dtype: DType, width: Int) {
    for (count, zLoss) in [(0, 0.0), (1, 0.01), (13, 0), (13, 0.01)] {
      let rows = Rows(count: count, width: width, dtype: dtype, seed: UInt64(width + count))
      func run(_ implementation: Implementation) -> [Tensor] {
        let logits = rows.logits.cloned()
        let (losses, sums) = logits.takeCrossEntropyGradient(
          targets: rows.targets, weights: rows.weights, zLoss: zLoss,
          implementation: implementation)
        return [losses, sums, logits]
      }
      let exact: Tolerance =
        dtype == .float64
        ? Tolerance(absolute: 1e-12, relative: 1e-12) : Tolerance(absolute: 4e-6, relative: 1e-6)
      let rounded = dtype == .float64 || dtype == .float32 ? exact : .of(dtype)
      for ((mine, theirs), tolerance) in zip(
        zip(run(.kernel), run(.reference)), [exact, exact, rounded])
      {
        #expect(mine.dtype == theirs.dtype)
        expectClose(mine, theirs, absolute: tolerance.absolute, relative: tolerance.relative)
      }
    }
  }

  @Test(arguments: floatingTypes)
  func lossesWithoutGradientLeaveLogitsAsTheyAre(dtype: DType) {
    let rows = Rows(count: 11, width: 257, dtype: dtype, seed: 3)
    let before = bytes(rows.logits)
    let plain = rows.logits.crossEntropy(targets: rows.targets)
    #expect(bytes(rows.logits) == before)
    let other = rows.logits.takeCrossEntropyGradient(
      targets: rows.targets, weights: rows.weights)
    #expect(bytes(plain.lossesC) == bytes(other.lossesC))
    #expect(bytes(plain.logSumExpC) == bytes(other.logSumExpC))
  }

  @Test func extremeLogitsAreThoseOfLogSoftmax() {
    for width in [5, 131] {
      var values = [[Float]](repeating: (0..<width).map { Float($0 % 7) }, count: 6)
      values[0] = [Float](repeating: -.infinity, count: width)
      values[1][3] = .infinity
      values[2][4] = .nan
      values[3][2] = -.infinity
      values[4] = [Float](repeating: 1e4, count: width)
      values[5][0] = -1e30
      let logits = Tensor(values.flatMap { $0 }, shape: [6, width])
      let targets = Tensor([Int64](repeating: 2, count: 6))
      let losses = logits.crossEntropy(targets: targets).lossesC.floats()
      let gradient = logits.cloned()
      _ = gradient.takeCrossEntropyGradient(targets: targets, weights: Tensor.ones([6]))
      let gradients = gradient.floats()
      for row in 0..<3 {
        #expect(losses[row].isNaN)
        #expect(gradients[row * width..<(row + 1) * width].allSatisfy { $0.isNaN })
      }
      #expect(losses[3] == .infinity)
      #expect(gradients[3 * width + 2] == -1)
      #expect(abs(losses[4] - log(Float(width))) < 1e-5)
      #expect(losses[5].isFinite && gradients[5 * width] == 0)
    }
  }

  @Test func resultDoesNotDependOnOtherRows() {
    let rows = Rows(count: 37, width: 211, dtype: .bfloat16, seed: 5)
    let all = rows.logits.cloned()
    let losses = all.takeCrossEntropyGradient(targets: rows.targets, weights: rows.weights).lossesC
    func part(_ x: Tensor) -> Tensor { x.narrowed(dim: 0, start: 17, length: 1) }
    let one = part(rows.logits).cloned()
    let loss = one.takeCrossEntropyGradient(
      targets: part(rows.targets), weights: part(rows.weights)
    ).lossesC
    #expect(bytes(part(losses)) == bytes(loss))
    #expect(bytes(part(all)) == bytes(one))
  }

  @Test func targetOutsideVocabularyStops() async {
    let result = await #expect(
      processExitsWith: .exitCode(6), observing: [\.standardErrorContent]
    ) {
      _ = Tensor.zeros([3, 5]).crossEntropy(targets: Tensor([4, 5, 0] as [Int64]))
    }
    #expect(FailureTests.message(result).contains("target 5 at 1 is outside 0..<5"))
  }
}
