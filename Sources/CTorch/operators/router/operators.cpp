// Schemas, gradient formulas and composite references of a router.
#include "operators.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/bincount.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/floor_divide.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/sort.h>
#include <torch/library.h>

#include "../dispatch.h"
#include "../formula.h"

TORCH_LIBRARY_FRAGMENT(xtuner, m) {
  m.def("router_scores(Tensor logits) -> (Tensor, Tensor)");
  m.def("router_scores_backward(Tensor? grad, Tensor? sum_grad, Tensor scores) -> Tensor");
  m.def("route_top_k(Tensor scores, int k) -> Tensor");
  m.def("expert_order(Tensor experts, int expert_count) -> (Tensor, Tensor, Tensor, Tensor)");
}

namespace xtuner {

using at::Tensor;
using Pair = std::tuple<Tensor, Tensor>;

Pair router_scores(const Tensor &input) {
  using Backward = Tensor(const std::optional<Tensor> &, const std::optional<Tensor> &, const Tensor &);
  auto logits = input.contiguous();
  auto forward = [&](const Record &record) -> Tensors {
    auto [scores, sums] = call<Pair(const Tensor &)>("xtuner::router_scores", logits);
    record.keep({scores});
    record.without_zeros();
    return {scores, sums};
  };
  auto backward = [](const Record &record, const Tensors &grads) -> Tensors {
    auto optional = [](const Tensor &g) { return g.defined() ? std::optional<Tensor>(g.contiguous()) : std::nullopt; };
    return {call<Backward>("xtuner::router_scores_backward", optional(grads[0]), optional(grads[1]), record.kept()[0])};
  };
  auto results = differentiable({logits}, forward, backward);
  return {results[0], results[1]};
}

Tensor route_top_k(const Tensor &scores, int64_t k) {
  return call<Tensor(const Tensor &, int64_t)>("xtuner::route_top_k", scores.contiguous(), k);
}

std::tuple<Tensor, Tensor, Tensor, Tensor> expert_order(const Tensor &experts, int64_t expert_count) {
  return call<std::tuple<Tensor, Tensor, Tensor, Tensor>(const Tensor &, int64_t)>("xtuner::expert_order", experts,
                                                                                   expert_count);
}

}  // namespace xtuner

// ---- Composite references

namespace xtuner::reference {

std::tuple<at::Tensor, at::Tensor> router_scores(const at::Tensor &logits) {
  return {at::softmax(logits, -1), at::logsumexp(logits, -1)};
}

at::Tensor route_top_k(const at::Tensor &scores, int64_t k) {
  auto order = std::get<1>(at::sort(scores, /*stable=*/true, -1, /*descending=*/true));
  return order.slice(-1, 0, k).contiguous();
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> expert_order(const at::Tensor &experts,
                                                                        int64_t expert_count) {
  auto flat = experts.flatten();
  auto order = at::argsort(flat, /*stable=*/true, 0, /*descending=*/false);
  auto row_of_slot = at::empty_like(order).scatter_(0, order, at::arange(order.numel(), order.options()));
  auto counts = at::bincount(flat, {}, expert_count);
  return {at::floor_divide(order, std::max<int64_t>(experts.size(1), 1)), row_of_slot.view(experts.sizes()), counts,
          counts.cumsum(0)};
}

}  // namespace xtuner::reference
