// Quantisation of a part of matrices [groups, rows, width], row-major, whose other parts other ranks have: the elements
// from `start` on, flat.
//
// Blocks are those of the whole matrices, so they may cross parts. Each rank takes the magnitudes of what it has of all
// blocks; when the largest of all ranks are known, it quantises what it has, to the bytes that the whole would give.
// Magnitudes are int32: float32 bits without a sign, which are in the order of the numbers, NaN above infinity. A maximum
// of floats over ranks might lose a NaN.
#pragma once

#include <c10/util/Exception.h>

#include "operators.h"

namespace xtuner {

inline void fp8_check_part(const char *what, const at::Tensor &x, int64_t start, int64_t groups, int64_t rows,
                           int64_t width) {
  TORCH_CHECK(x.dim() == 1 && x.is_contiguous() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16),
              what, ": takes flat float32 and bfloat16, got ", x.scalar_type(), x.sizes());
  TORCH_CHECK(groups > 0 && rows > 0 && width > 0 && start >= 0 && start + x.numel() <= groups * rows * width, what,
              ": elements ", start, " to ", start + x.numel(), " of ", groups, " matrices of ", rows, " x ", width);
}

/// Returns the number of groups, which the scales' number says.
inline int64_t fp8_check_part(const char *what, const at::Tensor &values, const at::Tensor &x, const at::Tensor &scales,
                              int64_t start, int64_t rows, int64_t width) {
  int64_t blocks = rows > 0 && width > 0 ? fp8_tiles(rows) * fp8_tiles(width) : 1, groups = scales.numel() / blocks;
  fp8_check_part(what, x, start, groups, rows, width);
  TORCH_CHECK(values.scalar_type() == at::kFloat8_e4m3fn && values.is_contiguous() && values.sizes() == x.sizes() &&
                  scales.scalar_type() == at::kFloat && scales.is_contiguous() && scales.numel() == groups * blocks,
              what, ": ", x.sizes(), " into ", values.scalar_type(), values.sizes(), " with ", scales.scalar_type(),
              scales.sizes(), " for blocks of ", rows, " x ", width);
  return groups;
}

// Calls of the device's kernel.
at::Tensor fp8_part_magnitudes(const at::Tensor &x, int64_t start, int64_t groups, int64_t rows, int64_t width);
void fp8_quantize_part(at::Tensor &values, const at::Tensor &x, const at::Tensor &scales, int64_t start, int64_t rows,
                       int64_t width);

/// The scales of blocks with these largest magnitudes.
at::Tensor fp8_scales(const at::Tensor &magnitudes);

namespace reference {
at::Tensor fp8_part_magnitudes(const at::Tensor &x, int64_t start, int64_t groups, int64_t rows, int64_t width);
at::Tensor fp8_quantize_part(const at::Tensor &x, const at::Tensor &scales, int64_t start, int64_t rows, int64_t width);
}  // namespace reference

}  // namespace xtuner
