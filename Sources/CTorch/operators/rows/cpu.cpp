// CPU kernels of activation, and those that move rows between the order of tokens and the order of experts.
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros_like.h>
#include <torch/library.h>

#include <type_traits>
#include <vector>

#include "../element_types.h"
#include "../parallel.h"
#include "arguments.h"

#define XTUNER_KERNELS "rows/kernels.h"
#include "../each_instruction_set.h"

namespace xtuner::cpu {
namespace {

using at::Tensor;

Tensor swiglu(const Tensor &gate_up) {
  TORCH_CHECK(gate_up.dim() == 2 && gate_up.size(1) % 2 == 0, "swiglu: expected [rows, 2 x width], got ",
              gate_up.sizes());
  int64_t rows = gate_up.size(0), width = gate_up.size(1) / 2;
  auto y = at::empty({rows, width}, gate_up.options());
  XTUNER_DISPATCH(gate_up, "swiglu", [&] {
    auto kernel = XTUNER_KERNEL(swiglu_range<scalar_t>);
    auto in = gate_up.const_data_ptr<scalar_t>();
    auto out = y.mutable_data_ptr<scalar_t>();
    parallel_for(rows, row_grain(width), [&](int64_t begin, int64_t end) { kernel(in, out, width, begin, end); });
  });
  return y;
}

Tensor swiglu_backward(const Tensor &grad, const Tensor &gate_up) {
  int64_t rows = gate_up.size(0), width = gate_up.size(1) / 2;
  TORCH_CHECK(grad.sizes() == at::IntArrayRef({rows, width}) && grad.scalar_type() == gate_up.scalar_type(),
              "swiglu_backward: gradient ", grad.scalar_type(), grad.sizes(), " for ", gate_up.scalar_type(),
              gate_up.sizes());
  auto dx = at::empty_like(gate_up);
  XTUNER_DISPATCH(gate_up, "swiglu_backward", [&] {
    auto kernel = XTUNER_KERNEL(swiglu_backward_range<scalar_t>);
    auto in = gate_up.const_data_ptr<scalar_t>(), gs = grad.const_data_ptr<scalar_t>();
    auto out = dx.mutable_data_ptr<scalar_t>();
    parallel_for(rows, row_grain(width), [&](int64_t begin, int64_t end) { kernel(gs, in, out, width, begin, end); });
  });
  return dx;
}

/// The index of every row, checked: a wrong one would read or write anywhere.
const int64_t *checked_indices(const Tensor &indices, int64_t dim, int64_t limit, const char *what) {
  check_row_indices(indices, dim, what);
  auto data = indices.const_data_ptr<int64_t>();
  int64_t count = indices.numel();
  bool is_outside = false;  // without a branch in the loop
  for (int64_t i = 0; i < count; ++i) is_outside |= static_cast<uint64_t>(data[i]) >= static_cast<uint64_t>(limit);
  for (int64_t i = 0; is_outside && i < count; ++i)
    TORCH_CHECK(data[i] >= 0 && data[i] < limit, what, ": index ", data[i], " at ", i, " is outside 0..<", limit);
  return data;
}

Tensor permute_rows(const Tensor &x, const Tensor &token_of_row) {
  check_rows(x, "permute_rows");
  int64_t rows = token_of_row.numel(), width = x.size(1);
  auto indices = checked_indices(token_of_row, 1, x.size(0), "permute_rows");
  auto y = at::empty({rows, width}, x.options());
  int64_t bytes = width * x.element_size();
  if (bytes == 0) return y;  // empty tensors have no memory to copy between
  auto in = static_cast<const char *>(x.const_data_ptr());
  auto out = static_cast<char *>(y.mutable_data_ptr());
  parallel_for(rows, row_grain(width), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) std::memcpy(out + r * bytes, in + indices[r] * bytes, bytes);
  });
  return y;
}

