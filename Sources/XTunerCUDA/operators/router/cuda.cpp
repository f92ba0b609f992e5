// A router: scores, the choice of experts, and the orders of rows that follow from it.
#include "../../../CTorch/operators/router/arguments.h"
#include "../arguments.h"

namespace xtuner::cuda_operators {
namespace {

void check_float_scores(const Tensor &scores, const char *what) {
  check_scores(scores, what);
  TORCH_CHECK(scores.scalar_type() == at::kFloat, what, ": the CUDA kernel takes float32, not ", scores.scalar_type());
  check_row_count(scores.size(0), what);
}

std::tuple<Tensor, Tensor> router_scores(const Tensor &logits) {
  check_float_scores(logits, "router_scores");
  OnDevice stream(logits);
  auto scores = at::empty_like(logits), sums = at::empty({logits.size(0)}, logits.options());
  cuda::router_scores(logits.const_data_ptr<float>(), scores.mutable_data_ptr<float>(), sums.mutable_data_ptr<float>(),
                      logits.size(0), logits.size(1), stream);
  return {scores, sums};
}

Tensor router_scores_backward(const std::optional<Tensor> &grad, const std::optional<Tensor> &sum_grad,
                              const Tensor &scores) {
  check_float_scores(scores, "router_scores_backward");
  check_devices("router_scores_backward", scores, grad, sum_grad);
  check_score_gradient(grad, scores, scores.numel());
  check_score_gradient(sum_grad, scores, scores.size(0));
  OnDevice stream(scores);
  auto dx = at::empty_like(scores);
  cuda::router_scores_backward(float_pointer(grad), float_pointer(sum_grad), scores.const_data_ptr<float>(),
                               dx.mutable_data_ptr<float>(), scores.size(0), scores.size(1), stream);
  return dx;
}

Tensor route_top_k(const Tensor &scores, int64_t k) {
  check_float_scores(scores, "route_top_k");
  int64_t experts = scores.size(1);
  check_choice_count(scores, k);
  TORCH_CHECK(experts <= cuda::kMostExperts, "route_top_k: ", experts, " experts; the CUDA kernel takes up to ",
              cuda::kMostExperts);
  OnDevice stream(scores);
  auto chosen = at::empty({scores.size(0), k}, scores.options().dtype(at::kLong));
  cuda::route_top_k(scores.const_data_ptr<float>(), chosen.mutable_data_ptr<int64_t>(), scores.size(0), experts, k,
                    stream);
  return chosen;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> expert_order(const Tensor &experts, int64_t expert_count) {
  check_chosen(experts);
  TORCH_CHECK(expert_count > 0 && expert_count <= cuda::kMostExperts, "expert_order: ", expert_count,
              " experts; the CUDA kernel takes 1 to ", cuda::kMostExperts);
  check_row_count(experts.numel(), "expert_order");
  OnDevice stream(experts);
  auto chosen = experts.contiguous();
  int64_t tokens = experts.size(0), slots = experts.size(1), count = tokens * slots;
  auto token_of_row = at::empty({count}, experts.options()),
       row_of_slot = at::empty({tokens, slots}, experts.options());
  auto counts = at::empty({expert_count}, experts.options()), offsets = at::empty_like(counts);
  int64_t chunk = cuda::order_chunk(count), chunks = (count + chunk - 1) / chunk;
  auto counters = at::empty({chunks, expert_count}, experts.options().dtype(at::kInt));
  cuda::expert_order(chosen.const_data_ptr<int64_t>(), token_of_row.mutable_data_ptr<int64_t>(),
                     row_of_slot.mutable_data_ptr<int64_t>(), counts.mutable_data_ptr<int64_t>(),
                     offsets.mutable_data_ptr<int64_t>(), counters.mutable_data_ptr<int32_t>(), tokens, slots,
                     expert_count, stream);
  return {token_of_row, row_of_slot, counts, offsets};
}

}  // namespace
}  // namespace xtuner::cuda_operators

TORCH_LIBRARY_IMPL(xtuner, XTUNER_DEVICE_KEY, m) {
  using namespace xtuner::cuda_operators;
  m.impl("router_scores", router_scores);
  m.impl("router_scores_backward", router_scores_backward);
  m.impl("route_top_k", route_top_k);
  m.impl("expert_order", expert_order);
}
