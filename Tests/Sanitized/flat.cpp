// The optimizer's step, squared sums, gradients of an embedding.
#include <ATen/ATen.h>

#include <cmath>

#include "../../Sources/CTorch/operators/dispatch.h"
#include "support.h"

namespace sanitized {
namespace {

void check_adamw() {
  int64_t count = one_of({0, 1, 15, 16, 17, 31, 257, 16383, 16384, 16385, 32771}), step = between(1, 1000);
  auto type = coin() ? at::kBFloat16 : at::kHalf;
  // All start at an odd address.
  auto numbers = [&] { return random({count + 1}, at::kFloat).narrow(0, 1, count); };
  auto p = numbers(), g = coin() ? numbers() : numbers().to(at::kBFloat16), m = numbers(), v = numbers().abs_();
  auto copy = coin() ? std::optional(random({count + 1}, type).narrow(0, 1, count)) : std::nullopt;
  double rate = 1e-2, beta1 = 0.9, beta2 = 0.98, epsilon = 1e-6, decay = 0.1, factor = 0.7;
  auto g2 = g.to(at::kFloat) * factor, m2 = m * beta1 + g2 * (1 - beta1), v2 = v * beta2 + g2 * g2 * (1 - beta2);
  auto root = (v2 / (1 - std::pow(beta2, step))).sqrt() + epsilon;
  auto p2 = p * (1 - rate * decay) - rate / (1 - std::pow(beta1, step)) * m2 / root;
  using Signature = void(const Tensor &, const Tensor &, const Tensor &, const Tensor &, const std::optional<Tensor> &,
                         double, double, double, double, double, int64_t, double);
  p = there(p), g = there(g), m = there(m), v = there(v);
  if (copy) copy = there(*copy);
  xtuner::call<Signature>("xtuner::adamw_", p, g, m, v, copy, rate, beta1, beta2, epsilon, decay, step, factor);
  auto name = text("adamw_ ", count, " step ", step);
  expect_close(name + " parameters", p, p2);
  expect_close(name + " first moment", m, m2);
  expect_close(name + " second moment", v, v2);
  if (copy) expect_close(name + " copy", *copy, p2.to(type));
}

/// Every result is within one digit of the float32 step.
void check_adamw_rounded() {
  int64_t count = one_of({0, 1, 15, 16, 17, 31, 257, 16383, 16384, 16385, 32771}), step = between(1, 1000);
  auto type = coin() ? at::kBFloat16 : at::kFloat;
  auto numbers = [&](at::ScalarType type) { return random({count + 1}, type).narrow(0, 1, count); };
  auto p = numbers(at::kBFloat16), m = numbers(at::kBFloat16), v = numbers(at::kBFloat16).abs_(), g = numbers(type);
  double rate = 1e-2, beta1 = 0.9, beta2 = 0.98, epsilon = 1e-6, decay = 0.1, factor = 0.7;
  auto g2 = g.to(at::kFloat) * factor;
  auto m2 = m.to(at::kFloat) * beta1 + g2 * (1 - beta1), v2 = v.to(at::kFloat) * beta2 + g2 * g2 * (1 - beta2);
  auto root = (v2 / (1 - std::pow(beta2, step))).sqrt() + epsilon;
  auto p2 = p.to(at::kFloat) * (1 - rate * decay) - rate / (1 - std::pow(beta1, step)) * m2 / root;
  using Signature = void(const Tensor &, const Tensor &, const Tensor &, const Tensor &, double, double, double, double,
                         double, int64_t, double, int64_t, int64_t, int64_t, int64_t, int64_t);
  p = there(p), g = there(g), m = there(m), v = there(v);
  xtuner::call<Signature>("xtuner::adamw_rounded_", p, g, m, v, rate, beta1, beta2, epsilon, decay, step, factor,
                          int64_t(7), int64_t(1) << 40, int64_t(between(0, 40)), int64_t(between(1, 70)),
                          coin() ? int64_t(0) : int64_t(97));
  auto name = text("adamw_rounded_ ", count, " step ", step);
  expect_close(name + " parameters", p, p2.to(at::kBFloat16));
  expect_close(name + " first moment", m, m2.to(at::kBFloat16));
  expect_close(name + " second moment", v, v2.to(at::kBFloat16));
}

void check_sums(at::ScalarType type) {
  int64_t count = one_of({0, 1, 7, 8, 9, 15, 16, 17, 16383, 16384, 16385, 49157});
  auto x = random({count + 1}, type).narrow(0, 1, count);
  expect_close(text("squared_sum ", count), xtuner::call<Tensor(const Tensor &)>("xtuner::squared_sum", there(x)),
               x.to(at::kDouble).square().sum());
  if (type == at::kDouble) return;
  int64_t rows = one_of({0, 1, 2, 17, 131, 1031}), targets = between(1, 9);
  int64_t width = one_of({0, 1, 15, 16, 17, 31, 32, 33, 63, 65, 257});
  auto into = random({targets, width}, at::kFloat), added = random_view(rows, width, type);
  auto indices = random_indices({rows}, targets);
  auto expected = into.to(at::kDouble).index_add(0, indices, added.to(at::kDouble)).to(at::kFloat);
  into = there(into);
  xtuner::call<void(const Tensor &, const Tensor &, const Tensor &)>("xtuner::add_rows_", into, there(added),
                                                                     there(indices));
  expect_close(text("add_rows_ ", rows, " x ", width, " to ", targets), into, expected);
}

}  // namespace

void check_flat() {
  for (int round = 0; round < 30; ++round) {
    for (auto type : kTypes) check_sums(type);
    check_adamw();
    check_adamw_rounded();
  }
}

}  // namespace sanitized
