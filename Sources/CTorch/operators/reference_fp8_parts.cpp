// Quantisation of a part of matrices: scales, and composite references.
#include <ATen/ATen.h>

#include "fp8_parts.h"

namespace xtuner {

using at::Tensor;

Tensor fp8_scales(const Tensor &magnitudes) {
  TORCH_CHECK(magnitudes.scalar_type() == at::kInt, "fp8_scales: magnitudes must be int32, are ",
              magnitudes.scalar_type());
  auto largest = magnitudes.view(at::kFloat);
  // By a tensor: ATen's CUDA kernel multiplies by the inverse of a number, which rounds twice.
  auto scale = (largest / at::full({1}, kFp8Largest, largest.options())).clamp_min(kFp8SmallestScale);
  return at::where(largest == 0, at::ones_like(scale), scale);
}

namespace reference {
namespace {

/// The block of each element of a part.
Tensor blocks_of_elements(const Tensor &x, int64_t start, int64_t rows, int64_t width) {
  auto index = at::arange(start, start + x.numel(), x.options().dtype(at::kLong));
  auto divided = [](const Tensor &t, int64_t by) { return at::floor_divide(t, by); };
  auto row = divided(index, width), column = index - row * width, group = divided(row, rows);
  auto band = group * fp8_tiles(rows) + divided(row - group * rows, kFp8Tile);
  return band * fp8_tiles(width) + divided(column, kFp8Tile);
}

}  // namespace

Tensor fp8_part_magnitudes(const Tensor &x, int64_t start, int64_t groups, int64_t rows, int64_t width) {
  auto bits = x.to(at::kFloat).view(at::kInt).bitwise_and(0x7fffffff);
  auto largest = at::zeros({groups * fp8_tiles(rows) * fp8_tiles(width)}, bits.options());
  largest = largest.scatter_reduce(0, blocks_of_elements(x, start, rows, width), bits, "amax");
  return largest.view({groups, fp8_tiles(rows), fp8_tiles(width)});
}

Tensor fp8_quantize_part(const Tensor &x, const Tensor &scales, int64_t start, int64_t rows, int64_t width) {
  auto own = scales.flatten().index_select(0, blocks_of_elements(x, start, rows, width));
  return (x.to(at::kFloat) * own.reciprocal()).to(at::kFloat8_e4m3fn);
}

}  // namespace reference
}  // namespace xtuner
