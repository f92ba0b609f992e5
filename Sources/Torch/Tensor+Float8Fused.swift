import CTorch

// Quantisation of what an operator has just made. Shape legend for this file:
//   R rows   K width   E experts   P rows padded to whole tiles a group

extension Tensor {
  /// ``rmsNorm(weight:epsilon:implementation:)`` of the rows `[R, K]`, and the result quantised in rows,
  /// in one pass.
  ///
  /// With a `residual` the sum is normalised, as of
  /// ``addingThenRMSNorm(_:weight:epsilon:implementation:)``; without one `sum` is this tensor. Sum and
  /// normalised rows have gradients.
  public func quantizedRMSNorm(
    adding residual: Tensor? = nil, weight: Tensor, epsilon: Double,
    implementation: Implementation = .kernel
  ) -> (sum: Tensor, normalized: Tensor, quantized: Float8Tensor) {
    let (sum, normalized, values, scales) = withExtendedLifetime((self, residual, weight)) {
      makeTensors4("xtuner::fp8_rms_norm") {
        ct_fp8_rms_norm(
          handle, residual?.handle, weight.handle, epsilon, implementation == .reference, $0, $1,
          $2, $3)
      }
    }
    return (sum, normalized, Float8Tensor(values: values, scales: scales, tiling: .rows))
  }

  /// `silu(gate) * up` of rows `[gate, up]`, `[R, 2 K]`, as ``quantizedInRows(implementation:)`` makes it
  /// of ``swiGLU(implementation:)``, which is not written.
  public func swiGLUQuantizedInRows(implementation: Implementation = .kernel) -> Float8Tensor {
    withExtendedLifetime(self) {
      makeFloat8("xtuner::fp8_swiglu_rows", .rows) {
        ct_fp8_swiglu_rows(handle, implementation == .reference, $0, $1)
      }
    }
  }

  /// The same in columns, `[K, P]`, as of ``quantizedInColumns(offsets:implementation:)``.
  public func swiGLUQuantizedInColumns(
    offsets: Tensor? = nil, implementation: Implementation = .kernel
  ) -> Float8Tensor {
    withExtendedLifetime((self, offsets)) {
      makeFloat8("xtuner::fp8_swiglu_columns", .rows) {
        ct_fp8_swiglu_columns(handle, offsets?.handle, implementation == .reference, $0, $1)
      }
    }
  }

  /// As ``float8Linear(_:weight:quantized:bias:rows:products:)`` of ``swiGLU(implementation:)`` of this
  /// tensor, `[R, 2 K]`, to the last bit; with `offsets` as
  /// ``float8GroupedLinear(weight:quantized:offsets:products:)``.
  ///
  /// What SwiGLU makes is quantised at once and never written: a backward pass keeps only gate and up,
  /// and computes it again.
  public func float8SwiGLULinear(
    weight: Tensor, quantized: Float8Tensor? = nil, bias: Tensor? = nil, offsets: Tensor? = nil,
    products: Float8Products = .emulated
  ) -> Tensor {
    withExtendedLifetime((self, weight, quantized, bias, offsets)) {
      makeTensor("xtuner::fp8_swiglu_linear") {
        ct_fp8_swiglu_linear(
          handle, weight.handle, bias?.handle, offsets?.handle, quantized?.values.handle,
          quantized?.scales.handle, products == .native, $0)
      }
    }
  }
}
