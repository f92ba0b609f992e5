import CTorch

// Shape legend for this file:
//   T tokens   H query heads   G key-value heads   d head size   D hidden   E experts   K experts a token
//   R rows of all experts (T x K)   I expert width

/// Which implementation of an operator of our own runs.
public enum Implementation: Sendable {
  /// The device's kernel.
  case kernel
  /// The composite of ATen operators that tests compare kernels with.
  case reference
}

extension Tensor {
  /// `weight * x / sqrt(mean(x^2) + epsilon)` over the last dim, with the mean in float32.
  public func rmsNorm(
    weight: Tensor, epsilon: Double, implementation: Implementation = .kernel
  ) -> Tensor {
    withExtendedLifetime((self, weight)) {
      makeTensor("xtuner::rms_norm") {
        ct_rms_norm(handle, weight.handle, epsilon, implementation == .reference, $0)
      }
    }
  }

  /// The sum with `residual`, and the norm of the sum as of ``rmsNorm(weight:epsilon:implementation:)``.
  public func addingThenRMSNorm(
    _ residual: Tensor, weight: Tensor, epsilon: Double, implementation: Implementation = .kernel
  ) -> (sum: Tensor, normalized: Tensor) {
    let (sum, normalized) = withExtendedLifetime((self, residual, weight)) {
      makeTensors2("xtuner::add_rms_norm") {
        ct_add_rms_norm(
          handle, residual.handle, weight.handle, epsilon, implementation == .reference, $0, $1)
      }
    }
    return (sum, normalized)
  }

  /// The heads of `[T, H, d]` normalised, then rotated: equal to
  /// ``rmsNorm(weight:epsilon:implementation:)`` and
  /// ``rotated(cosine:sine:isInterleaved:implementation:)`` to the last bit.
  ///
  /// Heads have to be dense, but may be part of wider rows.
  public func rmsNormThenRotated(
    weight: Tensor, epsilon: Double, cosine: Tensor, sine: Tensor, isInterleaved: Bool = false,
    implementation: Implementation = .kernel
  ) -> Tensor {
    withExtendedLifetime((self, weight, cosine, sine)) {
      makeTensor("xtuner::norm_rotary") {
        ct_norm_rotary(
          handle, weight.handle, epsilon, cosine.handle, sine.handle, isInterleaved,
          implementation == .reference, $0)
      }
    }
  }

  /// Rotates the pairs of each head of `[T, H, d]` by angles given as cos and sin, `[T, d/2]` float32.
  ///
  /// - Parameters:
  ///   - cosine: Cosines of the angles.
  ///   - sine: Sines of the angles.
  ///   - isInterleaved: Pairs are (2i, 2i+1) instead of (i, i + d/2).
  ///   - implementation: Which implementation runs.
  /// - Returns: `[T, H, d]` of the same dtype.
  public func rotated(
    cosine: Tensor, sine: Tensor, isInterleaved: Bool = false,
    implementation: Implementation = .kernel
  ) -> Tensor {
    withExtendedLifetime((self, cosine, sine)) {
      makeTensor("xtuner::rotary") {
        ct_rotary(
          handle, cosine.handle, sine.handle, isInterleaved, implementation == .reference, $0)
      }
    }
  }

  /// `silu(gate) * up` of `[rows, 2 I]`, gate first; `[rows, I]`.
  public func swiGLU(implementation: Implementation = .kernel) -> Tensor {
    withExtendedLifetime(self) {
      makeTensor("xtuner::swiglu") { ct_swiglu(handle, implementation == .reference, $0) }
    }
  }

  /// Causal attention inside the samples of a pack.
  ///
  /// On a CPU the result does not depend on the number of threads if all samples are shorter than
  /// 1024 tokens, if there is a window or sinks, or in bfloat16 if the processor multiplies it.
  /// - Parameters:
  ///   - query: `[T, H, d]`.
  ///   - key: `[T, G, d]`; query head h uses key head h / (H / G).
  ///   - value: `[T, G, dv]`.
  ///   - bounds: Where samples start and end, `[N + 1]` int64 on the host, from 0 to T.
  ///   - scale: Factor of the scores.
  ///   - window: How many keys a query sees, itself included; nil for all.
  ///   - sinks: One extra logit a query head, `[H]` float32, that takes weight and gives no value.
  ///   - implementation: Which implementation runs.
  /// - Returns: `[T, H, dv]`.
  public static func varlenAttention(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, scale: Double, window: Int? = nil,
    sinks: Tensor? = nil, implementation: Implementation = .kernel
  ) -> Tensor {
    withExtendedLifetime((query, key, value, bounds, sinks)) {
      makeTensor("xtuner::varlen_attention") {
        ct_varlen_attention(
          query.handle, key.handle, value.handle, bounds.handle, scale, Int64(window ?? 0),
          sinks?.handle, implementation == .reference, $0)
      }
    }
  }

