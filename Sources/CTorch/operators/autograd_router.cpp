// Gradient formula of a router's scores.
#include <torch/csrc/autograd/custom_function.h>

#include "dispatch.h"
#include "operators.h"

namespace xtuner {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

struct RouterScores : Function<RouterScores> {
  static variable_list forward(AutogradContext *ctx, const Tensor &logits) {
    auto [scores, sums] = call<std::tuple<Tensor, Tensor>(const Tensor &)>("xtuner::router_scores", logits);
    ctx->save_for_backward({scores});
    ctx->set_materialize_grads(false);
    return {scores, sums};
  }
  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    auto optional = [](const Tensor &g) { return g.defined() ? std::optional<Tensor>(g.contiguous()) : std::nullopt; };
    return {call<Tensor(const std::optional<Tensor> &, const std::optional<Tensor> &, const Tensor &)>(
        "xtuner::router_scores_backward", optional(grads[0]), optional(grads[1]), ctx->get_saved_variables()[0])};
  }
};

}  // namespace

std::tuple<Tensor, Tensor> router_scores(const Tensor &logits) {
  auto results = RouterScores::apply(logits.contiguous());
  return {results[0], results[1]};
}

}  // namespace xtuner
