import Testing
import Torch

/// `linear`, `product` and `addProduct` against libtorch's products.
///
/// In bfloat16 the kernel multiplies in blocks of 8 x 48 and 512 elements of a sum.
@Suite struct LinearTests {
  static let sizes = [
    (1, 3, 2), (17, 1, 1), (17, 48, 33), (19, 49, 31), (257, 47, 513), (263, 96, 512),
    (31, 211, 1031), (521, 16, 2), (0, 5, 7), (5, 0, 7),
  ]

  @Test(arguments: floatingTypes, sizes)
  func equalsReference(dtype: DType, size: (rows: Int, outputs: Int, inputs: Int)) {
    let generator = Generator(seed: 11)
    let x = randomTensor([size.rows, size.inputs], dtype: dtype, generator: generator)
    let deviation = 1 / Double(size.inputs).squareRoot()
    let weight = randomTensor(
      [size.outputs, size.inputs], dtype: dtype, deviation: deviation, generator: generator)
    let bias = randomTensor([size.outputs], dtype: dtype, generator: generator)
    expectKernelEqualsReference([x, weight], tolerance: .of(dtype)) {
      Tensor.linear($0[0], weight: $0[1], implementation: $1)
    }
    expectKernelEqualsReference([x, weight, bias], tolerance: .of(dtype)) {
      Tensor.linear($0[0], weight: $0[1], bias: $0[2], implementation: $1)
    }
  }

  @Test func keepsLeadingDimensions() {
    let x = randomTensor([3, 7, 5], dtype: .bfloat16, generator: Generator(seed: 1))
    let weight = randomTensor([11, 5], dtype: .bfloat16, generator: Generator(seed: 2))
    #expect(Tensor.linear(x, weight: weight).shape == [3, 7, 11])
  }

  @Test(arguments: [false, true], [false, true])
  func productsTakeTransposedViews(left: Bool, right: Bool) {
    for (rows, columns, depth) in [(17, 50, 33), (300, 33, 530), (64, 192, 1025)] {
      let generator = Generator(seed: 4)
      let a = randomTensor(
        left ? [depth, rows] : [rows, depth], dtype: .bfloat16, generator: generator)
      let b = randomTensor(
        right ? [columns, depth] : [depth, columns], dtype: .bfloat16, generator: generator)
      let (x, y) = (left ? a.transposed() : a, right ? b.transposed() : b)
      let expected = x.to(.float32).matmul(y.to(.float32))
      // Sums in float32, in another order: the error of a sum of `depth` products of order one. Rounded to
      // bfloat16 once, by at most 2^-8 of the value.
      expectClose(x.product(y), expected, absolute: 2e-4, relative: 0x1p-8 + 2e-5)
      let sum = Tensor.full([rows, columns], value: 2, dtype: .float32)
      sum.addProduct(x, y)
      expectClose(sum, expected.adding(scalar: 2), absolute: 2e-4, relative: 2e-5)
    }
  }

  @Test func notANumberStaysInItsRowAndColumn() {
    let x = Tensor.ones([33, 7], dtype: .bfloat16)
    x.narrowed(dim: 0, start: 5, length: 1).fill(.real(.nan))
    let y = Tensor.linear(x, weight: Tensor.ones([50, 7], dtype: .bfloat16)).floats()
    for (index, value) in y.enumerated() { #expect(value.isNaN == (index / 50 == 5)) }
  }

  @Test func doesNotDependOnThreads() {
    let generator = Generator(seed: 9)
    let x = randomTensor([541, 130], dtype: .bfloat16, generator: generator)
    let weight = randomTensor([310, 130], dtype: .bfloat16, generator: generator)
    let threads = Torch.threadCount
    defer { Torch.setThreadCount(threads) }
    let outcomes = [1, 2].map { count in
      Torch.setThreadCount(count)
      return Outcome([x, weight]) { Tensor.linear($0[0], weight: $0[1]) }
    }
    #expect(outcomes[0].value.floats() == outcomes[1].value.floats())
    for (a, b) in zip(outcomes[0].inputGradients, outcomes[1].inputGradients) {
      #expect(a.floats() == b.floats())
    }
  }
}
