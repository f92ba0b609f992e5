import Testing
import Torch

/// Matrices whose parts are quantised apart: together they are what the whole gives, bit for bit.
@Suite struct Float8PartTests {
  /// Matrices and where they are cut: inside rows, blocks and matrices, with empty parts.
  struct Case: Sendable, CustomTestStringConvertible {
    var shape: [Int]
    var cuts: [Int]
    var testDescription: String { "\(shape) cut at \(cuts)" }
  }

  static let cases = [
    Case(shape: [1, 1], cuts: []), Case(shape: [1, 1], cuts: [0]),
    Case(shape: [3, 127], cuts: [200]),
    Case(shape: [128, 128], cuts: [1, 8191, 8192]), Case(shape: [129, 13], cuts: [13 * 128]),
    Case(shape: [131, 257], cuts: [17, 17, 1000, 131 * 257 - 1]),
    Case(shape: [257, 383], cuts: [40000, 40001, 70003]),
    Case(shape: [3, 131, 200], cuts: [13100, 26201, 52400, 60007]),
    Case(shape: [7, 5, 129], cuts: [2048]),
  ]

  /// Quantised part by part, with scales that all parts agree on.
  private func quantized(_ x: Tensor, _ cuts: [Int], _ implementation: Implementation)
    -> Float8Tensor
  {
    let flat = x.view([x.elementCount])
    let ends = [0] + cuts + [x.elementCount]
    let parts = zip(ends, ends.dropFirst()).map { start, end in
      (
        part: Float8Part(of: x.shape, start: start),
        elements: flat.narrowed(dim: 0, start: start, length: end - start)
      )
    }
    let found = parts.map { $0.part.magnitudes($0.elements, implementation: implementation) }
    let largest = Tensor.stacked(found).maximum(dims: [0])
    let scales = Float8Part.scales(magnitudes: largest)
    let values = parts.map { part, elements in
      let own = elements.to(.float8e4m3)
      part.quantize(elements, scales: scales, into: own, implementation: implementation)
      return bytes(own)
    }
    #expect(values.map(\.count) == parts.map(\.elements.elementCount))
    return Float8Tensor(
      values: Tensor(values.flatMap { $0 }), scales: scales.view(parts[0].part.blockShape),
      tiling: .blocks)
  }

  /// Sign and payload of a NaN are nobody's.
  private func patterns(_ bytes: [UInt8]) -> [UInt8] { bytes.map { $0 & 127 == 127 ? 127 : $0 } }

  private func expectWhole(_ x: Tensor, _ cuts: [Int]) {
    let whole = x.quantizedInBlocks()
    for implementation in [Implementation.kernel, .reference] {
      let parts = quantized(x, cuts, implementation)
      #expect(patterns(bytes(parts.values)) == patterns(bytes(whole.values)))
      #expect(parts.scales.shape == whole.scales.shape)
      let (mine, theirs) = (parts.scales.floats(), whole.scales.floats())
      for (a, b) in zip(mine, theirs) {
        #expect(a.bitPattern == b.bitPattern || a.isNaN && b.isNaN)
      }
    }
  }

  @Test(arguments: cases, [DType.bfloat16, .float32])
  func partsTogetherEqualTheWhole(testCase: Case, dtype: DType) {
    expectWhole(
      randomTensor(testCase.shape, dtype: dtype, generator: Generator(seed: 3)), testCase.cuts)
  }

  /// Of one block in two parts, only one has the number: both must get its scale.
  @Test(arguments: [Float.nan, .infinity, -.infinity, 0, 1e30, Float(bitPattern: 7)])
  func oneElementDecidesForAllParts(_ number: Float) {
    for place in [0, 4999, 5000, 128 * 130 - 1] {
      let x = Tensor.zeros([128, 130], dtype: .float32)
      x.view([128 * 130]).narrowed(dim: 0, start: place, length: 1).fill(.real(Double(number)))
      expectWhole(x, [5000])
    }
  }
}
