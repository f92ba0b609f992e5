// Gradient formulas of normalisation fused with an addition before it or a rotation after it.
#include "autograd_norm.h"

#include "operators.h"

namespace xtuner {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

using Pair = std::tuple<Tensor, Tensor>;

struct AddRMSNorm : Function<AddRMSNorm> {
  static variable_list forward(AutogradContext *ctx, const Tensor &x, const Tensor &residual, const Tensor &weight,
                               double epsilon) {
    auto [sum, y, scale] =
        call<std::tuple<Tensor, Tensor, Tensor>(const Tensor &, const Tensor &, const Tensor &, double)>(
            "xtuner::add_rms_norm", x, residual, weight, epsilon);
    ctx->save_for_backward({sum, weight, scale});
    ctx->set_materialize_grads(false);
    return {sum, y};
  }
  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    auto [dx, dw] = norm_gradients(ctx->get_saved_variables(), grads[1], grads[0]);
    return {dx, dx, dw, Tensor()};
  }
};

struct NormRotary : Function<NormRotary> {
  static Tensor forward(AutogradContext *ctx, const Tensor &x, const Tensor &weight, double epsilon,
                        const Tensor &cosine, const Tensor &sine, bool interleaved) {
    auto [y, scale] = call<Pair(const Tensor &, const Tensor &, double, const Tensor &, const Tensor &, bool)>(
        "xtuner::norm_rotary", x, weight, epsilon, cosine, sine, interleaved);
    ctx->save_for_backward({x, weight, scale, cosine, sine});
    ctx->saved_data["interleaved"] = interleaved;
    return y;
  }
  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    auto s = ctx->get_saved_variables();
    auto [dx, dw] = call<Pair(const Tensor &, const Tensor &, const Tensor &, const Tensor &, const Tensor &,
                              const Tensor &, bool)>("xtuner::norm_rotary_backward", grads[0].contiguous(), s[0], s[1],
                                                     s[2], s[3], s[4], ctx->saved_data["interleaved"].toBool());
    return {dx, dw, Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace

std::tuple<Tensor, Tensor> add_rms_norm(const Tensor &x, const Tensor &residual, const Tensor &weight, double epsilon) {
  auto results = AddRMSNorm::apply(x.contiguous(), residual.contiguous(), weight, epsilon);
  return {results[0], results[1]};
}
Tensor norm_rotary(const Tensor &x, const Tensor &weight, double epsilon, const Tensor &cosine, const Tensor &sine,
                   bool interleaved) {
  bool is_dense = x.dim() == 3 && x.stride(2) == 1;
  return NormRotary::apply(is_dense ? x : x.contiguous(), weight, epsilon, cosine, sine, interleaved);
}

}  // namespace xtuner
