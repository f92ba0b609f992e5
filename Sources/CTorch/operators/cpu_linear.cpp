// CPU kernels of matrix products: our own for bfloat16 where libtorch's are slower, else libtorch's.
#include <ATen/ATen.h>
#include <torch/library.h>

#include "arguments.h"
#include "gemm_tensors.h"

namespace xtuner::cpu {
namespace {

using at::Tensor;

Tensor rows_of(const Tensor &x) { return x.dim() == 2 ? x : x.reshape({-1, x.size(-1)}); }

/// a [m, k] times b [k, n], without gradients.
Tensor product(const Tensor &a, const Tensor &b) {
  TORCH_CHECK(a.dim() == 2 && b.dim() == 2 && a.size(1) == b.size(0) && a.scalar_type() == b.scalar_type(),
              "product: a ", a.scalar_type(), a.sizes(), " times b ", b.scalar_type(), b.sizes());
  if (!takes_own_products(a, a.size(0))) return at::mm(a, b);
  auto out = at::empty({a.size(0), b.size(1)}, a.options());
  auto x = with_dense_rows(a), y = with_dense_rows(b);
  multiply({product_of(x, y, out)});
  return out;
}

/// into [m, n] += a [m, k] times b [k, n]; the sum is float32 where `into` is.
void add_product(Tensor &into, const Tensor &a, const Tensor &b) {
  TORCH_CHECK(a.dim() == 2 && b.dim() == 2 && a.size(1) == b.size(0) && into.dim() == 2 && into.is_contiguous() &&
                  into.size(0) == a.size(0) && into.size(1) == b.size(1) && a.scalar_type() == b.scalar_type(),
              "add_product_: into ", into.scalar_type(), into.sizes(), " a ", a.scalar_type(), a.sizes(), " times b ",
              b.scalar_type(), b.sizes());
  if (into.scalar_type() == a.scalar_type()) {
    into.addmm_(a, b);
  } else if (into.scalar_type() == at::kFloat && takes_own_products(a, a.size(0))) {
    auto x = with_dense_rows(a), y = with_dense_rows(b);
    auto p = product_of(x, y, into);
    p.adds = true;
    multiply({p});
  } else {
    // Some rows at a time are widened: all of `a` may be as large as `into`.
    constexpr int64_t kRows = 4096;
    auto wide = b.to(into.scalar_type());
    for (int64_t r = 0; r < a.size(0); r += kRows) {
      int64_t end = std::min(a.size(0), r + kRows);
      into.slice(0, r, end).addmm_(a.slice(0, r, end).to(into.scalar_type()), wide);
    }
  }
}

Tensor linear(const Tensor &x, const Tensor &weight, const std::optional<Tensor> &bias) {
  check_linear(x, weight, bias);
  auto rows = rows_of(x);
  if (!takes_own_products(x, rows.size(0))) return at::linear(x, weight, bias);
  auto shape = x.sizes().vec();
  shape.back() = weight.size(0);
  auto out = product(rows, weight.t());
  if (bias) out.add_(*bias);
  return out.view(shape);
}

std::tuple<Tensor, Tensor, Tensor> linear_backward(const Tensor &grad, const Tensor &x, const Tensor &weight,
                                                   bool needs_x, bool needs_weight, bool needs_bias) {
  auto g = with_dense_rows(rows_of(grad)), rows = with_dense_rows(rows_of(x)), w = with_dense_rows(weight);
  Tensor dx, dw, db;
  if (needs_bias) db = g.sum(0);
  if (!takes_own_products(x, rows.size(0))) {
    if (needs_x) dx = at::mm(g, w).view(x.sizes());
    if (needs_weight) dw = at::mm(g.t(), rows);
    return {dx, dw, db};
  }
  std::vector<Bf16Product> products;
  if (needs_x) {
    dx = at::empty(rows.sizes(), x.options());
    products.push_back(product_of(g, w, dx));
    dx = dx.view(x.sizes());
  }
  if (needs_weight) {
    dw = at::empty(weight.sizes(), weight.options());
    products.push_back(product_of(g.t(), rows, dw));
  }
  multiply(products);
  return {dx, dw, db};
}

}  // namespace
}  // namespace xtuner::cpu

TORCH_LIBRARY_IMPL(xtuner, CPU, m) {
  using namespace xtuner::cpu;
  m.impl("product", product);
  m.impl("add_product_", add_product);
  m.impl("linear", linear);
  m.impl("linear_backward", linear_backward);
}
