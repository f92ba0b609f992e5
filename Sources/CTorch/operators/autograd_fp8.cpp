// Gradient formulas of linear layers with quantised operands, whose three products are of e4m3 values, and of norms that
// quantise what they make.
#include "arguments.h"
#include "autograd_norm.h"
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

/// x in rows and in columns, read once.
std::tuple<Fp8Pair, Fp8Pair> both(const Tensor &x, const OptionalTensor &offsets) {
  auto [rv, rs, cv, cs] = call<std::tuple<Tensor, Tensor, Tensor, Tensor>(const Tensor &, const OptionalTensor &)>(
      "xtuner::fp8_quantize_both", x, offsets);
  return {{rv, rs}, {cv, cs}};
}
Fp8Pair swiglu_rows(const Tensor &gate_up) { return call<Fp8Pair(const Tensor &)>("xtuner::fp8_swiglu_rows", gate_up); }
Fp8Pair swiglu_columns(const Tensor &gate_up, const OptionalTensor &offsets) {
  return call<Fp8Pair(const Tensor &, const OptionalTensor &)>("xtuner::fp8_swiglu_columns", gate_up, offsets);
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

Tensor weight_gradient(const Fp8Pair &grad, const Fp8Pair &x, const OptionalTensor &offsets, bool native) {
  auto [gv, gs] = grad;
  auto [xv, xs] = x;
  return call<Tensor(const Tensor &, const Tensor &, const Tensor &, const Tensor &, const OptionalTensor &,
                     at::ScalarType, bool)>("xtuner::fp8_weight_gradient", gv, gs, xv, xs, offsets, at::kBFloat16,
                                            native);
}

/// What a product is of, beside x and the weight.
struct Operands {
  OptionalTensor offsets;
  /// The weight in blocks and x in rows, where they are quantised already.
  std::optional<Fp8Pair> weight, rows;
  bool native;
  /// Whether x is [gate, up] of the SwiGLU that is multiplied.
  bool is_gated;
};

/// Backward quantises a bfloat16 weight again instead of keeping it quantised: copies of all layers would stay. One that
/// is quantised already has memory that comes and goes with the weight's. A SwiGLU is computed again, too.
struct Fp8Linear : Function<Fp8Linear> {
  static Tensor forward(AutogradContext *ctx, const Tensor &x, const Tensor &weight, const OptionalTensor &bias,
                        const Operands &operands) {
    const auto &[offsets, quantized, rows_of_x, native, is_gated] = operands;
    auto [values, scales] = quantized.value_or(Fp8Pair());
    ctx->save_for_backward({x, quantized ? Tensor() : weight, offsets.value_or(Tensor()), values, scales});
    ctx->saved_data["has_bias"] = bias.has_value();
    ctx->saved_data["native"] = native;
    ctx->saved_data["is_gated"] = is_gated;
    return product(is_gated    ? swiglu_rows(x)
                   : rows_of_x ? *rows_of_x
                               : rows(x),
                   quantized ? *quantized : blocks(weight), bias, offsets, native);
  }
  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    auto s = ctx->get_saved_variables();
    auto offsets = s[2].defined() ? OptionalTensor(s[2]) : std::nullopt;
    auto grad = grads[0].contiguous();
    bool native = ctx->saved_data["native"].toBool(), is_gated = ctx->saved_data["is_gated"].toBool();
    bool needs_x = ctx->needs_input_grad(0), needs_weight = ctx->needs_input_grad(1);
    Tensor dx, dw, db;
    Fp8Pair grad_rows, grad_columns;
    if (needs_x && needs_weight)
      std::tie(grad_rows, grad_columns) = both(grad, offsets);
    else if (needs_x)
      grad_rows = rows(grad);
    else if (needs_weight)
      grad_columns = columns(grad, offsets);
    if (needs_x) {
      {
        auto [values, scales] = s[3].defined() ? Fp8Pair(s[3], s[4]) : blocks(s[1]);
        dx = product(grad_rows, {values.mT(), scales.mT()}, std::nullopt, offsets, native);
      }
      grad_rows = {};
      if (is_gated) dx = call<Tensor(const Tensor &, const Tensor &)>("xtuner::swiglu_backward", dx, s[0]);
    }
    if (needs_weight)
      dw = weight_gradient(grad_columns, is_gated ? swiglu_columns(s[0], offsets) : columns(s[0], offsets), offsets,
                           native);
    if (ctx->saved_data["has_bias"].toBool() && ctx->needs_input_grad(2)) db = grad.sum(0);
    return {dx, dw, db, Tensor()};
  }
};

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

