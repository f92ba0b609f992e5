// Gradient formulas of the operators: what each keeps for backward, and which kernel computes it.
#include <torch/csrc/autograd/custom_function.h>

#include "dispatch.h"
#include "operators.h"

namespace xtuner {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

using Pair = std::tuple<Tensor, Tensor>;

struct RMSNorm : Function<RMSNorm> {
  static Tensor forward(AutogradContext *ctx, const Tensor &x, const Tensor &weight, double epsilon) {
    auto [y, scale] = call<Pair(const Tensor &, const Tensor &, double)>("xtuner::rms_norm", x, weight, epsilon);
    ctx->save_for_backward({x, weight, scale});
    return y;
  }
  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    auto saved = ctx->get_saved_variables();
    auto [dx, dw] = call<Pair(const Tensor &, const Tensor &, const Tensor &, const Tensor &)>(
        "xtuner::rms_norm_backward", grads[0].contiguous(), saved[0], saved[1], saved[2]);
    return {dx, dw, Tensor()};
  }
};

using RotarySignature = Tensor(const Tensor &, const Tensor &, const Tensor &, bool, bool);

struct Rotary : Function<Rotary> {
  static Tensor forward(AutogradContext *ctx, const Tensor &x, const Tensor &cosine, const Tensor &sine,
                        bool interleaved) {
    ctx->save_for_backward({cosine, sine});
    ctx->saved_data["interleaved"] = interleaved;
    return call<RotarySignature>("xtuner::rotary", x, cosine, sine, interleaved, false);
  }
  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    auto saved = ctx->get_saved_variables();
    bool interleaved = ctx->saved_data["interleaved"].toBool();
    auto dx = call<RotarySignature>("xtuner::rotary", grads[0].contiguous(), saved[0], saved[1], interleaved, true);
    return {dx, Tensor(), Tensor(), Tensor()};
  }
};

struct SwiGLU : Function<SwiGLU> {
  static Tensor forward(AutogradContext *ctx, const Tensor &gate_up) {
    ctx->save_for_backward({gate_up});
    return call<Tensor(const Tensor &)>("xtuner::swiglu", gate_up);
  }
  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    auto saved = ctx->get_saved_variables();
    return {call<Tensor(const Tensor &, const Tensor &)>("xtuner::swiglu_backward", grads[0].contiguous(), saved[0])};
  }
};

struct VarlenAttention : Function<VarlenAttention> {
  static Tensor forward(AutogradContext *ctx, const Tensor &query, const Tensor &key, const Tensor &value,
                        const Tensor &bounds, double scale, int64_t window, const std::optional<Tensor> &sinks) {
    auto [out, logsumexp] = call<Pair(const Tensor &, const Tensor &, const Tensor &, const Tensor &, double, int64_t,
                                      const std::optional<Tensor> &)>("xtuner::varlen_attention", query, key, value,
                                                                      bounds, scale, window, sinks);
    ctx->save_for_backward({query, key, value, out, logsumexp, bounds, sinks.value_or(Tensor())});
    ctx->saved_data["scale"] = scale;
    ctx->saved_data["window"] = window;
    return out;
  }
  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    auto s = ctx->get_saved_variables();
    auto sinks = s[6].defined() ? std::optional<Tensor>(s[6]) : std::nullopt;
    auto [dq, dk, dv, ds] = call<std::tuple<Tensor, Tensor, Tensor, Tensor>(
        const Tensor &, const Tensor &, const Tensor &, const Tensor &, const Tensor &, const Tensor &, const Tensor &,
        double, int64_t, const std::optional<Tensor> &)>(
        "xtuner::varlen_attention_backward", grads[0].contiguous(), s[0], s[1], s[2], s[3], s[4], s[5],
        ctx->saved_data["scale"].toDouble(), ctx->saved_data["window"].toInt(), sinks);
    return {dq, dk, dv, Tensor(), Tensor(), Tensor(), ds};
  }
};

