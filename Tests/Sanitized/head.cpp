// Cross-entropy.
#include <ATen/ATen.h>

#include <limits>

#include "../../Sources/CTorch/operators/dispatch.h"
#include "../../Sources/CTorch/operators/head/operators.h"
#include "support.h"

namespace sanitized {
namespace {

using Pair = std::tuple<Tensor, Tensor>;

void check_cross_entropy(at::ScalarType type) {
  int64_t rows = one_of({0, 1, 2, 3, 17, 31});
  int64_t width = one_of({1, 2, 7, 8, 15, 16, 17, 31, 63, 64, 65, 127, 128, 129, 131, 255, 257, 1031, 8209});
  auto logits = random({rows, width}, type) * (coin() ? 1 : 30);
  if (width > 2 && coin()) logits.slice(1, 1, 2).fill_(-std::numeric_limits<double>::infinity());
  auto targets = random_indices({2 * rows}, width).slice(0, 0, std::nullopt, 2);
  auto weights = random({2 * rows}, at::kFloat).slice(0, 0, std::nullopt, 2);
  auto name = text("cross_entropy ", rows, " x ", width);
  auto mine =
      xtuner::call<Pair(const Tensor &, const Tensor &)>("xtuner::cross_entropy", there(logits), there(targets));
  auto theirs = xtuner::reference::cross_entropy(logits, targets, std::nullopt, 0);
  expect_close(name + " losses", std::get<0>(mine), std::get<0>(theirs));
  expect_close(name + " sums", std::get<1>(mine), std::get<1>(theirs));
  double z_loss = coin() ? 0 : 1e-3;
  auto changed = there(logits.clone()), expected = logits.clone();
  mine = xtuner::call<Pair(const Tensor &, const Tensor &, const Tensor &, double)>(
      "xtuner::cross_entropy_", changed, there(targets), there(weights), z_loss);
  theirs = xtuner::reference::cross_entropy(expected, targets, weights, z_loss);
  expect_close(name + "_ losses", std::get<0>(mine), std::get<0>(theirs));
  expect_close(name + "_ gradients", changed, expected);
}

}  // namespace

void check_head() {
  for (int round = 0; round < 30; ++round)
    for (auto type : kTypes) check_cross_entropy(type);
}

}  // namespace sanitized
