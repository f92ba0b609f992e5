// What the operators of float8_e4m3fn ask of their arguments on every device; each device's own limits are checked where
// its kernels are.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <optional>

#include "rule.h"

namespace xtuner {

inline void check_fp8_source(const at::Tensor &x, bool may_be_grouped, const char *what) {
  TORCH_CHECK(x.dim() == 2 || (may_be_grouped && x.dim() == 3), what, ": x must be [rows, columns]",
              may_be_grouped ? " or [groups, rows, columns]" : "", ", is ", x.sizes());
  TORCH_CHECK(x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16, what,
              ": takes float32 and bfloat16, got ", x.scalar_type());
}

/// Rows [gate, up] of a SwiGLU whose result is quantised.
inline void check_fp8_gate_up(const at::Tensor &gate_up, const char *what) {
  check_fp8_source(gate_up, false, what);
  TORCH_CHECK(gate_up.size(1) % 2 == 0, what, ": expected [rows, 2 x width], got ", gate_up.sizes());
}

inline void check_fp8_norm(const at::Tensor &x, const std::optional<at::Tensor> &residual, const at::Tensor &weight,
                           const char *what) {
  check_fp8_source(x, false, what);
  TORCH_CHECK(
      x.is_contiguous() && weight.dim() == 1 && weight.size(0) == x.size(1) && weight.scalar_type() == x.scalar_type(),
      what, ": needs contiguous rows and a weight of their width and type, got ", x.scalar_type(), x.sizes(), " and ",
      weight.scalar_type(), weight.sizes());
  TORCH_CHECK(!residual || (residual->sizes() == x.sizes() && residual->scalar_type() == x.scalar_type() &&
                            residual->is_contiguous()),
              what, ": residual ", residual->scalar_type(), residual->sizes(), " for ", x.scalar_type(), x.sizes());
}

inline void check_fp8_offsets(const at::Tensor &offsets, const char *what) {
  TORCH_CHECK(offsets.scalar_type() == at::kLong && offsets.is_contiguous() && offsets.dim() == 1, what,
              ": offsets must be contiguous int64, got ", offsets.scalar_type(), offsets.sizes());
}

inline void check_fp8_dequantize(const at::Tensor &values, const at::Tensor &scales, int64_t tile_rows,
                                 at::ScalarType dtype) {
  TORCH_CHECK(values.dim() == 2 || values.dim() == 3, "fp8_dequantize: values must have 2 or 3 dimensions, are ",
              values.sizes());
  TORCH_CHECK(values.scalar_type() == at::kFloat8_e4m3fn && scales.scalar_type() == at::kFloat &&
                  scales.dim() == values.dim() && (tile_rows == 1 || tile_rows == kFp8Tile),
              "fp8_dequantize: ", values.scalar_type(), values.sizes(), " with scales ", scales.scalar_type(),
              scales.sizes(), " of tiles of ", tile_rows, " rows");
  int64_t bands = (values.size(-2) + tile_rows - 1) / tile_rows;
  TORCH_CHECK(scales.size(-2) == bands && scales.size(-1) == fp8_tiles(values.size(-1)) &&
                  (values.dim() == 2 || scales.size(0) == values.size(0)),
              "fp8_dequantize: ", values.sizes(), " in tiles of ", tile_rows, " x ", kFp8Tile, " needs ", bands, " x ",
              fp8_tiles(values.size(-1)), " scales, got ", scales.sizes());
  TORCH_CHECK(dtype == at::kFloat || dtype == at::kBFloat16, "fp8_dequantize: makes float32 and bfloat16, not ", dtype);
}

}  // namespace xtuner
