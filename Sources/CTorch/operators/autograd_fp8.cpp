// Gradient formulas of linear layers with quantised operands: all three products are of e4m3 values.
#include <torch/csrc/autograd/custom_function.h>

#include "dispatch.h"
#include "fp8.h"

namespace xtuner {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;
using OptionalTensor = std::optional<Tensor>;

Fp8Pair rows(const Tensor &x) { return call<Fp8Pair(const Tensor &)>("xtuner::fp8_quantize_rows", x); }
Fp8Pair blocks(const Tensor &x) { return call<Fp8Pair(const Tensor &)>("xtuner::fp8_quantize_blocks", x); }
Fp8Pair columns(const Tensor &x, const OptionalTensor &offsets) {
  return call<Fp8Pair(const Tensor &, const OptionalTensor &)>("xtuner::fp8_quantize_columns", x, offsets);
}

/// x [R, K] times the transpose of weight [N, K]; one of each group where there are offsets.
Tensor product(const Fp8Pair &x, const Fp8Pair &weight, const OptionalTensor &bias, const OptionalTensor &offsets,
               bool native) {
  auto [xv, xs] = x;
  auto [wv, ws] = weight;
  if (offsets)
    return call<Tensor(const Tensor &, const Tensor &, const Tensor &, const Tensor &, const Tensor &, bool)>(
        "xtuner::fp8_grouped_product", xv, xs, wv, ws, *offsets, native);
  return call<Tensor(const Tensor &, const Tensor &, const Tensor &, const Tensor &, const OptionalTensor &, bool)>(
      "xtuner::fp8_product", xv, xs, wv, ws, bias, native);
}

Tensor weight_gradient(const Tensor &grad, const Tensor &x, const OptionalTensor &offsets, at::ScalarType dtype,
                       bool native) {
  auto [gv, gs] = columns(grad, offsets);
  auto [xv, xs] = columns(x, offsets);
  return call<Tensor(const Tensor &, const Tensor &, const Tensor &, const Tensor &, const OptionalTensor &,
                     at::ScalarType, bool)>("xtuner::fp8_weight_gradient", gv, gs, xv, xs, offsets, dtype, native);
}

/// Backward quantises a bfloat16 weight again instead of keeping it quantised: copies of all layers would stay. One that
/// is quantised already, `values` and `scales`, has memory that comes and goes with the weight's.
struct Fp8Linear : Function<Fp8Linear> {
  static Tensor forward(AutogradContext *ctx, const Tensor &x, const Tensor &weight, const OptionalTensor &bias,
                        const OptionalTensor &offsets, const OptionalTensor &values, const OptionalTensor &scales,
                        bool native) {
    ctx->save_for_backward({x, values ? Tensor() : weight, offsets.value_or(Tensor()), values.value_or(Tensor()),
                            scales.value_or(Tensor())});
    ctx->saved_data["has_bias"] = bias.has_value();
    ctx->saved_data["native"] = native;
    return product(rows(x), values ? Fp8Pair(*values, *scales) : blocks(weight), bias, offsets, native);
  }
  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    auto s = ctx->get_saved_variables();
    auto offsets = s[2].defined() ? OptionalTensor(s[2]) : std::nullopt;
    auto grad = grads[0].contiguous();
    bool native = ctx->saved_data["native"].toBool();
    Tensor dx, dw, db;
    if (ctx->needs_input_grad(0)) {
      auto [values, scales] = s[3].defined() ? Fp8Pair(s[3], s[4]) : blocks(s[1]);
      dx = product(rows(grad), {values.mT(), scales.mT()}, std::nullopt, offsets, native);
    }
    if (ctx->needs_input_grad(1)) dw = weight_gradient(grad, s[0], offsets, at::kBFloat16, native);
    if (ctx->saved_data["has_bias"].toBool() && ctx->needs_input_grad(2)) db = grad.sum(0);
    return {dx, dw, db, Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

void check(const char *what, const Tensor &x, const Tensor &weight, const std::optional<Fp8Pair> &quantized) {
  TORCH_CHECK(
      x.scalar_type() == at::kBFloat16 && weight.scalar_type() == at::kBFloat16 && x.size(-1) == weight.size(-1), what,
      ": takes bfloat16, x ", x.scalar_type(), x.sizes(), " with weight ", weight.scalar_type(), weight.sizes());
  TORCH_CHECK(!quantized || std::get<0>(*quantized).sizes() == weight.sizes(), what, ": a weight of ", weight.sizes(),
              " with values of ", std::get<0>(*quantized).sizes());
}

Tensor apply(const Tensor &x, const Tensor &weight, const OptionalTensor &bias, const OptionalTensor &offsets,
             const std::optional<Fp8Pair> &quantized, bool native) {
  OptionalTensor values, scales;
  if (quantized) std::tie(values, scales) = *quantized;
  return Fp8Linear::apply(x, weight, bias, offsets, values, scales, native);
}

}  // namespace

Tensor fp8_linear(const Tensor &x, const Tensor &weight, const OptionalTensor &bias,
                  const std::optional<Fp8Pair> &quantized, bool native) {
  check("fp8_linear", x, weight, quantized);
  if (x.dim() == 2) return apply(x, weight, bias, OptionalTensor(), quantized, native);
  auto shape = x.sizes().vec();
  shape.back() = weight.size(0);
  return apply(x.reshape({-1, x.size(-1)}), weight, bias, OptionalTensor(), quantized, native).view(shape);
}

Tensor fp8_grouped_linear(const Tensor &x, const Tensor &weight, const Tensor &offsets,
                          const std::optional<Fp8Pair> &quantized, bool native) {
  check("fp8_grouped_linear", x, weight, quantized);
  return apply(x, weight, OptionalTensor(), OptionalTensor(offsets), quantized, native);
}

}  // namespace xtuner
