// CPU kernels that quantise a part of matrices whose other parts are elsewhere.
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "cpu_fp8.h"
#include "fp8_parts.h"

#define XTUNER_KERNELS "kernels_fp8.h"
#include "each_instruction_set.h"

namespace xtuner::cpu {
namespace {

using at::Tensor;

Tensor part_magnitudes(const Tensor &x, int64_t start, int64_t groups, int64_t rows, int64_t width) {
  fp8_check_part("fp8_part_magnitudes", x, start, groups, rows, width);
  int64_t bands = fp8_tiles(rows);
  auto largest = at::empty({groups, bands, fp8_tiles(width)}, x.options().dtype(at::kInt));
  auto to = reinterpret_cast<uint32_t *>(largest.mutable_data_ptr<int32_t>());
  with_elements(x, [&](auto *xs) {
    auto kernel = XTUNER_KERNEL(part_magnitudes<ElementOf<decltype(xs)>>);
    parallel_for(groups * bands, row_grain(width * kFp8Tile),
                 [&](int64_t begin, int64_t end) { kernel(xs, to, start, x.numel(), rows, width, begin, end); });
  });
  return largest;
}

void quantize_part(Tensor &values, const Tensor &x, const Tensor &scales, int64_t start, int64_t rows, int64_t width) {
  int64_t groups = fp8_check_part("fp8_quantize_part", values, x, scales, start, rows, width);
  auto to = bytes_of(values);
  auto factors = scales.const_data_ptr<float>();
  with_elements(x, [&](auto *xs) {
    auto kernel = XTUNER_KERNEL(quantize_part<ElementOf<decltype(xs)>>);
    parallel_for(groups * fp8_tiles(rows), row_grain(width * kFp8Tile), [&](int64_t begin, int64_t end) {
      kernel(xs, to, factors, start, x.numel(), rows, width, begin, end);
    });
  });
}

}  // namespace
}  // namespace xtuner::cpu

TORCH_LIBRARY_IMPL(xtuner, CPU, m) {
  using namespace xtuner::cpu;
  m.impl("fp8_part_magnitudes", part_magnitudes);
  m.impl("fp8_quantize_part_", quantize_part);
}