struct Linear : Function<Linear> {
  static Tensor forward(AutogradContext *ctx, const Tensor &x, const Tensor &weight,
                        const std::optional<Tensor> &bias) {
    ctx->save_for_backward({x, weight});
    ctx->saved_data["has_bias"] = bias.has_value();
    return call<Tensor(const Tensor &, const Tensor &, const std::optional<Tensor> &)>("xtuner::linear", x, weight,
                                                                                       bias);
  }
  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    auto s = ctx->get_saved_variables();
    auto [dx, dw, db] =
        call<std::tuple<Tensor, Tensor, Tensor>(const Tensor &, const Tensor &, const Tensor &, bool, bool, bool)>(
            "xtuner::linear_backward", grads[0], s[0], s[1], ctx->needs_input_grad(0), ctx->needs_input_grad(1),
            ctx->saved_data["has_bias"].toBool() && ctx->needs_input_grad(2));
    return {dx, dw, db};
  }
};

struct GroupedLinear : Function<GroupedLinear> {
  static Tensor forward(AutogradContext *ctx, const Tensor &x, const Tensor &weight, const Tensor &offsets) {
    ctx->save_for_backward({x, weight, offsets});
    return call<Tensor(const Tensor &, const Tensor &, const Tensor &)>("xtuner::grouped_linear", x, weight, offsets);
  }
  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    auto s = ctx->get_saved_variables();
    auto [dx, dw] = call<Pair(const Tensor &, const Tensor &, const Tensor &, const Tensor &)>(
        "xtuner::grouped_linear_backward", grads[0].contiguous(), s[0], s[1], s[2]);
    return {dx, dw, Tensor()};
  }
};

using RowsSignature = Tensor(const Tensor &, const Tensor &);

struct PermuteRows : Function<PermuteRows> {
  static Tensor forward(AutogradContext *ctx, const Tensor &x, const Tensor &token_of_row, const Tensor &row_of_slot) {
    ctx->save_for_backward({row_of_slot});
    return call<RowsSignature>("xtuner::permute_rows", x, token_of_row);
  }
  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    auto s = ctx->get_saved_variables();
    return {call<RowsSignature>("xtuner::sum_rows", grads[0].contiguous(), s[0]), Tensor(), Tensor()};
  }
};

struct UnpermuteRows : Function<UnpermuteRows> {
  static Tensor forward(AutogradContext *ctx, const Tensor &rows, const Tensor &weights, const Tensor &row_of_slot) {
    ctx->save_for_backward({rows, weights, row_of_slot});
    return call<Tensor(const Tensor &, const Tensor &, const Tensor &)>("xtuner::unpermute_rows", rows, weights,
                                                                        row_of_slot);
  }
  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    auto s = ctx->get_saved_variables();
    auto [drows, dweights] = call<Pair(const Tensor &, const Tensor &, const Tensor &, const Tensor &)>(
        "xtuner::unpermute_rows_backward", grads[0].contiguous(), s[0], s[1], s[2]);
    return {drows, dweights, Tensor()};
  }
};

}  // namespace

Tensor rms_norm(const Tensor &x, const Tensor &weight, double epsilon) {
  return RMSNorm::apply(x.contiguous(), weight, epsilon);
}
Tensor rotary(const Tensor &x, const Tensor &cosine, const Tensor &sine, bool interleaved) {
  return Rotary::apply(x.contiguous(), cosine, sine, interleaved);
}
Tensor swiglu(const Tensor &gate_up) { return SwiGLU::apply(gate_up.contiguous()); }
Tensor varlen_attention(const Tensor &query, const Tensor &key, const Tensor &value, const Tensor &bounds, double scale,
                        int64_t window, const std::optional<Tensor> &sinks) {
  return VarlenAttention::apply(query, key, value, bounds, scale, window, sinks);
}
Tensor linear(const Tensor &x, const Tensor &weight, const std::optional<Tensor> &bias) {
  return Linear::apply(x, weight, bias);
}
Tensor grouped_linear(const Tensor &x, const Tensor &weight, const Tensor &offsets) {
  return GroupedLinear::apply(x.contiguous(), weight, offsets);
}
Tensor permute_rows(const Tensor &x, const Tensor &token_of_row, const Tensor &row_of_slot) {
  return PermuteRows::apply(x.contiguous(), token_of_row, row_of_slot);
}
Tensor unpermute_rows(const Tensor &rows, const Tensor &weights, const Tensor &row_of_slot) {
  return UnpermuteRows::apply(rows.contiguous(), weights, row_of_slot);
}

}  // namespace xtuner
