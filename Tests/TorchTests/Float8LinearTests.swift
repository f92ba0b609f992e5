import Testing
import Torch

/// Linear layers of quantised operands against the same products of what the operands are read as.
@Suite struct Float8LinearTests {
  static let sizes = [
    (1, 3, 2), (17, 48, 33), (129, 16, 131), (131, 257, 128), (263, 96, 300), (0, 5, 7), (5, 16, 0),
  ]

  private func random(_ shape: [Int], _ seed: UInt64, deviation: Double = 1) -> Tensor {
    randomTensor(shape, dtype: .bfloat16, deviation: deviation, generator: Generator(seed: seed))
  }

  @Test(arguments: sizes)
  func productsEqualReference(size: (rows: Int, outputs: Int, inputs: Int)) {
    let x = random([size.rows, size.inputs], 1).quantizedInRows()
    let weight = random([size.outputs, size.inputs], 2).quantizedInBlocks()
    let bias = random([size.outputs], 3)
    for bias in [nil, bias] {
      expectClose(
        x.product(weight, bias: bias), x.product(weight, bias: bias, implementation: .reference),
        absolute: 1e-3, relative: 1e-2)
    }
    let gradient = random([size.rows, size.outputs], 4)
    expectClose(
      gradient.quantizedInRows().product(weight.transposed()),
      gradient.quantizedInRows().product(weight.transposed(), implementation: .reference),
      absolute: 1e-3, relative: 1e-2)
  }

  /// What the layer computes, out of references: exact up to the order of float32 sums and one rounding.
  @Test(arguments: sizes)
  func valueAndGradientsAreProductsOfQuantizedOperands(
    size: (rows: Int, outputs: Int, inputs: Int)
  ) {
    let x = random([size.rows, size.inputs], 1)
    let weight = random([size.outputs, size.inputs], 2, deviation: 0.1)
    let bias = random([size.outputs], 3)
    let outcome = Outcome([x, weight, bias]) {
      Tensor.float8Linear($0[0], weight: $0[1], bias: $0[2])
    }
    let seed = random([size.rows, size.outputs], 97)
    func read(_ quantized: Float8Tensor) -> Tensor {
      quantized.dequantized(implementation: .reference)
    }
    let readX = read(x.quantizedInRows(implementation: .reference))
    let readWeight = read(weight.quantizedInBlocks(implementation: .reference))
    expectClose(
      outcome.value, readX.matmul(readWeight.transposed()) + bias.to(.float32), absolute: 1e-3,
      relative: 1e-2, "value")
    let readSeed = read(seed.quantizedInRows(implementation: .reference))
    expectClose(
      outcome.inputGradients[0], readSeed.matmul(readWeight), absolute: 1e-3, relative: 1e-2, "x")
    let columns = read(seed.quantizedInColumns(implementation: .reference))
    let ofX = read(x.quantizedInColumns(implementation: .reference))
    expectClose(
      outcome.inputGradients[1], columns.matmul(ofX.transposed()), absolute: 2e-3, relative: 1e-2,
      "weight")
    expectClose(
      outcome.inputGradients[2], seed.to(.float32).sum(dims: [0]), absolute: 5e-2, relative: 1e-2,
      "bias")
    #expect(outcome.value.dtype == .bfloat16)
    #expect(outcome.inputGradients.allSatisfy { $0.dtype == .bfloat16 })
  }

