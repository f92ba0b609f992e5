// CPU kernels over flat buffers: the optimizer's step, squared sums, gradients of an embedding.
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <type_traits>
#include <vector>

#include "../element_types.h"
#include "../parallel.h"
#include "adamw.h"
#include "arguments.h"

#define XTUNER_KERNELS "flat/kernels.h"
#include "../each_instruction_set.h"

namespace xtuner::cpu {
namespace {

using at::Tensor;

/// Calls `body` with a pointer to the elements of a gradient, which is float32 or bfloat16.
template <typename Body>
void with_gradient(const Tensor &gradient, Body &&body) {
  if (gradient.scalar_type() == at::kBFloat16)
    body(gradient.const_data_ptr<at::BFloat16>());
  else
    body(gradient.const_data_ptr<float>());
}

constexpr int64_t kAdamWGrain = 16384;

void adamw(const Tensor &master, const Tensor &gradient, const Tensor &first, const Tensor &second,
           const std::optional<Tensor> &copy, double learning_rate, double beta1, double beta2, double epsilon,
           double weight_decay, int64_t step, double gradient_scale) {
  int64_t count = master.numel();
  check_adamw(master, gradient, first, second, at::kFloat, step);
  check_adamw_copy(copy, master);
  AdamWStep numbers(learning_rate, beta1, beta2, epsilon, weight_decay, step, gradient_scale);
  auto run = [&](auto *out) {
    using Copy = std::remove_pointer_t<decltype(out)>;
    auto p = master.mutable_data_ptr<float>(), m = first.mutable_data_ptr<float>(),
         v = second.mutable_data_ptr<float>();
    with_gradient(gradient, [&](auto *g) {
      using Gradient = std::remove_const_t<std::remove_pointer_t<decltype(g)>>;
      auto kernel = XTUNER_KERNEL(adamw_range<Gradient, Copy>);
      parallel_for(count, kAdamWGrain,
                   [&](int64_t begin, int64_t end) { kernel(p, g, m, v, out, numbers, begin, end); });
    });
  };
  if (copy && copy->scalar_type() == at::kHalf)
    run(copy->mutable_data_ptr<at::Half>());
  else
    run(copy ? copy->mutable_data_ptr<at::BFloat16>() : static_cast<at::BFloat16 *>(nullptr));
}

void adamw_rounded(const Tensor &weights, const Tensor &gradient, const Tensor &first, const Tensor &second,
                   double learning_rate, double beta1, double beta2, double epsilon, double weight_decay, int64_t step,
                   double gradient_scale, int64_t seed, int64_t start, int64_t first_place, int64_t row, int64_t gap) {
  int64_t count = weights.numel();
  check_adamw(weights, gradient, first, second, at::kBFloat16, step);
  SliceIndices indices{start, first_place, row, gap};
  TORCH_CHECK(indices.is_valid(), "adamw: rows of ", row, " elements from place ", first_place, " on");
  AdamWStep numbers(learning_rate, beta1, beta2, epsilon, weight_decay, step, gradient_scale);
  auto p = weights.mutable_data_ptr<at::BFloat16>(), m = first.mutable_data_ptr<at::BFloat16>(),
       v = second.mutable_data_ptr<at::BFloat16>();
  with_gradient(gradient, [&](auto *g) {
    using Gradient = std::remove_const_t<std::remove_pointer_t<decltype(g)>>;
    auto kernel = XTUNER_KERNEL(adamw_rounded_range<Gradient>);
    parallel_for(count, kAdamWGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin, next; i < end; i = next) {
        next = gap == 0 ? end : std::min(end, indices.row_end(i));
        kernel(p, g, m, v, numbers, uint32_t(seed), indices.shift(i), i, next);
      }
    });
  });
}

Tensor squared_sum(const Tensor &x) {
  TORCH_CHECK(x.is_contiguous(), "squared_sum: the tensor ", x.sizes(), " is not contiguous");
  // One partial sum a block: the result does not depend on the number of threads.
  constexpr int64_t kBlock = 16384;
  int64_t count = x.numel(), blocks = (count + kBlock - 1) / kBlock;
  std::vector<double> partial(blocks);
  XTUNER_DISPATCH(x, "squared_sum", [&] {
    auto kernel = XTUNER_KERNEL(squared_sum_range<scalar_t>);
    auto data = x.const_data_ptr<scalar_t>();
    parallel_for(blocks, 2, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b)
        partial[b] = kernel(data + b * kBlock, std::min(kBlock, count - b * kBlock));
    });
  });
  double sum = 0;
  for (double value : partial) sum += value;
  auto out = at::empty({}, x.options().dtype(at::kDouble));
  *out.mutable_data_ptr<double>() = sum;
  return out;
}

void add_rows(const Tensor &into, const Tensor &rows, const Tensor &indices) {
  check_add_rows(into, rows, indices);
  int64_t count = rows.size(0), width = rows.size(1);
  auto targets = indices.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < count; ++i)
    TORCH_CHECK(targets[i] >= 0 && targets[i] < into.size(0), "add_rows: index ", targets[i], " at ", i,
                " is outside 0..<", into.size(0));
  auto source = rows.contiguous();
  XTUNER_DISPATCH(rows, "add_rows", [&] {
    if constexpr (std::is_same_v<scalar_t, double>) {
      TORCH_CHECK(false, "add_rows: rows are float64, the target is float32");
    } else {
      auto kernel = XTUNER_KERNEL(add_rows_range<scalar_t>);
      auto out = into.mutable_data_ptr<float>();
      auto in = source.const_data_ptr<scalar_t>();
      // Each thread takes some columns of all rows: rows of one index are added in order, without locks.
      constexpr int64_t kColumns = 32;  // 128 bytes, so that threads do not share cache lines
      int64_t slices = (width + kColumns - 1) / kColumns;
      int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(count * kColumns, 1));
      parallel_for(slices, grain, [&](int64_t begin, int64_t end) {
        kernel(out, in, targets, count, width, begin * kColumns, std::min(width, end * kColumns));
      });
    }
  });
}

}  // namespace
}  // namespace xtuner::cpu

TORCH_LIBRARY_IMPL(xtuner, CPU, m) {
  using namespace xtuner::cpu;
  m.impl("adamw_", adamw);
  m.impl("adamw_rounded_", adamw_rounded);
  m.impl("squared_sum", squared_sum);
  m.impl("add_rows_", add_rows);
}
