// Activation, and rows between the order of tokens and the order of experts.
//
// Indices are checked by the kernels, which stop the device: to look at them here would wait for it. That the slots of
// unpermute_rows name different rows is checked by the CPU's kernel only.
#include <ATen/ops/zeros_like.h>

#include "../../../CTorch/operators/rows/arguments.h"
#include "../arguments.h"

namespace xtuner::cuda_operators {
namespace {

void check_indices(const Tensor &indices, int64_t dim, const char *what) {
  check_row_indices(indices, dim, what);
  check_row_count(indices.numel(), what);
}

Tensor swiglu(const Tensor &gate_up) {
  TORCH_CHECK(gate_up.dim() == 2 && gate_up.size(1) % 2 == 0 && gate_up.is_contiguous(),
              "swiglu: expected contiguous [rows, 2 x width], got ", gate_up.sizes());
  check_row_count(gate_up.size(0), "swiglu");
  OnDevice stream(gate_up);
  int64_t rows = gate_up.size(0), width = gate_up.size(1) / 2;
  auto y = at::empty({rows, width}, gate_up.options());
  cuda::swiglu(element_of(gate_up, "swiglu"), pointer(gate_up), y.mutable_data_ptr(), rows, width, stream);
  return y;
}

Tensor swiglu_backward(const Tensor &grad, const Tensor &gate_up) {
  int64_t rows = gate_up.size(0), width = gate_up.size(1) / 2;
  check_devices("swiglu_backward", gate_up, grad);
  TORCH_CHECK(grad.sizes() == at::IntArrayRef({rows, width}) && grad.scalar_type() == gate_up.scalar_type() &&
                  grad.is_contiguous() && gate_up.is_contiguous(),
              "swiglu_backward: gradient ", grad.scalar_type(), grad.sizes(), " for ", gate_up.scalar_type(),
              gate_up.sizes());
  OnDevice stream(gate_up);
  auto dx = at::empty_like(gate_up);
  cuda::swiglu_backward(element_of(gate_up, "swiglu_backward"), pointer(grad), pointer(gate_up), dx.mutable_data_ptr(),
                        rows, width, stream);
  return dx;
}

Tensor permute_rows(const Tensor &x, const Tensor &token_of_row) {
  check_rows(x, "permute_rows");
  check_indices(token_of_row, 1, "permute_rows");
  check_devices("permute_rows", x, token_of_row);
  OnDevice stream(x);
  int64_t rows = token_of_row.numel(), width = x.size(1);
  auto y = at::empty({rows, width}, x.options());
  cuda::gather_rows(pointer(x), token_of_row.const_data_ptr<int64_t>(), y.mutable_data_ptr(), rows, x.size(0),
                    width * x.element_size(), stream);
  return y;
}

/// The sum of every token's rows, weighted if there are weights.
Tensor sum_slots(const Tensor &rows, const std::optional<Tensor> &weights, const Tensor &row_of_slot,
                 const char *what) {
  check_rows(rows, what);
  check_indices(row_of_slot, 2, what);
  check_devices(what, rows, weights, row_of_slot);
  OnDevice stream(rows);
  int64_t tokens = row_of_slot.size(0), width = rows.size(1);
  auto y = at::empty({tokens, width}, rows.options());
  cuda::sum_slots(element_of(rows, what), pointer(rows), float_pointer(weights), row_of_slot.const_data_ptr<int64_t>(),
                  y.mutable_data_ptr(), tokens, row_of_slot.size(1), rows.size(0), width, stream);
  return y;
}

Tensor sum_rows(const Tensor &rows, const Tensor &row_of_slot) {
  return sum_slots(rows, std::nullopt, row_of_slot, "sum_rows");
}

Tensor unpermute_rows(const Tensor &rows, const Tensor &weights, const Tensor &row_of_slot) {
  check_mixing_weights(weights, row_of_slot, "unpermute_rows");
  return sum_slots(rows, weights.contiguous(), row_of_slot, "unpermute_rows");
}

std::tuple<Tensor, Tensor> unpermute_rows_backward(const Tensor &grad, const Tensor &rows, const Tensor &weights,
                                                   const Tensor &row_of_slot) {
  check_rows(rows, "unpermute_rows_backward");
  check_mixing_weights(weights, row_of_slot, "unpermute_rows_backward");
  check_indices(row_of_slot, 2, "unpermute_rows_backward");
  check_devices("unpermute_rows_backward", rows, grad, weights, row_of_slot);
  int64_t tokens = row_of_slot.size(0), slots = row_of_slot.size(1), width = rows.size(1);
  check_mixed_gradient(grad, rows, tokens);
  OnDevice stream(rows);
  auto mixing = weights.contiguous();
  auto drows = tokens * slots == rows.size(0) ? at::empty_like(rows) : at::zeros_like(rows);
  auto dweights = at::empty_like(mixing);
  cuda::sum_slots_backward(element_of(rows, "unpermute_rows_backward"), pointer(grad), pointer(rows),
                           mixing.const_data_ptr<float>(), row_of_slot.const_data_ptr<int64_t>(),
                           drows.mutable_data_ptr(), dweights.mutable_data_ptr<float>(), tokens, slots, rows.size(0),
                           width, stream);
  return {drows, dweights};
}

}  // namespace
}  // namespace xtuner::cuda_operators

TORCH_LIBRARY_IMPL(xtuner, XTUNER_DEVICE_KEY, m) {
  using namespace xtuner::cuda_operators;
  m.impl("swiglu", swiglu);
  m.impl("swiglu_backward", swiglu_backward);
  m.impl("permute_rows", permute_rows);
  m.impl("sum_rows", sum_rows);
  m.impl("unpermute_rows", unpermute_rows);
  m.impl("unpermute_rows_backward", unpermute_rows_backward);
}