  /// 3 bits of fraction: the products are near those of bfloat16, and not equal to them.
  @Test func isNearTheProductItStandsFor() {
    let (x, weight) = (random([67, 256], 1), random([96, 256], 2))
    let exact = Outcome([x, weight]) { Tensor.linear($0[0], weight: $0[1]) }
    let quantized = Outcome([x, weight]) { Tensor.float8Linear($0[0], weight: $0[1]) }
    func difference(_ a: Tensor, _ b: Tensor) -> Double {
      (a.to(.float32) - b.to(.float32)).vectorNorm().item() / b.to(.float32).vectorNorm().item()
    }
    let differences =
      [difference(quantized.value, exact.value)]
      + zip(quantized.inputGradients, exact.inputGradients).map { difference($0, $1) }
    // Two operands with relative errors of up to 2^-4, 2.6 % in the mean square each.
    for value in differences { #expect(value > 0.02 && value < 0.05) }
  }

  @Test func keepsLeadingDimensions() {
    let y = Tensor.float8Linear(random([3, 7, 32], 1), weight: random([48, 32], 2))
    #expect(y.shape == [3, 7, 48])
  }

  @Test(arguments: GroupedLinearTests.cases)
  func groupsEqualTheirLayersAlone(rows: GroupedLinearTests.Case) {
    let total = rows.rows.reduce(0, +)
    for (inputs, outputs) in [(16, 32), (131, 19)] {
      let x = random([total, inputs], 1)
      let weight = random([rows.rows.count, outputs, inputs], 2, deviation: 0.2)
      let offsets = GroupedLinearTests.offsets(rows.rows)
      let outcome = Outcome([x, weight]) {
        $0[0].float8GroupedLinear(weight: $0[1], offsets: offsets)
      }
      let seed = random([total, outputs], 97)
      var row = 0
      for (expert, count) in rows.rows.enumerated() {
        let gradient = outcome.inputGradients[1].selected(dim: 0, index: expert)
        if count == 0 {
          #expect(gradient.floats().allSatisfy { $0 == 0 }, "expert \(expert)")
          continue
        }
        let leaves = [
          x.narrowed(dim: 0, start: row, length: count).leaf(),
          weight.selected(dim: 0, index: expert).leaf(),
        ]
        let y = Tensor.float8Linear(leaves[0], weight: leaves[1])
        let alone = gradients(
          of: [y], withRespectTo: leaves,
          outputGradients: [seed.narrowed(dim: 0, start: row, length: count)])
        let part = { (t: Tensor) in t.narrowed(dim: 0, start: row, length: count) }
        expectClose(part(outcome.value), y.detached(), absolute: 1e-3, relative: 1e-2)
        expectClose(part(outcome.inputGradients[0]), alone[0]!, absolute: 1e-3, relative: 1e-2)
        expectClose(gradient, alone[1]!, absolute: 2e-3, relative: 1e-2)
        row += count
      }
    }
  }

  @Test func groupedProductsEqualReference() {
    let rows = [7, 0, 130, 2, 128, 31, 0]
    let offsets = GroupedLinearTests.offsets(rows)
    let x = random([298, 150], 1)
    let weight = random([7, 37, 150], 2).quantizedInBlocks()
    expectClose(
      x.quantizedInRows().product(weight, offsets: offsets),
      x.quantizedInRows().product(weight, offsets: offsets, implementation: .reference),
      absolute: 1e-3, relative: 1e-2)
    let columns = x.quantizedInColumns(offsets: offsets)
    let gradient = random([298, 37], 3).quantizedInColumns(offsets: offsets)
    expectClose(
      gradient.weightGradient(columns, offsets: offsets, dtype: .float32),
      gradient.weightGradient(
        columns, offsets: offsets, dtype: .float32, implementation: .reference),
      absolute: 1e-4, relative: 1e-4)
  }

  @Test func notANumberReachesEveryProduct() {
    let x = random([9, 32], 1)
    x.narrowed(dim: 0, start: 5, length: 1).fill(.real(.nan))
    let outcome = Outcome([x, random([48, 32], 2)]) { Tensor.float8Linear($0[0], weight: $0[1]) }
    let rows = outcome.value.floats().enumerated().filter { $0.element.isNaN }.map {
      $0.offset / 48
    }
    #expect(Set(rows) == [5] && rows.count == 48)
    #expect(outcome.inputGradients[1].floats().allSatisfy { $0.isNaN })
  }

  @Test func twoRunsAreEqualToTheLastBit() {
    let (x, weight) = (random([263, 130], 1), random([5, 48, 130], 2))
    let offsets = GroupedLinearTests.offsets([130, 0, 3, 129, 1])
    let run = {
      Outcome([x, weight]) { $0[0].float8GroupedLinear(weight: $0[1], offsets: offsets) }
    }
    expectSameBits(run(), run())
  }
}
