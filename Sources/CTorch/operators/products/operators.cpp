// Schemas, gradient formulas and composite references of matrix products.
#include "operators.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <torch/library.h>

#include <vector>

#include "../dispatch.h"
#include "../formula.h"

TORCH_LIBRARY_FRAGMENT(xtuner, m) {
  m.def("product(Tensor a, Tensor b) -> Tensor");
  m.def("add_product_(Tensor(a!) into, Tensor a, Tensor b) -> ()");
  m.def("linear(Tensor x, Tensor weight, Tensor? bias) -> Tensor");
  m.def(
      "linear_backward(Tensor grad, Tensor x, Tensor weight, bool needs_x, bool needs_weight, bool needs_bias) "
      "-> (Tensor, Tensor, Tensor)");
  m.def("grouped_linear(Tensor x, Tensor weight, Tensor offsets) -> Tensor");
  m.def("grouped_linear_backward(Tensor grad, Tensor x, Tensor weight, Tensor offsets) -> (Tensor, Tensor)");
}

namespace xtuner {

using at::Tensor;
using Pair = std::tuple<Tensor, Tensor>;

Tensor linear(const Tensor &x, const Tensor &weight, const std::optional<Tensor> &bias) {
  using Forward = Tensor(const Tensor &, const Tensor &, const std::optional<Tensor> &);
  using Backward = std::tuple<Tensor, Tensor, Tensor>(const Tensor &, const Tensor &, const Tensor &, bool, bool, bool);
  auto forward = [&](const Record &record) -> Tensors {
    record.keep({x, weight});
    return {call<Forward>("xtuner::linear", x, weight, bias)};
  };
  auto backward = [](const Record &record, const Tensors &grads) -> Tensors {
    auto s = record.kept();
    auto [dx, dw, db] = call<Backward>("xtuner::linear_backward", grads[0], s[0], s[1], record.needs(0),
                                       record.needs(1), record.needs(2));
    return {dx, dw, db};
  };
  return differentiable({x, weight, bias.value_or(Tensor())}, forward, backward)[0];
}

Tensor grouped_linear(const Tensor &input, const Tensor &weight, const Tensor &offsets) {
  auto x = input.contiguous();
  auto forward = [&](const Record &record) -> Tensors {
    record.keep({x, weight, offsets});
    return {call<Tensor(const Tensor &, const Tensor &, const Tensor &)>("xtuner::grouped_linear", x, weight, offsets)};
  };
  auto backward = [](const Record &record, const Tensors &grads) -> Tensors {
    auto s = record.kept();
    auto [dx, dw] = call<Pair(const Tensor &, const Tensor &, const Tensor &, const Tensor &)>(
        "xtuner::grouped_linear_backward", grads[0].contiguous(), s[0], s[1], s[2]);
    return {dx, dw, Tensor()};
  };
  return differentiable({x, weight, offsets}, forward, backward)[0];
}

Tensor product(const Tensor &a, const Tensor &b) {
  return call<Tensor(const Tensor &, const Tensor &)>("xtuner::product", a, b);
}
void add_product(Tensor &into, const Tensor &a, const Tensor &b) {
  call<void(Tensor &, const Tensor &, const Tensor &)>("xtuner::add_product_", into, a, b);
}

}  // namespace xtuner

// ---- Composite references

namespace xtuner::reference {

at::Tensor linear(const at::Tensor &x, const at::Tensor &weight, const std::optional<at::Tensor> &bias) {
  return at::linear(x, weight, bias);
}

at::Tensor grouped_linear(const at::Tensor &x, const at::Tensor &weight, const at::Tensor &offsets) {
  auto host = offsets.cpu();
  auto ends = host.const_data_ptr<int64_t>();
  std::vector<at::Tensor> groups;
  for (int64_t e = 0, begin = 0; e < weight.size(0); begin = ends[e++])
    groups.push_back(at::matmul(x.slice(0, begin, ends[e]), weight[e].t()));
  return at::cat(groups, 0);
}

}  // namespace xtuner::reference
