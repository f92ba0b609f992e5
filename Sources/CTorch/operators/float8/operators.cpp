// Schemas of float8_e4m3fn, and gradient formulas of linear layers with quantised operands, whose three products are of
// e4m3 values, and of norms that quantise what they make.
#include "operators.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/where.h>
#include <torch/library.h>

#include "../dispatch.h"
#include "../formula.h"
#include "../norm/operators.h"
#include "arguments.h"
#include "parts.h"

// Shapes are in ctorch.h, the rule is in rule.h. `native` products are the device's own, the others those of float32
// numbers.
TORCH_LIBRARY_FRAGMENT(xtuner, m) {
  m.def("fp8_quantize_rows(Tensor x) -> (Tensor, Tensor)");
  m.def("fp8_quantize_blocks(Tensor x) -> (Tensor, Tensor)");
  m.def("fp8_quantize_columns(Tensor x, Tensor? offsets) -> (Tensor, Tensor)");
  m.def("fp8_quantize_both(Tensor x, Tensor? offsets) -> (Tensor, Tensor, Tensor, Tensor)");
  m.def("fp8_swiglu_rows(Tensor gate_up) -> (Tensor, Tensor)");
  m.def("fp8_swiglu_columns(Tensor gate_up, Tensor? offsets) -> (Tensor, Tensor)");
  m.def(
      "fp8_rms_norm(Tensor x, Tensor? residual, Tensor weight, float epsilon) "
      "-> (Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def("fp8_dequantize(Tensor values, Tensor scales, int tile_rows, ScalarType dtype) -> Tensor");
  m.def(
      "fp8_product(Tensor x, Tensor x_scales, Tensor weight, Tensor weight_scales, Tensor? bias, bool native) "
      "-> Tensor");
  m.def(
      "fp8_grouped_product(Tensor x, Tensor x_scales, Tensor weight, Tensor weight_scales, Tensor offsets, "
      "bool native) -> Tensor");
  m.def(
      "fp8_weight_gradient(Tensor grad, Tensor grad_scales, Tensor x, Tensor x_scales, Tensor? offsets, "
      "ScalarType dtype, bool native) -> Tensor");
  m.def("fp8_part_magnitudes(Tensor x, int start, int groups, int rows, int width) -> Tensor");
  m.def("fp8_quantize_part_(Tensor(a!) values, Tensor x, Tensor scales, int start, int rows, int width) -> ()");
}

namespace xtuner {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;

// ---- Calls of the device's kernel

Fp8Pair fp8_quantize_rows(const Tensor &x) { return call<Fp8Pair(const Tensor &)>("xtuner::fp8_quantize_rows", x); }
Fp8Pair fp8_quantize_blocks(const Tensor &x) { return call<Fp8Pair(const Tensor &)>("xtuner::fp8_quantize_blocks", x); }
Fp8Pair fp8_quantize_columns(const Tensor &x, const OptionalTensor &offsets) {
  return call<Fp8Pair(const Tensor &, const OptionalTensor &)>("xtuner::fp8_quantize_columns", x, offsets);
}
std::tuple<Fp8Pair, Fp8Pair> fp8_quantize_both(const Tensor &x, const OptionalTensor &offsets) {
  auto [rv, rs, cv, cs] = call<std::tuple<Tensor, Tensor, Tensor, Tensor>(const Tensor &, const OptionalTensor &)>(
      "xtuner::fp8_quantize_both", x, offsets);
  return {{rv, rs}, {cv, cs}};
}
Fp8Pair fp8_swiglu_rows(const Tensor &gate_up) {
  return call<Fp8Pair(const Tensor &)>("xtuner::fp8_swiglu_rows", gate_up);
}
Fp8Pair fp8_swiglu_columns(const Tensor &gate_up, const OptionalTensor &offsets) {
  return call<Fp8Pair(const Tensor &, const OptionalTensor &)>("xtuner::fp8_swiglu_columns", gate_up, offsets);
}
Tensor fp8_dequantize(const Tensor &values, const Tensor &scales, int64_t tile_rows, at::ScalarType dtype) {
  return call<Tensor(const Tensor &, const Tensor &, int64_t, at::ScalarType)>("xtuner::fp8_dequantize", values, scales,
                                                                               tile_rows, dtype);
}

Tensor fp8_product(const Tensor &x, const Tensor &x_scales, const Tensor &weight, const Tensor &weight_scales,
                   const OptionalTensor &bias, bool native) {
  return call<Tensor(const Tensor &, const Tensor &, const Tensor &, const Tensor &, const OptionalTensor &, bool)>(
      "xtuner::fp8_product", x, x_scales, weight, weight_scales, bias, native);
}
Tensor fp8_grouped_product(const Tensor &x, const Tensor &x_scales, const Tensor &weight, const Tensor &weight_scales,
                           const Tensor &offsets, bool native) {
  return call<Tensor(const Tensor &, const Tensor &, const Tensor &, const Tensor &, const Tensor &, bool)>(
      "xtuner::fp8_grouped_product", x, x_scales, weight, weight_scales, offsets, native);
}
Tensor fp8_weight_gradient(const Tensor &grad, const Tensor &grad_scales, const Tensor &x, const Tensor &x_scales,
                           const OptionalTensor &offsets, at::ScalarType dtype, bool native) {
  return call<Tensor(const Tensor &, const Tensor &, const Tensor &, const Tensor &, const OptionalTensor &,
                     at::ScalarType, bool)>("xtuner::fp8_weight_gradient", grad, grad_scales, x, x_scales, offsets,
                                            dtype, native);
}

Tensor fp8_part_magnitudes(const Tensor &x, int64_t start, int64_t groups, int64_t rows, int64_t width) {
  return call<Tensor(const Tensor &, int64_t, int64_t, int64_t, int64_t)>("xtuner::fp8_part_magnitudes", x, start,
                                                                          groups, rows, width);
}
void fp8_quantize_part(Tensor &values, const Tensor &x, const Tensor &scales, int64_t start, int64_t rows,
                       int64_t width) {
  call<void(Tensor &, const Tensor &, const Tensor &, int64_t, int64_t, int64_t)>("xtuner::fp8_quantize_part_", values,
                                                                                  x, scales, start, rows, width);
}

Tensor fp8_scales(const Tensor &magnitudes) {
  TORCH_CHECK(magnitudes.scalar_type() == at::kInt, "fp8_scales: magnitudes must be int32, are ",
              magnitudes.scalar_type());
  auto largest = magnitudes.view(at::kFloat);
  // By a tensor: ATen's CUDA kernel multiplies by the inverse of a number, which rounds twice.
  auto scale = (largest / at::full({1}, kFp8Largest, largest.options())).clamp_min(kFp8SmallestScale);
  return at::where(largest == 0, at::ones_like(scale), scale);
}

// ---- Gradient formulas

namespace {

/// What a product is of, beside x and the weight.
struct Operands {
  OptionalTensor offsets;
  /// The weight in blocks and x in rows, where they are quantised already.
  std::optional<Fp8Pair> weight, rows;
  bool native;
  /// Whether x is [gate, up] of the SwiGLU that is multiplied.
  bool is_gated;
};

/// x [R, K] times the transpose of weight [N, K]; one of each group where there are offsets.
Tensor product(const Fp8Pair &x, const Fp8Pair &weight, const OptionalTensor &bias, const OptionalTensor &offsets,
               bool native) {
  auto [xv, xs] = x;
  auto [wv, ws] = weight;
  return offsets ? fp8_grouped_product(xv, xs, wv, ws, *offsets, native) : fp8_product(xv, xs, wv, ws, bias, native);
}

void check(const char *what, const Tensor &x, const Tensor &weight, const Operands &operands) {
  int64_t width = operands.is_gated ? x.size(-1) / 2 : x.size(-1);
  TORCH_CHECK(x.scalar_type() == at::kBFloat16 && weight.scalar_type() == at::kBFloat16 && width == weight.size(-1),
              what, ": takes bfloat16, x ", x.scalar_type(), x.sizes(), " with weight ", weight.scalar_type(),
              weight.sizes());
  TORCH_CHECK(!operands.weight || std::get<0>(*operands.weight).sizes() == weight.sizes(), what, ": a weight of ",
              weight.sizes(), " with values of ", std::get<0>(*operands.weight).sizes());
  TORCH_CHECK(!operands.rows || std::get<0>(*operands.rows).sizes() == x.sizes(), what, ": x of ", x.sizes(),
              " with values of ", std::get<0>(*operands.rows).sizes());
}

/// Backward quantises a bfloat16 weight again instead of keeping it quantised: copies of all layers would stay. One that
/// is quantised already has memory that comes and goes with the weight's. A SwiGLU is computed again, too.
Tensor multiplied(const char *what, const Tensor &x, const Tensor &weight, const OptionalTensor &bias,
                  const Operands &operands) {
  check(what, x, weight, operands);
  auto forward = [&](const Record &record) -> Tensors {
    const auto &[offsets, quantized, rows_of_x, native, is_gated] = operands;
    auto [values, scales] = quantized.value_or(Fp8Pair());
    record.keep({x, quantized ? Tensor() : weight, offsets.value_or(Tensor()), values, scales});
    return {product(is_gated    ? fp8_swiglu_rows(x)
                    : rows_of_x ? *rows_of_x
                                : fp8_quantize_rows(x),
                    quantized ? *quantized : fp8_quantize_blocks(weight), bias, offsets, native)};
  };
  auto backward = [native = operands.native, is_gated = operands.is_gated](const Record &record,
                                                                           const Tensors &grads) -> Tensors {
    auto s = record.kept();
    auto offsets = s[2].defined() ? OptionalTensor(s[2]) : std::nullopt;
    auto grad = grads[0].contiguous();
    bool needs_x = record.needs(0), needs_weight = record.needs(1);
    Tensor dx, dw, db;
    Fp8Pair grad_rows, grad_columns;
    if (needs_x && needs_weight)
      std::tie(grad_rows, grad_columns) = fp8_quantize_both(grad, offsets);
    else if (needs_x)
      grad_rows = fp8_quantize_rows(grad);
    else if (needs_weight)
      grad_columns = fp8_quantize_columns(grad, offsets);
    if (needs_x) {
      {
        auto [values, scales] = s[3].defined() ? Fp8Pair(s[3], s[4]) : fp8_quantize_blocks(s[1]);
        dx = product(grad_rows, {values.mT(), scales.mT()}, std::nullopt, offsets, native);
      }
      grad_rows = {};
      if (is_gated) dx = call<Tensor(const Tensor &, const Tensor &)>("xtuner::swiglu_backward", dx, s[0]);
    }
    if (needs_weight) {
      auto [gv, gs] = grad_columns;
      auto [xv, xs] = is_gated ? fp8_swiglu_columns(s[0], offsets) : fp8_quantize_columns(s[0], offsets);
      dw = fp8_weight_gradient(gv, gs, xv, xs, offsets, at::kBFloat16, native);
    }
    if (record.needs(2)) db = grad.sum(0);
    return {dx, dw, db};
  };
  return differentiable({x, weight, bias.value_or(Tensor())}, forward, backward)[0];
}

}  // namespace

Tensor fp8_linear(const Tensor &x, const Tensor &weight, const OptionalTensor &bias,
                  const std::optional<Fp8Pair> &quantized, const std::optional<Fp8Pair> &rows, bool native) {
  Operands operands{OptionalTensor(), quantized, rows, native, /*is_gated=*/false};
  if (x.dim() == 2) return multiplied("fp8_linear", x, weight, bias, operands);
  TORCH_CHECK(!rows, "fp8_linear: rows come quantised for x of two dimensions, got ", x.sizes());
  auto shape = x.sizes().vec();
  shape.back() = weight.size(0);
  return multiplied("fp8_linear", x.reshape({-1, x.size(-1)}), weight, bias, operands).view(shape);
}

Tensor fp8_grouped_linear(const Tensor &x, const Tensor &weight, const Tensor &offsets,
                          const std::optional<Fp8Pair> &quantized, bool native) {
  Operands operands{OptionalTensor(offsets), quantized, std::nullopt, native, /*is_gated=*/false};
  return multiplied("fp8_grouped_linear", x, weight, OptionalTensor(), operands);
}

Tensor fp8_swiglu_linear(const Tensor &gate_up, const Tensor &weight, const OptionalTensor &bias,
                         const OptionalTensor &offsets, const std::optional<Fp8Pair> &quantized, bool native) {
  check_fp8_gate_up(gate_up, "fp8_swiglu_linear");
  Operands operands{offsets, quantized, std::nullopt, native, /*is_gated=*/true};
  return multiplied("fp8_swiglu_linear", gate_up.contiguous(), weight, bias, operands);
}

/// x and the residual, or x alone: the sum is x then.
Fp8Norm fp8_rms_norm(const Tensor &input, const OptionalTensor &past, const Tensor &weight, double epsilon) {
  using Made = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;
  auto x = input.contiguous();
  auto residual = past ? OptionalTensor(past->contiguous()) : std::nullopt;
  bool adds = past.has_value();
  auto forward = [&](const Record &record) -> Tensors {
    auto [sum, y, scale, values, scales] = call<Made(const Tensor &, const OptionalTensor &, const Tensor &, double)>(
        "xtuner::fp8_rms_norm", x, residual, weight, epsilon);
    record.keep({adds ? sum : x, weight, scale});
    record.without_gradients({values, scales});
    record.without_zeros();
    if (adds) return {y, values, scales, sum};
    return {y, values, scales};
  };
  auto backward = [adds](const Record &record, const Tensors &grads) -> Tensors {
    auto [dx, dw] = norm_gradients(record.kept(), grads[0], adds ? grads[3] : Tensor());
    return {dx, adds ? dx : Tensor(), dw};
  };
  auto made = differentiable({x, residual.value_or(Tensor()), weight}, forward, backward);
  return {adds ? made[3] : input, made[0], {made[1], made[2]}};
}

}  // namespace xtuner
