// Schemas of operators over flat buffers, which have no gradients, and their calls.
#include "operators.h"

#include <torch/library.h>

#include "../dispatch.h"

TORCH_LIBRARY_FRAGMENT(xtuner, m) {
  m.def(
      "adamw_(Tensor(a!) master, Tensor gradient, Tensor(b!) first, Tensor(c!) second, Tensor(d!)? copy, "
      "float learning_rate, float beta1, float beta2, float epsilon, float weight_decay, int step, "
      "float gradient_scale) -> ()");
  m.def(
      "adamw_rounded_(Tensor(a!) weights, Tensor gradient, Tensor(b!) first, Tensor(c!) second, float learning_rate, "
      "float beta1, float beta2, float epsilon, float weight_decay, int step, float gradient_scale, int seed, "
      "int start, int first_place, int row, int gap) -> ()");
  m.def("squared_sum(Tensor x) -> Tensor");
  m.def("add_rows_(Tensor(a!) into, Tensor rows, Tensor indices) -> ()");
}

namespace xtuner {

using at::Tensor;

void adamw(const Tensor &master, const Tensor &gradient, const Tensor &first, const Tensor &second,
           const std::optional<Tensor> &copy, double learning_rate, double beta1, double beta2, double epsilon,
           double weight_decay, int64_t step, double gradient_scale) {
  call<void(const Tensor &, const Tensor &, const Tensor &, const Tensor &, const std::optional<Tensor> &, double,
            double, double, double, double, int64_t, double)>("xtuner::adamw_", master, gradient, first, second, copy,
                                                              learning_rate, beta1, beta2, epsilon, weight_decay, step,
                                                              gradient_scale);
}

void adamw_rounded(const Tensor &weights, const Tensor &gradient, const Tensor &first, const Tensor &second,
                   double learning_rate, double beta1, double beta2, double epsilon, double weight_decay, int64_t step,
                   double gradient_scale, int64_t seed, int64_t start, int64_t first_place, int64_t row, int64_t gap) {
  call<void(const Tensor &, const Tensor &, const Tensor &, const Tensor &, double, double, double, double, double,
            int64_t, double, int64_t, int64_t, int64_t, int64_t, int64_t)>(
      "xtuner::adamw_rounded_", weights, gradient, first, second, learning_rate, beta1, beta2, epsilon, weight_decay,
      step, gradient_scale, seed, start, first_place, row, gap);
}

Tensor squared_sum(const Tensor &x) { return call<Tensor(const Tensor &)>("xtuner::squared_sum", x); }

void add_rows(const Tensor &into, const Tensor &rows, const Tensor &indices) {
  call<void(const Tensor &, const Tensor &, const Tensor &)>("xtuner::add_rows_", into, rows, indices);
}

}  // namespace xtuner
