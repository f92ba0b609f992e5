// CPU kernels over flat buffers: the optimizer's step, squared sums, gradients of an embedding.
#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <type_traits>
#include <vector>

#include "parallel.h"

namespace xtuner::cpu {
/// What one step multiplies with, computed once in double precision.
struct AdamWStep {
  float beta1, beta2, epsilon, gradient_scale;
  float keep;          // 1 - learning rate * weight decay
  float rate;          // learning rate / (1 - beta1^step)
  float inverse_root;  // 1 / sqrt(1 - beta2^step)
};
}  // namespace xtuner::cpu

#define XTUNER_KERNELS "kernels_flat.h"
#include "each_instruction_set.h"

namespace xtuner::cpu {
namespace {

using at::Tensor;

void check_flat(const Tensor &tensor, int64_t count, const char *name, at::ScalarType type = at::kFloat) {
  TORCH_CHECK(
      tensor.device().is_cpu() && tensor.scalar_type() == type && tensor.is_contiguous() && tensor.numel() == count,
      "adamw: ", name, " must be ", count, " contiguous ", type, " on the CPU, is ", tensor.scalar_type(),
      tensor.sizes(), " with strides ", tensor.strides());
}

AdamWStep step_numbers(double learning_rate, double beta1, double beta2, double epsilon, double weight_decay,
                       int64_t step, double gradient_scale) {
  TORCH_CHECK(step >= 1, "adamw: step counts from 1, is ", step);
  return {float(beta1),
          float(beta2),
          float(epsilon),
          float(gradient_scale),
          float(1 - learning_rate * weight_decay),
          float(learning_rate / (1 - std::pow(beta1, double(step)))),
          float(1 / std::sqrt(1 - std::pow(beta2, double(step))))};
}

/// Calls `body` with a pointer to the elements of a gradient, which is float32 or bfloat16.
template <typename Body>
void with_gradient(const Tensor &gradient, int64_t count, Body &&body) {
  bool narrow = gradient.scalar_type() == at::kBFloat16;
  check_flat(gradient, count, "gradient", narrow ? at::kBFloat16 : at::kFloat);
  if (narrow)
    body(gradient.const_data_ptr<at::BFloat16>());
  else
    body(gradient.const_data_ptr<float>());
}

constexpr int64_t kAdamWGrain = 16384;

void adamw(const Tensor &master, const Tensor &gradient, const Tensor &first, const Tensor &second,
           const std::optional<Tensor> &copy, double learning_rate, double beta1, double beta2, double epsilon,
           double weight_decay, int64_t step, double gradient_scale) {
  int64_t count = master.numel();
  check_flat(master, count, "master");
  check_flat(first, count, "first moment");
  check_flat(second, count, "second moment");
  if (copy)
    TORCH_CHECK((copy->scalar_type() == at::kBFloat16 || copy->scalar_type() == at::kHalf) && copy->is_contiguous() &&
                    copy->numel() == count,
                "adamw: copy must be ", count, " contiguous bfloat16 or float16, is ", copy->scalar_type(),
                copy->sizes());
  auto numbers = step_numbers(learning_rate, beta1, beta2, epsilon, weight_decay, step, gradient_scale);
  auto run = [&](auto *out) {
    using Copy = std::remove_pointer_t<decltype(out)>;
    auto p = master.mutable_data_ptr<float>(), m = first.mutable_data_ptr<float>(),
         v = second.mutable_data_ptr<float>();
    with_gradient(gradient, count, [&](auto *g) {
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
                   double gradient_scale, int64_t seed, int64_t start) {
  int64_t count = weights.numel();
  check_flat(weights, count, "weights", at::kBFloat16);
  check_flat(first, count, "first moment", at::kBFloat16);
  check_flat(second, count, "second moment", at::kBFloat16);
  auto numbers = step_numbers(learning_rate, beta1, beta2, epsilon, weight_decay, step, gradient_scale);
  auto p = weights.mutable_data_ptr<at::BFloat16>(), m = first.mutable_data_ptr<at::BFloat16>(),
       v = second.mutable_data_ptr<at::BFloat16>();
  with_gradient(gradient, count, [&](auto *g) {
    using Gradient = std::remove_const_t<std::remove_pointer_t<decltype(g)>>;
    auto kernel = XTUNER_KERNEL(adamw_rounded_range<Gradient>);
    parallel_for(count, kAdamWGrain, [&](int64_t begin, int64_t end) {
      kernel(p, g, m, v, numbers, uint32_t(seed), uint64_t(start), begin, end);
    });
  });
}

Tensor squared_sum(const Tensor &x) {
  TORCH_CHECK(x.is_contiguous(), "squared_sum: the tensor ", x.sizes(), " is not contiguous");
  // One partial sum a block: the result does not depend on the number of threads.
  constexpr int64_t kBlock = 16384;
  int64_t count = x.numel(), blocks = (count + kBlock - 1) / kBlock;
  std::vector<double> partial(blocks);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, x.scalar_type(), "squared_sum", [&] {
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
  TORCH_CHECK(into.dim() == 2 && into.scalar_type() == at::kFloat && into.is_contiguous(),
              "add_rows: the target must be contiguous float32 [V, D], is ", into.scalar_type(), into.sizes());
  TORCH_CHECK(rows.dim() == 2 && rows.size(1) == into.size(1), "add_rows: rows ", rows.sizes(), " for a target ",
              into.sizes());
  TORCH_CHECK(indices.scalar_type() == at::kLong && indices.is_contiguous() && indices.numel() == rows.size(0),
              "add_rows: indices must be ", rows.size(0), " contiguous int64, are ", indices.scalar_type(),
              indices.sizes());
  int64_t count = rows.size(0), width = rows.size(1);
  auto targets = indices.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < count; ++i)
    TORCH_CHECK(targets[i] >= 0 && targets[i] < into.size(0), "add_rows: index ", targets[i], " at ", i,
                " is outside 0..<", into.size(0));
  auto source = rows.contiguous();
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, rows.scalar_type(), "add_rows", [&] {
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
