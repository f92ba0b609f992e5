// Gradient formulas of normalisation fused with an addition before it.
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
    // Where nothing reads the norm, the sum's gradient is all there is.
    if (!grads[1].defined()) return {grads[0], grads[0], Tensor(), Tensor()};
    auto saved = ctx->get_saved_variables();
    auto direct = grads[0].defined() ? std::optional<Tensor>(grads[0].contiguous()) : std::nullopt;
    auto [dx, dw] =
        call<Pair(const Tensor &, const std::optional<Tensor> &, const Tensor &, const Tensor &, const Tensor &)>(
            "xtuner::add_rms_norm_backward", grads[1].contiguous(), direct, saved[0], saved[1], saved[2]);
    return {dx, dx, dw, Tensor()};
  }
};

}  // namespace

std::tuple<Tensor, Tensor> add_rms_norm(const Tensor &x, const Tensor &residual, const Tensor &weight, double epsilon) {
  auto results = AddRMSNorm::apply(x.contiguous(), residual.contiguous(), weight, epsilon);
  return {results[0], results[1]};
}

}  // namespace xtuner