Tensor apply(const char *what, const Tensor &x, const Tensor &weight, const OptionalTensor &bias,
             const Operands &operands) {
  check(what, x, weight, operands);
  return Fp8Linear::apply(x, weight, bias, operands);
}

/// x and the residual, or x alone: the sum is x then.
struct Fp8RMSNorm : Function<Fp8RMSNorm> {
  static variable_list forward(AutogradContext *ctx, const Tensor &x, const OptionalTensor &residual,
                               const Tensor &weight, double epsilon) {
    using Made = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;
    auto [sum, y, scale, values, scales] = call<Made(const Tensor &, const OptionalTensor &, const Tensor &, double)>(
        "xtuner::fp8_rms_norm", x, residual, weight, epsilon);
    ctx->save_for_backward({residual ? sum : x, weight, scale});
    ctx->mark_non_differentiable({values, scales});
    ctx->set_materialize_grads(false);
    ctx->saved_data["adds"] = residual.has_value();
    if (residual) return {y, values, scales, sum};
    return {y, values, scales};
  }
  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    bool adds = ctx->saved_data["adds"].toBool();
    auto [dx, dw] = norm_gradients(ctx->get_saved_variables(), grads[0], adds ? grads[3] : Tensor());
    return {dx, adds ? dx : Tensor(), dw, Tensor()};
  }
};

}  // namespace

Tensor fp8_linear(const Tensor &x, const Tensor &weight, const OptionalTensor &bias,
                  const std::optional<Fp8Pair> &quantized, const std::optional<Fp8Pair> &rows, bool native) {
  Operands operands{OptionalTensor(), quantized, rows, native, /*is_gated=*/false};
  if (x.dim() == 2) return apply("fp8_linear", x, weight, bias, operands);
  TORCH_CHECK(!rows, "fp8_linear: rows come quantised for x of two dimensions, got ", x.sizes());
  auto shape = x.sizes().vec();
  shape.back() = weight.size(0);
  return apply("fp8_linear", x.reshape({-1, x.size(-1)}), weight, bias, operands).view(shape);
}

Tensor fp8_grouped_linear(const Tensor &x, const Tensor &weight, const Tensor &offsets,
                          const std::optional<Fp8Pair> &quantized, bool native) {
  Operands operands{OptionalTensor(offsets), quantized, std::nullopt, native, /*is_gated=*/false};
  return apply("fp8_grouped_linear", x, weight, OptionalTensor(), operands);
}

Tensor fp8_swiglu_linear(const Tensor &gate_up, const Tensor &weight, const OptionalTensor &bias,
                         const OptionalTensor &offsets, const std::optional<Fp8Pair> &quantized, bool native) {
  check_fp8_gate_up(gate_up, "fp8_swiglu_linear");
  Operands operands{offsets, quantized, std::nullopt, native, /*is_gated=*/true};
  return apply("fp8_swiglu_linear", gate_up.contiguous(), weight, bias, operands);
}

Fp8Norm fp8_rms_norm(const Tensor &x, const OptionalTensor &residual, const Tensor &weight, double epsilon) {
  auto added = residual ? OptionalTensor(residual->contiguous()) : std::nullopt;
  auto made = Fp8RMSNorm::apply(x.contiguous(), added, weight, epsilon);
  return {residual ? made[3] : x, made[0], {made[1], made[2]}};
}

}  // namespace xtuner
