// Matrix products, through libtorch: cuBLAS, and CUTLASS for groups.
#include <ATen/ops/_grouped_mm.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include "../../../CTorch/operators/products/arguments.h"
#include "../arguments.h"

namespace xtuner::cuda_operators {
namespace {

Tensor product(const Tensor &a, const Tensor &b) {
  check_product(a, b);
  return at::mm(a, b);
}

/// into [m, n] += a [m, k] times b [k, n]; the sum is float32 where `into` is, inside cuBLAS.
void add_product(Tensor &into, const Tensor &a, const Tensor &b) {
  check_sum_of_product(into, a, b);
  if (into.numel() == 0 || a.size(1) == 0) return;
  if (into.scalar_type() == a.scalar_type())
    into.addmm_(a, b);
  else
    at::addmm_out(into, into, a, b, into.scalar_type());
}

Tensor linear(const Tensor &x, const Tensor &weight, const std::optional<Tensor> &bias) {
  check_linear(x, weight, bias);
  return at::linear(x, weight, bias);
}

std::tuple<Tensor, Tensor, Tensor> linear_backward(const Tensor &grad, const Tensor &x, const Tensor &weight,
                                                   bool needs_x, bool needs_weight, bool needs_bias) {
  auto g = rows_of(grad), rows = rows_of(x);
  Tensor dx, dw, db;
  if (needs_bias) db = g.sum(0);
  if (needs_x) dx = at::mm(g, weight).view(x.sizes());
  if (needs_weight) dw = at::mm(g.t(), rows);
  return {dx, dw, db};
}

// ---- Groups

/// Whether libtorch's grouped product takes rows of this many elements: multiples of 16 bytes.
bool is_whole(const Tensor &x, int64_t width) {
  return width > 0 && width * x.element_size() % 16 == 0 && reinterpret_cast<uintptr_t>(x.const_data_ptr()) % 16 == 0;
}

void check_groups(const Tensor &x, const Tensor &weight, const Tensor &offsets, const char *what) {
  TORCH_CHECK(
      x.dim() == 2 && weight.dim() == 3 && x.size(1) == weight.size(2) && x.scalar_type() == weight.scalar_type(), what,
      ": x ", x.scalar_type(), x.sizes(), " with weight ", weight.scalar_type(), weight.sizes());
  TORCH_CHECK(offsets.scalar_type() == at::kLong && offsets.is_contiguous() && offsets.numel() == weight.size(0), what,
              ": offsets must be ", weight.size(0), " contiguous int64, got ", offsets.scalar_type(), offsets.sizes());
  check_devices(what, x, weight, offsets);
  check_row_count(x.size(0), what);
}

/// Where every group ends, as libtorch takes it. That they rise to the number of rows is not checked: to look would
/// wait for the device.
Tensor ends_of(const Tensor &offsets) {
  OnDevice stream(offsets);
  auto ends = at::empty({offsets.numel()}, offsets.options().dtype(at::kInt));
  cuda::narrow_offsets(offsets.const_data_ptr<int64_t>(), ends.mutable_data_ptr<int32_t>(), offsets.numel(), stream);
  return ends;
}

/// Calls `body(group, begin, end)` for every group. Waits for the offsets: for shapes that models do not have.
template <typename Body>
void each_group(const Tensor &offsets, Body &&body) {
  auto host = offsets.cpu();
  auto ends = host.const_data_ptr<int64_t>();
  for (int64_t e = 0, begin = 0; e < host.numel(); begin = ends[e++]) body(e, begin, ends[e]);
}

Tensor grouped_linear(const Tensor &x, const Tensor &weight, const Tensor &offsets) {
  check_groups(x, weight, offsets, "grouped_linear");
  auto rows = x.contiguous(), w = weight.contiguous();
  if (rows.size(0) == 0 || w.numel() == 0) return at::zeros({x.size(0), w.size(1)}, x.options());
  if (is_whole(rows, rows.size(1)) && is_whole(w, w.size(1))) return at::_grouped_mm(rows, w.mT(), ends_of(offsets));
  auto y = at::empty({x.size(0), w.size(1)}, x.options());
  each_group(offsets, [&](int64_t e, int64_t begin, int64_t end) {
    auto out = y.slice(0, begin, end);
    if (begin < end) at::mm_out(out, rows.slice(0, begin, end), w[e].t());
  });
  return y;
}

std::tuple<Tensor, Tensor> grouped_linear_backward(const Tensor &grad, const Tensor &x, const Tensor &weight,
                                                   const Tensor &offsets) {
  check_groups(x, weight, offsets, "grouped_linear_backward");
  check_devices("grouped_linear_backward", x, grad);
  TORCH_CHECK(grad.sizes() == at::IntArrayRef({x.size(0), weight.size(1)}) && grad.is_contiguous() &&
                  grad.scalar_type() == x.scalar_type(),
              "grouped_linear_backward: gradient ", grad.sizes(), " for x ", x.sizes(), " and weight ", weight.sizes());
  auto rows = x.contiguous(), w = weight.contiguous();
  if (rows.size(0) == 0 || w.numel() == 0)
    return {at::zeros(x.sizes(), x.options()), at::zeros(weight.sizes(), weight.options())};
  if (is_whole(rows, rows.size(1)) && is_whole(grad, grad.size(1))) {
    auto ends = ends_of(offsets);
    auto dx = at::_grouped_mm(grad, w, ends), dw = at::_grouped_mm(grad.t(), rows, ends);
    // Not all devices' kernels write the gradient of a group without rows.
    OnDevice stream(x);
    cuda::clear_empty_groups(dw.mutable_data_ptr(), offsets.const_data_ptr<int64_t>(), dw.size(0),
                             dw[0].numel() * dw.element_size(), stream);
    return {dx, dw};
  }
  auto dx = at::empty(x.sizes(), x.options()), dw = at::zeros(weight.sizes(), weight.options());
  each_group(offsets, [&](int64_t e, int64_t begin, int64_t end) {
    if (begin == end) return;
    auto xe = rows.slice(0, begin, end), ge = grad.slice(0, begin, end), dxe = dx.slice(0, begin, end), dwe = dw[e];
    at::mm_out(dxe, ge, w[e]);
    at::mm_out(dwe, ge.t(), xe);
  });
  return {dx, dw};
}

}  // namespace
}  // namespace xtuner::cuda_operators

TORCH_LIBRARY_IMPL(xtuner, XTUNER_DEVICE_KEY, m) {
  using namespace xtuner::cuda_operators;
  m.impl("product", product);
  m.impl("add_product_", add_product);
  m.impl("linear", linear);
  m.impl("linear_backward", linear_backward);
  m.impl("grouped_linear", grouped_linear);
  m.impl("grouped_linear_backward", grouped_linear_backward);
}