  /// `x · weightᵀ + bias`.
  ///
  /// - Parameters:
  ///   - x: `[..., K]`.
  ///   - weight: `[N, K]`.
  ///   - bias: `[N]`.
  ///   - implementation: Which implementation runs.
  /// - Returns: `[..., N]`.
  public static func linear(
    _ x: Tensor, weight: Tensor, bias: Tensor? = nil, implementation: Implementation = .kernel
  ) -> Tensor {
    withExtendedLifetime((x, weight, bias)) {
      makeTensor("xtuner::linear") {
        ct_linear(x.handle, weight.handle, bias?.handle, implementation == .reference, $0)
      }
    }
  }

  /// This matrix `[m, k]` times `other` `[k, n]`, without gradients; either may be a transposed view.
  public func product(_ other: Tensor) -> Tensor {
    withExtendedLifetime((self, other)) {
      makeTensor("xtuner::product") { ct_product(handle, other.handle, $0) }
    }
  }

  /// Adds `left` `[m, k]` times `right` `[k, n]` to this matrix, in place and without gradients.
  ///
  /// A float32 matrix gets float32 sums of bfloat16 operands.
  public func addProduct(_ left: Tensor, _ right: Tensor) {
    withExtendedLifetime((self, left, right)) {
      torchCall("xtuner::add_product_") { ct_add_product(handle, left.handle, right.handle) }
    }
  }

  /// The rows of each expert times the transpose of its weight.
  ///
  /// - Parameters:
  ///   - weight: `[E, N, K]`.
  ///   - offsets: The end of each expert's rows, `[E]` int64 on the same device.
  ///   - implementation: Which implementation runs.
  /// - Returns: `[R, N]` for rows `[R, K]`.
  public func groupedLinear(
    weight: Tensor, offsets: Tensor, implementation: Implementation = .kernel
  ) -> Tensor {
    withExtendedLifetime((self, weight, offsets)) {
      makeTensor("xtuner::grouped_linear") {
        ct_grouped_linear(
          handle, weight.handle, offsets.handle, implementation == .reference, $0)
      }
    }
  }

  /// The rows of `[T, D]` in the order of `tokenOfRow` `[R]`; `rowOfSlot` `[T, K]` is its inverse.
  public func permutedRows(
    tokenOfRow: Tensor, rowOfSlot: Tensor, implementation: Implementation = .kernel
  ) -> Tensor {
    withExtendedLifetime((self, tokenOfRow, rowOfSlot)) {
      makeTensor("xtuner::permute_rows") {
        ct_permute_rows(
          handle, tokenOfRow.handle, rowOfSlot.handle, implementation == .reference, $0)
      }
    }
  }

  /// The sum of each token's rows of `[R, D]`, weighted by `weights` `[T, K]` float32; `[T, D]`.
  public func unpermutedRows(
    weights: Tensor, rowOfSlot: Tensor, implementation: Implementation = .kernel
  ) -> Tensor {
    withExtendedLifetime((self, weights, rowOfSlot)) {
      makeTensor("xtuner::unpermute_rows") {
        ct_unpermute_rows(
          handle, weights.handle, rowOfSlot.handle, implementation == .reference, $0)
      }
    }
  }

  /// Adds row r of `rows` to this tensor's row `indices[r]`, in place and in the order of r.
  ///
  /// The gradient of an embedding. The result does not depend on the number of threads.
  /// - Parameters:
  ///   - rows: `[R, D]`, float32, bfloat16 or float16; this tensor is `[V, D]` float32.
  ///   - indices: `[R]` int64.
  public func addRows(_ rows: Tensor, at indices: Tensor) {
    withExtendedLifetime((self, rows, indices)) {
      torchCall("xtuner::add_rows_") { ct_add_rows(handle, rows.handle, indices.handle) }
    }
  }
}
