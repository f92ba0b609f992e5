import CTorch

// Shape legend for this file:
//   E matrices   N rows   K columns   n elements of a part

/// Matrices of which this process has a part: elements that lie side by side, flat.
///
/// The blocks of 128 x 128 are those of whole matrices and cross the parts. First each process takes the
/// magnitudes of what it has; after the largest of all are known, it quantises what it has, to the bytes
/// that the whole would give.
public struct Float8Part: Sendable {
  /// `[N, K]` or `[E, N, K]`.
  public let shape: [Int]
  /// Where the part starts, in elements.
  public let start: Int

  /// A part of matrices.
  public init(of shape: [Int], start: Int) {
    precondition(shape.count == 2 || shape.count == 3, "one matrix or several, not \(shape)")
    self.shape = shape
    self.start = start
  }

  private var matrixCount: Int { shape.count == 3 ? shape[0] : 1 }
  private var rowCount: Int { shape[shape.count - 2] }
  private var columnCount: Int { shape[shape.count - 1] }

  /// The shape of the blocks: `[ceil(N / 128), ceil(K / 128)]`, those of a matrix by themselves.
  public var blockShape: [Int] {
    shape.dropLast(2)
      + [Float8Tensor.tileCount(rowCount), Float8Tensor.tileCount(columnCount)]
  }

  /// Blocks of all matrices.
  public var blockCount: Int { blockShape.reduce(1, *) }

  /// The largest magnitude in each block of what `elements`, `[n]`, has of it; 0 where it has nothing.
  ///
  /// - Returns: Bits of float32, one dim of int32: their order is that of the numbers, and a NaN is
  ///   larger than infinity.
  public func magnitudes(
    _ elements: Tensor, implementation: Implementation = .kernel
  ) -> Tensor {
    withExtendedLifetime(elements) {
      makeTensor("xtuner::fp8_part_magnitudes") {
        ct_fp8_part_magnitudes(
          elements.handle, Int64(start), Int64(matrixCount), Int64(rowCount), Int64(columnCount),
          implementation == .reference, $0)
      }
    }.view([blockCount])
  }

  /// Quantises `elements`, `[n]`, by the scales of all blocks into `values`, `[n]` float8e4m3.
  public func quantize(
    _ elements: Tensor, scales: Tensor, into values: Tensor,
    implementation: Implementation = .kernel
  ) {
    withExtendedLifetime((elements, scales, values)) {
      torchCall("xtuner::fp8_quantize_part_") {
        ct_fp8_quantize_part(
          values.handle, elements.handle, scales.handle, Int64(start), Int64(rowCount),
          Int64(columnCount), implementation == .reference)
      }
    }
  }

  /// The scales of blocks with these largest magnitudes.
  public static func scales(magnitudes: Tensor) -> Tensor {
    withExtendedLifetime(magnitudes) {
      makeTensor("fp8_scales") { ct_fp8_scales(magnitudes.handle, $0) }
    }
  }
}
