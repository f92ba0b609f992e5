// The router: scores, the choice of experts, and the orders of rows that follow from it.
#include <ATen/ATen.h>

#include <limits>

#include "../../Sources/CTorch/operators/dispatch.h"
#include "../../Sources/CTorch/operators/router/operators.h"
#include "support.h"

namespace sanitized {
namespace {

namespace reference = xtuner::reference;

int64_t token_count() { return one_of({0, 1, 2, 3, 17, 31, 127, 257, 1031}); }
int64_t width() { return one_of({1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 61, 130, 257, 1024}); }

void check_scores(at::ScalarType type) {
  int64_t tokens = token_count(), experts = width();
  auto logits = random_view(tokens, experts, type);
  auto name = text(tokens, " x ", experts);
  for (const auto &is_used : {std::vector<bool>{true, true}, {true, false}, {false, true}})
    expect_equal_results(
        "router_scores " + name, {logits},
        [](const Tensors &t) {
          auto [scores, sums] = xtuner::router_scores(t[0]);
          return Tensors{scores, sums};
        },
        [](const Tensors &t) {
          auto [scores, sums] = reference::router_scores(t[0]);
          return Tensors{scores, sums};
        },
        is_used);
  // Rounded scores have equals; NaN comes first.
  auto scores = (logits.contiguous() * 2).round();
  if (coin() && tokens > 0) scores[tokens - 1][experts - 1] = std::numeric_limits<float>::quiet_NaN();
  for (int64_t k : {int64_t(1), between(1, experts), experts})
    expect_close(text("route_top_k ", name, " k ", k),
                 xtuner::call<Tensor(const Tensor &, int64_t)>("xtuner::route_top_k", there(scores), k),
                 reference::route_top_k(scores, k));
}

/// Rows in the order of experts.
void check_orders(int64_t tokens, int64_t slots, int64_t experts, bool one_expert) {
  auto chosen =
      one_expert ? at::full({tokens, slots}, experts - 1, at::kLong) : random_indices({slots, tokens}, experts).t();
  auto name = text(tokens, " x ", slots, " of ", experts, one_expert ? " one expert" : "");
  using Four = std::tuple<Tensor, Tensor, Tensor, Tensor>;
  auto mine = xtuner::call<Four(const Tensor &, int64_t)>("xtuner::expert_order", there(chosen), experts);
  auto theirs = reference::expert_order(chosen, experts);
  auto [token_of_row, row_of_slot, counts, offsets] = mine;
  expect_close("expert_order tokens " + name, token_of_row, std::get<0>(theirs));
  expect_close("expert_order rows " + name, row_of_slot, std::get<1>(theirs));
  expect_close("expert_order counts " + name, counts, std::get<2>(theirs));
  expect_close("expert_order offsets " + name, offsets, std::get<3>(theirs));
}

}  // namespace

void check_router() {
  for (int round = 0; round < 12; ++round) {
    check_scores(at::kFloat);
    if (kHasDoubles) check_scores(at::kDouble);
    check_orders(token_count(), between(1, 8), one_of({1, 2, 7, 31, 128}), round % 4 == 0);
  }
  // Several blocks of tokens.
  for (bool one_expert : {false, true}) check_orders(20011, 3, 61, one_expert);
}

}  // namespace sanitized