/// The sum of every token's rows, weighted if there are weights.
Tensor sum_slots(const Tensor &rows, const float *weights, const Tensor &row_of_slot, const char *what) {
  check_rows(rows, what);
  auto indices = checked_indices(row_of_slot, 2, rows.size(0), what);
  int64_t tokens = row_of_slot.size(0), slots = row_of_slot.size(1), width = rows.size(1);
  auto y = at::empty({tokens, width}, rows.options());
  XTUNER_DISPATCH(rows, "sum_rows", [&] {
    auto kernel = XTUNER_KERNEL(sum_slots_range<scalar_t>);
    auto in = rows.const_data_ptr<scalar_t>();
    auto out = y.mutable_data_ptr<scalar_t>();
    parallel_for(tokens, row_grain(width * slots),
                 [&](int64_t begin, int64_t end) { kernel(in, weights, indices, out, slots, width, begin, end); });
  });
  return y;
}

Tensor sum_rows(const Tensor &rows, const Tensor &row_of_slot) {
  return sum_slots(rows, nullptr, row_of_slot, "sum_rows");
}

Tensor unpermute_rows(const Tensor &rows, const Tensor &weights, const Tensor &row_of_slot) {
  check_mixing_weights(weights, row_of_slot, "unpermute_rows");
  auto mixing = weights.contiguous();
  return sum_slots(rows, mixing.const_data_ptr<float>(), row_of_slot, "unpermute_rows");
}

/// Each row belongs to one slot at most: its gradient is written once, whichever thread does it.
bool covers_all_rows(const int64_t *indices, int64_t count, int64_t rows) {
  std::vector<uint8_t> is_taken(rows);
  for (int64_t i = 0; i < count; ++i) {
    TORCH_CHECK(!is_taken[indices[i]], "unpermute_rows_backward: row ", indices[i], " has two slots");
    is_taken[indices[i]] = 1;
  }
  return count == rows;
}

std::tuple<Tensor, Tensor> unpermute_rows_backward(const Tensor &grad, const Tensor &rows, const Tensor &weights,
                                                   const Tensor &row_of_slot) {
  check_rows(rows, "unpermute_rows_backward");
  check_mixing_weights(weights, row_of_slot, "unpermute_rows_backward");
  auto indices = checked_indices(row_of_slot, 2, rows.size(0), "unpermute_rows_backward");
  int64_t tokens = row_of_slot.size(0), slots = row_of_slot.size(1), width = rows.size(1);
  check_mixed_gradient(grad, rows, tokens);
  auto mixing = weights.contiguous();
  auto drows = covers_all_rows(indices, tokens * slots, rows.size(0)) ? at::empty_like(rows) : at::zeros_like(rows);
  auto dweights = at::empty_like(mixing);
  XTUNER_DISPATCH(rows, "unpermute_rows_backward", [&] {
    auto kernel = XTUNER_KERNEL(unpermute_backward_range<scalar_t>);
    auto gs = grad.const_data_ptr<scalar_t>(), in = rows.const_data_ptr<scalar_t>();
    auto ws = mixing.const_data_ptr<float>();
    auto out = drows.mutable_data_ptr<scalar_t>();
    auto dws = dweights.mutable_data_ptr<float>();
    parallel_for(tokens, row_grain(width * slots),
                 [&](int64_t begin, int64_t end) { kernel(gs, in, ws, indices, out, dws, slots, width, begin, end); });
  });
  return {drows, dweights};
}

}  // namespace
}  // namespace xtuner::cpu

TORCH_LIBRARY_IMPL(xtuner, CPU, m) {
  using namespace xtuner::cpu;
  m.impl("swiglu", swiglu);
  m.impl("swiglu_backward", swiglu_backward);
  m.impl("permute_rows", permute_rows);
  m.impl("sum_rows", sum_rows);
  m.impl("unpermute_rows", unpermute_rows);
  m.impl("unpermute_rows_backward", unpermute_rows_backward);
}
