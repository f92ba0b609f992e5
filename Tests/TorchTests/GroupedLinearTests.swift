import Testing
import Torch

/// `groupedLinear` against its reference.
@Suite struct GroupedLinearTests {
  struct Case: CustomTestStringConvertible, Sendable {
    var testDescription: String
    var rows: [Int]
  }

  static let cases = [
    Case(testDescription: "no rows", rows: [0, 0, 0]),
    Case(testDescription: "one row", rows: [0, 1, 0]),
    Case(testDescription: "one expert with everything", rows: [0, 0, 53, 0]),
    Case(testDescription: "a single expert", rows: [29]),
    Case(testDescription: "primes with empty ones", rows: [7, 0, 13, 2, 0, 31, 1]),
    Case(testDescription: "many small experts", rows: (0..<61).map { $0 % 5 }),
    Case(testDescription: "one large among small", rows: [3, 2, 401, 1, 0, 5, 2, 2, 3]),
  ]

  static func offsets(_ rows: [Int]) -> Tensor {
    var ends: [Int64] = []
    for count in rows { ends.append((ends.last ?? 0) + Int64(count)) }
    return Tensor(ends)
  }

  @Test(arguments: floatingTypes, cases)
  func equalsReference(dtype: DType, rows: Case) {
    for (inputs, outputs) in [(16, 32), (37, 19), (1, 3)] {
      let generator = Generator(seed: 3)
      let x = randomTensor([rows.rows.reduce(0, +), inputs], dtype: dtype, generator: generator)
      let weight = randomTensor(
        [rows.rows.count, outputs, inputs], dtype: dtype, deviation: 0.2, generator: generator)
      let offsets = Self.offsets(rows.rows)
      expectKernelEqualsReference([x, weight], tolerance: .of(dtype)) {
        $0[0].groupedLinear(weight: $0[1], offsets: offsets, implementation: $1)
      }
    }
  }

  @Test(arguments: floatingTypes)
  func expertWithoutRowsHasZeroGradient(dtype: DType) {
    let generator = Generator(seed: 5)
    let rows = [0, 3, 0, 17, 0]
    let x = randomTensor([20, 11], dtype: dtype, generator: generator)
    let weight = randomTensor([5, 7, 11], dtype: dtype, generator: generator)
    let gradient = Outcome([x, weight]) {
      $0[0].groupedLinear(weight: $0[1], offsets: Self.offsets(rows))
    }.inputGradients[1]
    for (expert, count) in rows.enumerated() {
      let values = gradient.selected(dim: 0, index: expert).floats()
      if count == 0 {
        #expect(values.allSatisfy { $0 == 0 }, "expert \(expert)")
      } else {
        #expect(values.allSatisfy { $0 != 0 }, "expert \(expert)")
      }
    }
  }

  @Test func takesTransposedWeightAndGradient() {
    let generator = Generator(seed: 6)
    let x = randomTensor([9, 5], generator: generator)
    let weight = randomTensor([2, 5, 7], generator: generator)
    func run(_ implementation: Implementation) -> Outcome {
      Outcome([x, weight], layout: { $0.transposed(0, 1).contiguous().transposed(0, 1) }) {
        $0[0].groupedLinear(
          weight: $0[1].transposed(1, 2), offsets: Tensor([4, 9] as [Int64]),
          implementation: implementation)
      }
    }
    let (kernel, reference) = (run(.kernel), run(.reference))
    expectClose(kernel.value, reference.value, absolute: 2e-5, relative: 2e-5)
    for (a, b) in zip(kernel.inputGradients, reference.inputGradients) {
      expectClose(a, b, absolute: 2e-5, relative: 2e-5)
    }
  }

  @Test func twoRunsAreEqualToTheLastBit() {
    let generator = Generator(seed: 7)
    let rows = (0..<31).map { ($0 * 7) % 11 }
    let x = randomTensor([rows.reduce(0, +), 64], dtype: .bfloat16, generator: generator)
    let weight = randomTensor([31, 48, 64], dtype: .bfloat16, generator: generator)
    let run = {
      Outcome([x, weight]) { $0[0].groupedLinear(weight: $0[1], offsets: Self.offsets(rows)) }
    }
    expectSameBits(run(), run())
  }
}
