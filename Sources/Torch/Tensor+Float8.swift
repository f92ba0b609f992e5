import CTorch

// Shape legend for this file:
//   R rows   N outputs   K inputs   E experts   P rows padded to whole tiles a group

/// Values of float8_e4m3fn and the float32 scales of their tiles: a number is value times scale.
///
/// A scale is the tile's largest magnitude divided by 448; 1 for a tile of zeros. An infinity or a NaN
/// makes its whole tile NaN.
public struct Float8Tensor {
  /// How many elements share a scale.
  public enum Tiling: Int, Sendable {
    /// 128 elements side by side.
    case rows = 1
    /// 128 x 128 elements.
    case blocks = 128
  }

  /// The values, float8e4m3.
  public let values: Tensor
  /// A scale a tile, float32.
  public let scales: Tensor
  /// How many elements share a scale; columns are the rows of a transposed tensor.
  public let tiling: Tiling

  /// A quantised tensor from its parts.
  public init(values: Tensor, scales: Tensor, tiling: Tiling) {
    self.values = values
    self.scales = scales
    self.tiling = tiling
  }

  /// Elements of a tile's side.
  public static let tileSize = 128

  /// Tiles that `count` elements take.
  public static func tileCount(_ count: Int) -> Int { (count + tileSize - 1) / tileSize }

  /// A view with rows and columns exchanged, of blocks.
  public func transposed() -> Float8Tensor {
    precondition(tiling == .blocks, "a transposed view of rows has no tiles along its rows")
    return Float8Tensor(
      values: values.transposed(-2, -1), scales: scales.transposed(-2, -1), tiling: tiling)
  }

  /// The numbers in `dtype`, float32 or bfloat16.
  public func dequantized(
    to dtype: DType = .float32, implementation: Implementation = .kernel
  ) -> Tensor {
    withExtendedLifetime((values, scales)) {
      makeTensor("xtuner::fp8_dequantize") {
        ct_fp8_dequantize(
          values.handle, scales.handle, Int64(tiling.rawValue), dtype.rawValue,
          implementation == .reference, $0)
      }
    }
  }

  /// `self · weightᵀ + bias` in float32, rounded to bfloat16.
  ///
  /// - Parameters:
  ///   - weight: `[N, K]` in blocks; `[E, N, K]` with offsets.
  ///   - bias: `[N]`; none with offsets.
  ///   - offsets: The end of each expert's rows, `[E]` int64 on the tensors' device.
  ///   - products: Who multiplies.
  ///   - implementation: Which implementation runs.
  /// - Returns: `[R, N]` bfloat16.
  public func product(
    _ weight: Float8Tensor, bias: Tensor? = nil, offsets: Tensor? = nil,
    products: Float8Products = .emulated,
    implementation: Implementation = .kernel
  ) -> Tensor {
    withExtendedLifetime((self, weight, bias, offsets)) {
      makeTensor("xtuner::fp8_product") {
        ct_fp8_product(
          values.handle, scales.handle, weight.values.handle, weight.scales.handle, bias?.handle,
          offsets?.handle, products == .native, implementation == .reference, $0)
      }
    }
  }

  /// The gradient of a weight in float32, rounded to `dtype`: `[N, K]`, or `[E, N, K]` with offsets.
  ///
  /// This is the gradient of the outputs in columns, `[N, P]`, `inputs` are `[K, P]` in columns.
  public func weightGradient(
    _ inputs: Float8Tensor, offsets: Tensor? = nil, dtype: DType = .bfloat16,
    products: Float8Products = .emulated,
    implementation: Implementation = .kernel
  ) -> Tensor {
    withExtendedLifetime((self, inputs, offsets)) {
      makeTensor("xtuner::fp8_weight_gradient") {
        ct_fp8_weight_gradient(
          values.handle, scales.handle, inputs.values.handle, inputs.scales.handle, offsets?.handle,
          dtype.rawValue, products == .native, implementation == .reference, $0)
      }
    }
  }
}

/// A quantised tensor of an operation that makes values and scales.
func makeFloat8(
  _ operation: StaticString, _ tiling: Float8Tensor.Tiling,
  _ body: (TensorSlot, TensorSlot) -> CTStatus
) -> Float8Tensor {
  let (values, scales) = makeTensors2(operation, body)
  return Float8Tensor(values: values, scales: scales, tiling: tiling)
}

/// Who multiplies quantised operands.
public enum Float8Products: Sendable {
  /// Operands are read back as float32 and multiplied so, on any device.
  case emulated
  /// The device multiplies the float8 values: GPUs of compute capability 9.0.
  case native
}

