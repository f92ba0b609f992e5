// Activation, and rows between the order of tokens and the order of experts.
#include <ATen/ATen.h>

#include "../../Sources/CTorch/operators/router/operators.h"
#include "../../Sources/CTorch/operators/rows/operators.h"
#include "support.h"

namespace sanitized {
namespace {

namespace reference = xtuner::reference;

int64_t row_count() { return one_of({0, 1, 2, 3, 7, 63, 64, 65, 127, 129, 193}); }
int64_t token_count() { return one_of({0, 1, 2, 3, 17, 31, 127, 257, 1031}); }
int64_t width() { return one_of({1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 61, 64, 127, 257, 1024}); }

void check_swiglu(at::ScalarType type) {
  int64_t rows = row_count(), columns = coin() ? width() : between(0, 70);
  // Small gates and such whose exponentials overflow float32.
  auto x = random_view(rows, 2 * columns, type) * (coin() ? 1 : 60);
  expect_equal_results(
      text("swiglu ", rows, " x ", columns), {x}, [](const Tensors &t) { return Tensors{xtuner::swiglu(t[0])}; },
      [](const Tensors &t) { return Tensors{reference::swiglu(t[0])}; });
}

/// Rows in the order of a choice of experts, their sums by tokens, and the gradients of both.
void check_orders(int64_t tokens, int64_t slots, int64_t experts, bool one_expert) {
  if (tokens * slots > 3000) return;
  auto chosen =
      one_expert ? at::full({tokens, slots}, experts - 1, at::kLong) : random_indices({slots, tokens}, experts).t();
  auto [token_of_row, row_of_slot, counts, offsets] = reference::expert_order(chosen, experts);
  auto name = text(tokens, " x ", slots, " of ", experts, one_expert ? " one expert" : "");
  int64_t columns = one_of({0, 1}) ? width() : between(0, 40);
  for (auto type : kTypes) {
    expect_equal_results(
        text("permute_rows ", name, " x ", columns), {random_view(tokens, columns, type)},
        [&, token_of_row = token_of_row, row_of_slot = row_of_slot](const Tensors &t) {
          return Tensors{xtuner::permute_rows(t[0], there(token_of_row), there(row_of_slot))};
        },
        [token_of_row = token_of_row](const Tensors &t) {
          return Tensors{reference::permute_rows(t[0], token_of_row)};
        });
    // Some rows more than slots: those have no gradient.
    int64_t more = coin() ? 0 : 3;
    expect_equal_results(
        text("unpermute_rows ", name, " x ", columns, " and ", more),
        {random_view(tokens * slots + more, columns, type), random_view(tokens, slots, at::kFloat)},
        [row_of_slot = row_of_slot](const Tensors &t) {
          return Tensors{xtuner::unpermute_rows(t[0], t[1], there(row_of_slot))};
        },
        [row_of_slot = row_of_slot](const Tensors &t) {
          return Tensors{reference::unpermute_rows(t[0], t[1], row_of_slot)};
        });
  }
}

}  // namespace

void check_rows() {
  for (int round = 0; round < 25; ++round) {
    for (auto type : kTypes) check_swiglu(type);
    if (round % 2 == 0) check_orders(token_count(), between(1, 8), one_of({1, 2, 7, 31, 128}), round % 8 == 0);
  }
}

}  // namespace sanitized
