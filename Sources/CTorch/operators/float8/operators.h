// The operators of float8_e4m3fn: quantisation by the rule of rule.h, and products of quantised operands.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <tuple>

#include "rule.h"

namespace xtuner {

/// Values and their scales.
using Fp8Pair = std::tuple<at::Tensor, at::Tensor>;

/// What a norm makes: the sum of x and the residual, or x where there is none, the normalised rows, and the same quantised
/// in rows.
struct Fp8Norm {
  at::Tensor sum, y;
  Fp8Pair rows;
};

namespace reference {
Fp8Pair fp8_quantize_rows(const at::Tensor &x);
Fp8Pair fp8_quantize_blocks(const at::Tensor &x);
Fp8Pair fp8_quantize_columns(const at::Tensor &x, const std::optional<at::Tensor> &offsets);
/// In rows and in columns.
std::tuple<Fp8Pair, Fp8Pair> fp8_quantize_both(const at::Tensor &x, const std::optional<at::Tensor> &offsets);
Fp8Pair fp8_swiglu_rows(const at::Tensor &gate_up);
Fp8Pair fp8_swiglu_columns(const at::Tensor &gate_up, const std::optional<at::Tensor> &offsets);
Fp8Norm fp8_rms_norm(const at::Tensor &x, const std::optional<at::Tensor> &residual, const at::Tensor &weight,
                     double epsilon);
at::Tensor fp8_dequantize(const at::Tensor &values, const at::Tensor &scales, int64_t tile_rows, at::ScalarType dtype);
at::Tensor fp8_product(const at::Tensor &x, const at::Tensor &x_scales, const at::Tensor &weight,
                       const at::Tensor &weight_scales, const std::optional<at::Tensor> &bias);
at::Tensor fp8_grouped_product(const at::Tensor &x, const at::Tensor &x_scales, const at::Tensor &weight,
                               const at::Tensor &weight_scales, const at::Tensor &offsets);
at::Tensor fp8_weight_gradient(const at::Tensor &grad, const at::Tensor &grad_scales, const at::Tensor &x,
                               const at::Tensor &x_scales, const std::optional<at::Tensor> &offsets,
                               at::ScalarType dtype);
}  // namespace reference

// Calls of the device's kernel. `native` products are its own, the others those of float32 numbers.
Fp8Pair fp8_quantize_rows(const at::Tensor &x);
Fp8Pair fp8_quantize_blocks(const at::Tensor &x);
Fp8Pair fp8_quantize_columns(const at::Tensor &x, const std::optional<at::Tensor> &offsets);
/// In rows and in columns, read once.
std::tuple<Fp8Pair, Fp8Pair> fp8_quantize_both(const at::Tensor &x, const std::optional<at::Tensor> &offsets);
Fp8Pair fp8_swiglu_rows(const at::Tensor &gate_up);
Fp8Pair fp8_swiglu_columns(const at::Tensor &gate_up, const std::optional<at::Tensor> &offsets);
at::Tensor fp8_dequantize(const at::Tensor &values, const at::Tensor &scales, int64_t tile_rows, at::ScalarType dtype);
at::Tensor fp8_product(const at::Tensor &x, const at::Tensor &x_scales, const at::Tensor &weight,
                       const at::Tensor &weight_scales, const std::optional<at::Tensor> &bias, bool native);
at::Tensor fp8_grouped_product(const at::Tensor &x, const at::Tensor &x_scales, const at::Tensor &weight,
                               const at::Tensor &weight_scales, const at::Tensor &offsets, bool native);
at::Tensor fp8_weight_gradient(const at::Tensor &grad, const at::Tensor &grad_scales, const at::Tensor &x,
                               const at::Tensor &x_scales, const std::optional<at::Tensor> &offsets,
                               at::ScalarType dtype, bool native);

// Differentiable: the three products of a linear layer with quantised operands. With `quantized`, the weight in blocks,
// the weight's elements are not read: it may be without memory, and says only what the gradient belongs to. `rows` is x
// quantised in rows, where something else has done that.
at::Tensor fp8_linear(const at::Tensor &x, const at::Tensor &weight, const std::optional<at::Tensor> &bias,
                      const std::optional<Fp8Pair> &quantized, const std::optional<Fp8Pair> &rows, bool native);
at::Tensor fp8_grouped_linear(const at::Tensor &x, const at::Tensor &weight, const at::Tensor &offsets,
                              const std::optional<Fp8Pair> &quantized, bool native);
// Of silu(gate) * up, which is neither written nor kept: it is quantised as it is made, in backward once more.
at::Tensor fp8_swiglu_linear(const at::Tensor &gate_up, const at::Tensor &weight, const std::optional<at::Tensor> &bias,
                             const std::optional<at::Tensor> &offsets, const std::optional<Fp8Pair> &quantized,
                             bool native);
// Sum and normalised rows have gradients.
Fp8Norm fp8_rms_norm(const at::Tensor &x, const std::optional<at::Tensor> &residual, const at::Tensor &weight,
                     double epsilon);

}  // namespace xtuner
