// CPU kernels that quantise a part of matrices whose other parts are elsewhere.
#include <ATen/ops/empty.h>
#include <c10/util/Float8_e4m3fn.h>
#include <torch/library.h>

#include <algorithm>

#include "fp8_parts.h"
#include "parallel.h"

#define XTUNER_KERNELS "kernels_fp8.h"
#include "each_instruction_set.h"

namespace xtuner::cpu {
namespace {

using at::Tensor;

constexpr int64_t kElementGrain = 16384;
int64_t grain(int64_t width) { return std::max<int64_t>(1, kElementGrain / std::max<int64_t>(width * kFp8Tile, 1)); }

Tensor part_magnitudes(const Tensor &x, int64_t start, int64_t groups, int64_t rows, int64_t width) {
  fp8_check_part("fp8_part_magnitudes", x, start, groups, rows, width);
  int64_t bands = fp8_tiles(rows);
  auto largest = at::empty({groups, bands, fp8_tiles(width)}, x.options().dtype(at::kInt));
  auto to = reinterpret_cast<uint32_t *>(largest.mutable_data_ptr<int32_t>());
  auto run = [&](auto *xs, auto kernel) {
    parallel_for(groups * bands, grain(width),
                 [&](int64_t begin, int64_t end) { kernel(xs, to, start, x.numel(), rows, width, begin, end); });
  };
  if (x.scalar_type() == at::kFloat)
    run(x.const_data_ptr<float>(), XTUNER_KERNEL(part_magnitudes<float>));
  else
    run(x.const_data_ptr<c10::BFloat16>(), XTUNER_KERNEL(part_magnitudes<c10::BFloat16>));
  return largest;
}

void quantize_part(Tensor &values, const Tensor &x, const Tensor &scales, int64_t start, int64_t rows, int64_t width) {
  int64_t groups = fp8_check_part("fp8_quantize_part", values, x, scales, start, rows, width);
  auto to = reinterpret_cast<uint8_t *>(values.mutable_data_ptr<c10::Float8_e4m3fn>());
  auto factors = scales.const_data_ptr<float>();
  auto run = [&](auto *xs, auto kernel) {
    parallel_for(groups * fp8_tiles(rows), grain(width), [&](int64_t begin, int64_t end) {
      kernel(xs, to, factors, start, x.numel(), rows, width, begin, end);
    });
  };
  if (x.scalar_type() == at::kFloat)
    run(x.const_data_ptr<float>(), XTUNER_KERNEL(quantize_part<float>));
  else
    run(x.const_data_ptr<c10::BFloat16>(), XTUNER_KERNEL(quantize_part<c10::BFloat16>));
}

}  // namespace
}  // namespace xtuner::cpu

TORCH_LIBRARY_IMPL(xtuner, CPU, m) {
  using namespace xtuner::cpu;
  m.impl("fp8_part_magnitudes", part_magnitudes);
  m.impl("fp8_quantize_part_", quantize_part);
}
