// CPU kernels of matrix products, alone, of linear layers and of groups of rows: our own for bfloat16 where libtorch's are
// slower, else libtorch's.
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <torch/library.h>

#include <vector>

#include "../element_types.h"
#include "../parallel.h"
#include "arguments.h"
#include "operands.h"

#define XTUNER_KERNELS "products/kernels.h"
#include "../each_instruction_set.h"

namespace xtuner::cpu {
namespace {

using at::Tensor;

/// a [m, k] times b [k, n], without gradients.
Tensor product(const Tensor &a, const Tensor &b) {
  check_product(a, b);
  if (!takes_own_products(a, a.size(0))) return at::mm(a, b);
  auto out = at::empty({a.size(0), b.size(1)}, a.options());
  auto x = with_dense_rows(a), y = with_dense_rows(b);
  multiply({product_of(x, y, out)});
  return out;
}

/// into [m, n] += a [m, k] times b [k, n]; the sum is float32 where `into` is.
void add_product(Tensor &into, const Tensor &a, const Tensor &b) {
  check_sum_of_product(into, a, b);
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

// ---- Groups of rows

/// The end of every group on the host, checked to be rising and to end at the last row.
const int64_t *checked_ends(const Tensor &offsets, int64_t groups, int64_t rows, const char *what) {
  TORCH_CHECK(offsets.scalar_type() == at::kLong && offsets.is_contiguous() && offsets.numel() == groups, what,
              ": offsets must be ", groups, " contiguous int64, got ", offsets.scalar_type(), offsets.sizes());
  auto ends = offsets.const_data_ptr<int64_t>();
  for (int64_t g = 0, previous = 0; g < groups; previous = ends[g++])
    TORCH_CHECK(ends[g] >= previous, what, ": offsets fall from ", previous, " to ", ends[g], " at group ", g);
  TORCH_CHECK((groups == 0 ? 0 : ends[groups - 1]) == rows, what, ": offsets end at ",
              groups == 0 ? 0 : ends[groups - 1], ", not at the ", rows, " rows");
  return ends;
}

/// Calls `body(group, begin, end)` for every group. A group with more than a thread's share of the rows has all
/// threads to itself; of the others, each thread computes one at a time.
template <typename Body>
void each_group(const int64_t *ends, int64_t groups, Body &&body) {
  int64_t threads = at::get_num_threads(), total = groups == 0 ? 0 : ends[groups - 1];
  std::vector<int64_t> small;
  for (int64_t e = 0; e < groups; ++e) {
    int64_t begin = e == 0 ? 0 : ends[e - 1];
    if (threads > 1 && (ends[e] - begin) * threads <= total)
      small.push_back(e);
    else
      body(e, begin, ends[e]);
  }
  parallel_items(static_cast<int64_t>(small.size()), threads, [&](int64_t item) {
    // The dispatcher's state is of the thread: no kernel below records gradients.
    at::AutoDispatchBelowADInplaceOrView below;
    int64_t e = small[item];
    body(e, e == 0 ? 0 : ends[e - 1], ends[e]);
  });
}

/// Rows of a group, if all have as many.
int64_t mean_rows(const Tensor &x, const Tensor &weight) { return x.size(0) / std::max<int64_t>(weight.size(0), 1); }

Tensor grouped_linear(const Tensor &x, const Tensor &weight, const Tensor &offsets) {
  TORCH_CHECK(
      x.dim() == 2 && weight.dim() == 3 && x.size(1) == weight.size(2) && x.scalar_type() == weight.scalar_type(),
      "grouped_linear: x ", x.scalar_type(), x.sizes(), " with weight ", weight.scalar_type(), weight.sizes());
  auto ends = checked_ends(offsets, weight.size(0), x.size(0), "grouped_linear");
  auto y = at::empty({x.size(0), weight.size(1)}, x.options());
  if (takes_own_products(x, mean_rows(x, weight))) {
    auto w = weight.contiguous();
    auto rows = x.contiguous();
    int64_t inputs = w.size(2), outputs = w.size(1);
    auto from = rows.const_data_ptr<c10::BFloat16>(), matrix = w.const_data_ptr<c10::BFloat16>();
    auto to = y.mutable_data_ptr<c10::BFloat16>();
    std::vector<Bf16Product> products;
    for (int64_t e = 0, begin = 0; e < weight.size(0); begin = ends[e++])
      products.push_back({ends[e] - begin,
                          outputs,
                          inputs,
                          {from + begin * inputs, inputs, false},
                          {matrix + e * outputs * inputs, inputs, true},
                          to + begin * outputs,
                          nullptr,
                          outputs});
    multiply(products);
    return y;
  }
  each_group(ends, weight.size(0), [&](int64_t e, int64_t begin, int64_t end) {
    if (begin == end) return;
    auto out = y.slice(0, begin, end);
    at::mm_out(out, x.slice(0, begin, end), weight[e].t());
  });
  return y;
}

void outer_products_into(Tensor &dweight, const Tensor &grad, const Tensor &x) {
  XTUNER_DISPATCH(x, "grouped_linear_backward", [&] {
    auto kernel = XTUNER_KERNEL(outer_products<scalar_t>);
    std::vector<at::opmath_type<scalar_t>> columns(grad.numel());
    kernel(grad.const_data_ptr<scalar_t>(), x.const_data_ptr<scalar_t>(), dweight.mutable_data_ptr<scalar_t>(),
           columns.data(), x.size(0), dweight.size(0), dweight.size(1));
  });
}

std::tuple<Tensor, Tensor> grouped_linear_backward(const Tensor &grad, const Tensor &x, const Tensor &weight,
                                                   const Tensor &offsets) {
  TORCH_CHECK(grad.sizes() == at::IntArrayRef({x.size(0), weight.size(1)}) && grad.is_contiguous() &&
                  x.is_contiguous() && grad.scalar_type() == x.scalar_type(),
              "grouped_linear_backward: gradient ", grad.scalar_type(), grad.sizes(), " for x ", x.sizes(),
              " and weight ", weight.sizes());
  auto ends = checked_ends(offsets, weight.size(0), x.size(0), "grouped_linear_backward");
  auto dx = at::empty_like(x);
  auto dw = at::empty(weight.sizes(), weight.options());
  if (takes_own_products(x, mean_rows(x, weight))) {
    auto w = weight.contiguous();
    int64_t inputs = w.size(2), outputs = w.size(1);
    auto gradients = grad.const_data_ptr<c10::BFloat16>(), rows = x.const_data_ptr<c10::BFloat16>(),
         matrix = w.const_data_ptr<c10::BFloat16>();
    auto to_x = dx.mutable_data_ptr<c10::BFloat16>(), to_w = dw.mutable_data_ptr<c10::BFloat16>();
    std::vector<Bf16Product> products;
    for (int64_t e = 0, begin = 0; e < weight.size(0); begin = ends[e++]) {
      auto g = gradients + begin * outputs, in = rows + begin * inputs;
      int64_t count = ends[e] - begin, place = e * outputs * inputs;
      products.push_back({count,
                          inputs,
                          outputs,
                          {g, outputs, false},
                          {matrix + place, inputs, false},
                          to_x + begin * inputs,
                          nullptr,
                          inputs});
      products.push_back(
          {outputs, inputs, count, {g, outputs, true}, {in, inputs, false}, to_w + place, nullptr, inputs});
    }
    multiply(products);
    return {dx, dw};
  }
  each_group(ends, weight.size(0), [&](int64_t e, int64_t begin, int64_t end) {
    auto dwe = dw[e];
    if (begin == end) {
      dwe.zero_();
      return;
    }
    auto xe = x.slice(0, begin, end), ge = grad.slice(0, begin, end), dxe = dx.slice(0, begin, end);
    at::mm_out(dxe, ge, weight[e]);
    if (end - begin <= kFewRows)
      outer_products_into(dwe, ge, xe);
    else
      at::mm_out(dwe, ge.t(), xe);
  });
  return {dx, dw};
}

}  // namespace
}  // namespace xtuner::cpu

TORCH_LIBRARY_IMPL(xtuner, CPU, m) {
  using namespace xtuner::cpu;
  m.impl("product", product);
  m.impl("add_product_", add_product);
  m.impl("linear", linear);
  m.impl("linear_backward", linear_backward);
  m.impl("grouped_linear", grouped_linear);
  m.impl("grouped_linear_backward", grouped_linear_backward);
}
