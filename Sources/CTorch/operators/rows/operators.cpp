// Schemas, gradient formulas and composite references of activation and of orders of rows.
#include "operators.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/silu.h>
#include <torch/library.h>

#include "../dispatch.h"
#include "../formula.h"
#include "../wide_type.h"

TORCH_LIBRARY_FRAGMENT(xtuner, m) {
  m.def("swiglu(Tensor gate_up) -> Tensor");
  m.def("swiglu_backward(Tensor grad, Tensor gate_up) -> Tensor");
  m.def("permute_rows(Tensor x, Tensor token_of_row) -> Tensor");
  m.def("sum_rows(Tensor rows, Tensor row_of_slot) -> Tensor");
  m.def("unpermute_rows(Tensor rows, Tensor weights, Tensor row_of_slot) -> Tensor");
  m.def("unpermute_rows_backward(Tensor grad, Tensor rows, Tensor weights, Tensor row_of_slot) -> (Tensor, Tensor)");
}

namespace xtuner {

using at::Tensor;
using Pair = std::tuple<Tensor, Tensor>;
using RowsSignature = Tensor(const Tensor &, const Tensor &);

Tensor swiglu(const Tensor &input) {
  auto gate_up = input.contiguous();
  auto forward = [&](const Record &record) -> Tensors {
    record.keep({gate_up});
    return {call<Tensor(const Tensor &)>("xtuner::swiglu", gate_up)};
  };
  auto backward = [](const Record &record, const Tensors &grads) -> Tensors {
    return {call<RowsSignature>("xtuner::swiglu_backward", grads[0].contiguous(), record.kept()[0])};
  };
  return differentiable({gate_up}, forward, backward)[0];
}

Tensor permute_rows(const Tensor &input, const Tensor &token_of_row, const Tensor &row_of_slot) {
  auto x = input.contiguous();
  auto forward = [&](const Record &record) -> Tensors {
    record.keep({row_of_slot});
    return {call<RowsSignature>("xtuner::permute_rows", x, token_of_row)};
  };
  auto backward = [](const Record &record, const Tensors &grads) -> Tensors {
    return {call<RowsSignature>("xtuner::sum_rows", grads[0].contiguous(), record.kept()[0]), Tensor(), Tensor()};
  };
  return differentiable({x, token_of_row, row_of_slot}, forward, backward)[0];
}

Tensor unpermute_rows(const Tensor &input, const Tensor &weights, const Tensor &row_of_slot) {
  auto rows = input.contiguous();
  auto forward = [&](const Record &record) -> Tensors {
    record.keep({rows, weights, row_of_slot});
    return {call<Tensor(const Tensor &, const Tensor &, const Tensor &)>("xtuner::unpermute_rows", rows, weights,
                                                                         row_of_slot)};
  };
  auto backward = [](const Record &record, const Tensors &grads) -> Tensors {
    auto s = record.kept();
    auto [drows, dweights] = call<Pair(const Tensor &, const Tensor &, const Tensor &, const Tensor &)>(
        "xtuner::unpermute_rows_backward", grads[0].contiguous(), s[0], s[1], s[2]);
    return {drows, dweights, Tensor()};
  };
  return differentiable({rows, weights, row_of_slot}, forward, backward)[0];
}

}  // namespace xtuner

// ---- Composite references

namespace xtuner::reference {

at::Tensor swiglu(const at::Tensor &gate_up) {
  auto halves = gate_up.to(wide_type(gate_up)).chunk(2, -1);
  return (at::silu(halves[0]) * halves[1]).to(gate_up.scalar_type());
}

at::Tensor permute_rows(const at::Tensor &x, const at::Tensor &token_of_row) { return x.index_select(0, token_of_row); }

at::Tensor unpermute_rows(const at::Tensor &rows, const at::Tensor &weights, const at::Tensor &row_of_slot) {
  auto slots = rows.index_select(0, row_of_slot.flatten())
                   .view({row_of_slot.size(0), row_of_slot.size(1), rows.size(1)})
                   .to(wide_type(rows));
  return (slots * weights.unsqueeze(-1)).sum(1).to(rows.scalar_type());
}

}  // namespace xtuner::reference