extension Tensor {
  /// Tiles of 128 elements of a row of `[R, K]`: what activations and gradients are multiplied as.
  ///
  /// Scales are `[R, ceil(K / 128)]`, of which those of a tile of all rows lie side by side.
  public func quantizedInRows(implementation: Implementation = .kernel) -> Float8Tensor {
    withExtendedLifetime(self) {
      makeFloat8("xtuner::fp8_quantize_rows", .rows) {
        ct_fp8_quantize_rows(handle, implementation == .reference, $0, $1)
      }
    }
  }

  /// Blocks of 128 x 128 of `[N, K]` or `[E, N, K]`: what weights are multiplied as.
  ///
  /// Scales are `[ceil(N / 128), ceil(K / 128)]`, those of an expert by themselves.
  public func quantizedInBlocks(implementation: Implementation = .kernel) -> Float8Tensor {
    withExtendedLifetime(self) {
      makeFloat8("xtuner::fp8_quantize_blocks", .blocks) {
        ct_fp8_quantize_blocks(handle, implementation == .reference, $0, $1)
      }
    }
  }

  /// Tiles of 128 elements of a column of `[R, K]`, transposed to `[K, P]`: the operands of a weight's
  /// gradient.
  ///
  /// With `offsets`, `[E]` int64 on the tensor's device, the rows of each expert start a tile, and zeros
  /// fill up its last one. `P` is `(R + 127 E) / 128 * 128`, whatever the offsets are.
  public func quantizedInColumns(
    offsets: Tensor? = nil, implementation: Implementation = .kernel
  ) -> Float8Tensor {
    withExtendedLifetime((self, offsets)) {
      makeFloat8("xtuner::fp8_quantize_columns", .rows) {
        ct_fp8_quantize_columns(handle, offsets?.handle, implementation == .reference, $0, $1)
      }
    }
  }

  /// ``quantizedInRows(implementation:)`` and ``quantizedInColumns(offsets:implementation:)`` of one
  /// reading: what both gradients of a layer take.
  public func quantizedInRowsAndColumns(
    offsets: Tensor? = nil, implementation: Implementation = .kernel
  ) -> (rows: Float8Tensor, columns: Float8Tensor) {
    let (rows, rowScales, columns, columnScales) = withExtendedLifetime((self, offsets)) {
      makeTensors4("xtuner::fp8_quantize_both") {
        ct_fp8_quantize_both(
          handle, offsets?.handle, implementation == .reference, $0, $1, $2, $3)
      }
    }
    return (
      Float8Tensor(values: rows, scales: rowScales, tiling: .rows),
      Float8Tensor(values: columns, scales: columnScales, tiling: .rows)
    )
  }

  /// As ``linear(_:weight:bias:implementation:)`` on bfloat16, with quantised operands in all three
  /// products: the output, the input's gradient and the weight's.
  ///
  /// Weights are quantised in blocks, activations and output gradients in rows, and both in columns for
  /// the weight's gradient.
  /// `quantized` is the weight in blocks: then the elements of `weight` are not read, which may be without
  /// memory, and only says what the gradient is of. `rows` is `x` in rows, where something else has made
  /// that already.
  public static func float8Linear(
    _ x: Tensor, weight: Tensor, quantized: Float8Tensor? = nil, bias: Tensor? = nil,
    rows: Float8Tensor? = nil, products: Float8Products = .emulated
  ) -> Tensor {
    withExtendedLifetime((x, weight, quantized, bias, rows)) {
      makeTensor("xtuner::fp8_linear") {
        ct_fp8_linear(
          x.handle, weight.handle, bias?.handle, quantized?.values.handle,
          quantized?.scales.handle, rows?.values.handle, rows?.scales.handle, products == .native,
          $0)
      }
    }
  }

  /// As ``groupedLinear(weight:offsets:implementation:)`` on bfloat16, with quantised operands like
  /// ``float8Linear(_:weight:quantized:bias:rows:products:)``; no tile has rows of two experts.
  public func float8GroupedLinear(
    weight: Tensor, quantized: Float8Tensor? = nil, offsets: Tensor,
    products: Float8Products = .emulated
  ) -> Tensor {
    withExtendedLifetime((self, weight, quantized, offsets)) {
      makeTensor("xtuner::fp8_grouped_linear") {
        ct_fp8_grouped_linear(
          handle, weight.handle, offsets.handle, quantized?.values.handle,
          quantized?.scales.handle, products == .native, $0)
      }
    }
  }
}
