// CPU kernels of a router: scores, the choice of experts, and the orders of rows that follow from it.
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <utility>
#include <vector>

#include "../parallel.h"
#include "arguments.h"

#define XTUNER_KERNELS "router/kernels.h"
#include "../each_instruction_set.h"

namespace xtuner::cpu {
namespace {

using at::Tensor;

/// How often a row's scores are gone through, at least.
constexpr int64_t kPasses = 2;

std::tuple<Tensor, Tensor> router_scores(const Tensor &logits) {
  check_scores(logits, "router_scores");
  int64_t tokens = logits.size(0), experts = logits.size(1);
  auto scores = at::empty_like(logits), sums = at::empty({tokens}, logits.options());
  AT_DISPATCH_FLOATING_TYPES(logits.scalar_type(), "router_scores", [&] {
    auto kernel = XTUNER_KERNEL(softmax_range<scalar_t>);
    auto in = logits.const_data_ptr<scalar_t>();
    auto out = scores.mutable_data_ptr<scalar_t>(), out_sums = sums.mutable_data_ptr<scalar_t>();
    parallel_for(tokens, row_grain(kPasses * experts),
                 [&](int64_t begin, int64_t end) { kernel(in, out, out_sums, experts, begin, end); });
  });
  return {scores, sums};
}

Tensor router_scores_backward(const std::optional<Tensor> &grad, const std::optional<Tensor> &sum_grad,
                              const Tensor &scores) {
  int64_t tokens = scores.size(0), experts = scores.size(1);
  check_score_gradient(grad, scores, tokens * experts);
  check_score_gradient(sum_grad, scores, tokens);
  auto dx = at::empty_like(scores);
  AT_DISPATCH_FLOATING_TYPES(scores.scalar_type(), "router_scores_backward", [&] {
    auto kernel = XTUNER_KERNEL(softmax_backward_range<scalar_t>);
    auto gs = grad ? grad->const_data_ptr<scalar_t>() : nullptr;
    auto sums = sum_grad ? sum_grad->const_data_ptr<scalar_t>() : nullptr;
    auto ys = scores.const_data_ptr<scalar_t>();
    auto out = dx.mutable_data_ptr<scalar_t>();
    parallel_for(tokens, row_grain(kPasses * experts),
                 [&](int64_t begin, int64_t end) { kernel(gs, sums, ys, out, experts, begin, end); });
  });
  return dx;
}

Tensor route_top_k(const Tensor &scores, int64_t k) {
  check_scores(scores, "route_top_k");
  int64_t tokens = scores.size(0), experts = scores.size(1);
  check_choice_count(scores, k);
  auto chosen = at::empty({tokens, k}, scores.options().dtype(at::kLong));
  AT_DISPATCH_FLOATING_TYPES(scores.scalar_type(), "route_top_k", [&] {
    auto kernel = XTUNER_KERNEL(route_top_k_range<scalar_t>);
    auto in = scores.const_data_ptr<scalar_t>();
    auto out = chosen.mutable_data_ptr<int64_t>();
    parallel_for(tokens, row_grain(kPasses * experts),
                 [&](int64_t begin, int64_t end) { kernel(in, out, experts, k, begin, end); });
  });
  return chosen;
}

/// A counting sort. Blocks of tokens count their rows, and then know where each expert's begin for them.
std::tuple<Tensor, Tensor, Tensor, Tensor> expert_order(const Tensor &experts, int64_t expert_count) {
  check_chosen(experts);
  TORCH_CHECK(expert_count > 0, "expert_order: ", expert_count, " experts");
  auto contiguous = experts.contiguous();
  int64_t tokens = experts.size(0), slots = experts.size(1), count = tokens * slots;
  auto token_of_row = at::empty({count}, experts.options()), row_of_slot = at::empty_like(contiguous);
  auto counts = at::empty({expert_count}, experts.options()), offsets = at::empty_like(counts);
  auto chosen = contiguous.const_data_ptr<int64_t>();
  auto tokens_out = token_of_row.mutable_data_ptr<int64_t>(), rows_out = row_of_slot.mutable_data_ptr<int64_t>();
  auto counts_out = counts.mutable_data_ptr<int64_t>(), offsets_out = offsets.mutable_data_ptr<int64_t>();

  constexpr int64_t kBlockSlots = 16384;
  int64_t blocks = std::clamp<int64_t>(count / kBlockSlots, 1, at::get_num_threads());
  auto first_token = [&](int64_t block) { return tokens * block / blocks; };
  std::vector<int64_t> next(blocks * expert_count);
  std::vector<int64_t> wrong(blocks, count);
  parallel_for(blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b)
      for (int64_t i = first_token(b) * slots; i < first_token(b + 1) * slots && wrong[b] == count; ++i) {
        if (chosen[i] >= 0 && chosen[i] < expert_count)
          ++next[b * expert_count + chosen[i]];
        else
          wrong[b] = i;
      }
  });
  for (int64_t i : wrong)
    TORCH_CHECK(i == count, "expert_order: expert ", chosen[i], " of token ", i / slots, " is outside 0..<",
                expert_count);
  for (int64_t e = 0, row = 0; e < expert_count; ++e) {
    int64_t first = row;
    for (int64_t b = 0; b < blocks; ++b) row += std::exchange(next[b * expert_count + e], row);
    counts_out[e] = row - first;
    offsets_out[e] = row;
  }
  parallel_for(blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b)
      for (int64_t t = first_token(b); t < first_token(b + 1); ++t)
        for (int64_t i = t * slots; i < (t + 1) * slots; ++i) {
          int64_t row = next[b * expert_count + chosen[i]]++;
          rows_out[i] = row;
          tokens_out[row] = t;
        }
  });
  return {token_of_row, row_of_slot, counts, offsets};
}

}  // namespace
}  // namespace xtuner::cpu

TORCH_LIBRARY_IMPL(xtuner, CPU, m) {
  using namespace xtuner::cpu;
  m.impl("router_scores", router_scores);
  m.impl("router_scores_backward", router_scores_backward);
  m.impl("route_top_k", route_top_k);
  m.impl("expert_order", expert_order);
}
