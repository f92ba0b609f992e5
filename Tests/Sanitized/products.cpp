// Matrix products: of linear layers, alone, and of groups of rows.
#include <ATen/ATen.h>

#include "../../Sources/CTorch/operators/dispatch.h"
#include "../../Sources/CTorch/operators/products/operators.h"
#include "support.h"

namespace sanitized {
namespace {

// Around the tiles (8 rows, 16 lanes, panels of 48 columns) and blocks (256 rows, 528 columns, 512 deep).
int64_t rows() { return one_of({0, 1, 2, 15, 16, 17, 18, 23, 31, 33, 97, 255, 257, 263}); }
int64_t columns() { return one_of({1, 2, 15, 16, 17, 31, 33, 47, 48, 49, 61, 95, 97, 131}); }
int64_t depth() { return one_of({1, 2, 3, 15, 16, 17, 31, 32, 33, 47, 63, 65, 97, 130}); }

/// The product of what the tensors hold, with sums in at least float32.
Tensor exact_product(const Tensor &a, const Tensor &b) {
  auto wide = a.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  return at::mm(a.to(wide), b.to(wide));
}

void check_linear(int64_t m, int64_t k, int64_t n, at::ScalarType type) {
  Tensors inputs = {random_view(m, k, type), random_view(n, k, type)};
  if (coin()) inputs.push_back(random({n}, type));
  // Rows of two dimensions; their gradient has no layout of its own.
  auto shaped = [&](const Tensor &x) { return m > 0 && m % 3 == 0 ? x.unflatten(0, {3, m / 3}) : x; };
  expect_equal_results(
      text("linear ", m, " x ", k, " x ", n, inputs.size() > 2 ? " bias" : ""), inputs,
      [&](const Tensors &t) {
        return Tensors{xtuner::linear(shaped(t[0]), t[1], t.size() > 2 ? std::optional(t[2]) : std::nullopt)};
      },
      [&](const Tensors &t) {
        auto y = exact_product(t[0], t[1].t()).to(type);
        return Tensors{shaped(t.size() > 2 ? y + t[2] : y)};
      });
}

void check_product(int64_t m, int64_t k, int64_t n, at::ScalarType type) {
  auto a = random_view(m, k, type), b = random_view(k, n, type);
  auto name = text("product ", m, " x ", k, " x ", n, " strides ", a.strides(), b.strides());
  auto exact = exact_product(a, b);
  expect_close(name, xtuner::call<Tensor(const Tensor &, const Tensor &)>("xtuner::product", there(a), there(b)),
               exact.to(type));
  for (auto wide : {at::kFloat, type}) {
    auto into = random({m, n}, wide);
    // Without own products, bfloat16 products are rounded before they are added.
    auto sum = (into.to(exact.scalar_type()) + exact).to(type).to(wide);
    into = there(into);
    xtuner::call<void(Tensor &, const Tensor &, const Tensor &)>("xtuner::add_product_", into, there(a), there(b));
    expect_close("add_product_ " + name, into.to(type), sum.to(type));
  }
}

void check_groups(int64_t experts, const std::vector<int64_t> &counts, at::ScalarType type) {
  std::vector<int64_t> ends;
  for (auto count : counts) ends.push_back((ends.empty() ? 0 : ends.back()) + count);
  auto offsets = at::tensor(ends, at::kLong);
  int64_t total = ends.back(), inputs = depth(), outputs = columns();
  auto weight = coin() ? random({experts, outputs, inputs}, type) : random({experts, inputs, outputs}, type).mT();
  expect_equal_results(
      text("grouped_linear ", at::IntArrayRef(counts), " x ", inputs, " x ", outputs),
      {random_view(total, inputs, type), weight},
      [&](const Tensors &t) { return Tensors{xtuner::grouped_linear(t[0], t[1], there(offsets))}; },
      [&](const Tensors &t) { return Tensors{xtuner::reference::grouped_linear(t[0], t[1], offsets)}; });
}

std::vector<int64_t> random_counts(int64_t experts) {
  std::vector<int64_t> counts(experts);
  int64_t kind = between(0, 3);
  if (kind == 0) counts[between(0, experts - 1)] = rows();  // one expert has everything
  for (auto &count : counts)
    if (kind > 0) count = kind == 1 ? between(0, 3) : one_of({0, 0, 1, 2, 15, 16, 17, 31, 61});
  return counts;
}

}  // namespace

void check_products() {
  for (int round = 0; round < 40; ++round)
    for (auto type : {at::kBFloat16, kTypes[round % 4]}) {
      check_linear(rows(), depth(), columns(), type);
      check_product(rows(), depth(), columns(), type);
      int64_t experts = one_of({1, 2, 3, 7});
      check_groups(experts, random_counts(experts), type);
    }
  // Nothing to sum over; several blocks of depth, of columns, and of rows that share a packed factor.
  for (auto type : {at::kBFloat16, at::kFloat}) {
    check_linear(17, 0, 97, type);
    check_product(19, 0, 61, type);
    check_linear(0, 0, 0, type);
    check_linear(67, 1031, 541, type);
    check_linear(2053, 34, 97, type);
    check_product(1031, 577, 53, type);
    check_product(4099, 3, 7, type);
  }
}

}  // namespace sanitized
