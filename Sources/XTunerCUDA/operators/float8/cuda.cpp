// Quantisation to float8_e4m3fn, of rows, of SwiGLU's or of normalised ones, and back.
#include "../../../CTorch/operators/float8/arguments.h"
#include "../../../CTorch/operators/float8/operators.h"
#include "../arguments.h"

namespace xtuner::cuda_operators {
namespace {

const uint8_t *bytes_of(const Tensor &values) { return static_cast<const uint8_t *>(values.const_data_ptr()); }
uint8_t *mutable_bytes_of(Tensor &values) { return static_cast<uint8_t *>(values.mutable_data_ptr()); }

void check_tile_count(int64_t count, const char *what) {
  TORCH_CHECK(count <= cuda::kMostBlocksY, what, ": ", count, " matrices or tiles of ", kFp8Tile,
              " rows are more than ", cuda::kMostBlocksY);
}

/// The width of what is quantised: of rows [gate, up] half of theirs.
int64_t width_of(cuda::Fp8Source source, const Tensor &x, const char *what) {
  if (source == cuda::Fp8Source::rows) {
    check_fp8_source(x, false, what);
    return x.size(1);
  }
  check_fp8_gate_up(x, what);
  return x.size(1) / 2;
}

Fp8Pair in_rows(cuda::Fp8Source source, const Tensor &x, const char *what) {
  int64_t width = width_of(source, x, what), rows = x.size(0);
  OnDevice stream(x);
  auto from = x.contiguous();
  auto values = float8_values(x, {rows, width}), scales = scales_by_tile(x, rows, fp8_tiles(width));
  cuda::fp8_quantize_rows(element_of(x, what), source, from.const_data_ptr(), mutable_bytes_of(values),
                          scales.mutable_data_ptr<float>(), rows, width, stream);
  return {values, scales};
}
Fp8Pair quantize_rows(const Tensor &x) { return in_rows(cuda::Fp8Source::rows, x, "fp8_quantize_rows"); }
Fp8Pair swiglu_rows(const Tensor &gate_up) { return in_rows(cuda::Fp8Source::swiglu, gate_up, "fp8_swiglu_rows"); }

Fp8Pair quantize_blocks(const Tensor &x) {
  check_fp8_source(x, true, "fp8_quantize_blocks");
  OnDevice stream(x);
  auto from = x.contiguous();
  auto sizes = x.sizes().vec();
  cuda::Matrices shape{x.dim() == 3 ? x.size(0) : 1, x.size(-2), x.size(-1)};
  auto values = float8_values(x, sizes);
  sizes[sizes.size() - 2] = fp8_tiles(shape.rows);
  sizes[sizes.size() - 1] = fp8_tiles(shape.width);
  check_tile_count(std::max(shape.count, fp8_tiles(shape.rows)), "fp8_quantize_blocks");
  auto scales = floats(x, sizes);
  cuda::fp8_quantize_blocks(element_of(x, "fp8_quantize_blocks"), from.const_data_ptr(), mutable_bytes_of(values),
                            scales.mutable_data_ptr<float>(), shape, stream);
  return {values, scales};
}

/// The kernel stops where offsets do not rise to the number of rows. `in_rows` gets the same quantised in rows.
Fp8Pair in_columns(cuda::Fp8Source source, const Tensor &x, const std::optional<Tensor> &offsets, const char *what,
                   Fp8Pair *in_rows = nullptr) {
  int64_t width = width_of(source, x, what), rows = x.size(0), groups = offsets ? offsets->numel() : 1;
  if (offsets) check_fp8_offsets(*offsets, what);
  check_devices(what, x, offsets);
  OnDevice stream(x);
  auto from = x.contiguous();
  check_row_count(rows, what);
  int64_t padded = fp8_padded_rows(rows, groups);
  check_tile_count(padded / kFp8Tile, what);
  auto values = float8_values(x, {width, padded}), scales = scales_by_tile(x, width, padded / kFp8Tile);
  cuda::Fp8Rows to_rows{};
  if (in_rows) {
    auto &[row_values, row_scales] =
        *in_rows = {float8_values(x, x.sizes()), scales_by_tile(x, rows, fp8_tiles(width))};
    to_rows = {mutable_bytes_of(row_values), row_scales.mutable_data_ptr<float>()};
  }
  cuda::fp8_quantize_columns(element_of(x, what), source, from.const_data_ptr(),
                             offsets ? offsets->const_data_ptr<int64_t>() : nullptr, mutable_bytes_of(values),
                             scales.mutable_data_ptr<float>(), to_rows, rows, width, padded, groups, stream);
  return {values, scales};
}
Fp8Pair quantize_columns(const Tensor &x, const std::optional<Tensor> &offsets) {
  return in_columns(cuda::Fp8Source::rows, x, offsets, "fp8_quantize_columns");
}
std::tuple<Tensor, Tensor, Tensor, Tensor> quantize_both(const Tensor &x, const std::optional<Tensor> &offsets) {
  Fp8Pair in_rows;
  auto [values, scales] = in_columns(cuda::Fp8Source::rows, x, offsets, "fp8_quantize_both", &in_rows);
  return {std::get<0>(in_rows), std::get<1>(in_rows), values, scales};
}
Fp8Pair swiglu_columns(const Tensor &gate_up, const std::optional<Tensor> &offsets) {
  return in_columns(cuda::Fp8Source::swiglu, gate_up, offsets, "fp8_swiglu_columns");
}

/// (sum, y, scale, values, their scales); without a residual the sum is undefined.
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> fp8_rms_norm(const Tensor &x, const std::optional<Tensor> &residual,
                                                                const Tensor &weight, double epsilon) {
  constexpr auto what = "fp8_rms_norm";
  check_devices(what, x, residual, weight);
  check_fp8_norm(x, residual, weight, what);
  OnDevice stream(x);
  int64_t rows = row_count(x, what), width = x.size(1);
  auto w = weight.contiguous(), sum = residual ? at::empty_like(x) : Tensor();
  auto y = at::empty_like(x), scale = floats(x, {rows});
  auto values = float8_values(x, x.sizes()), scales = scales_by_tile(x, rows, fp8_tiles(width));
  cuda::rms_norm_fp8(element_of(x, what), pointer(x), pointer(residual), pointer(w),
                     residual ? sum.mutable_data_ptr() : nullptr, y.mutable_data_ptr(), scale.mutable_data_ptr<float>(),
                     static_cast<uint8_t *>(values.mutable_data_ptr()), scales.mutable_data_ptr<float>(), rows, width,
                     float(epsilon), stream);
  return {sum, y, scale, values, scales};
}

Tensor dequantize(const Tensor &values, const Tensor &scales, int64_t tile_rows, at::ScalarType dtype) {
  check_fp8_dequantize(values, scales, tile_rows, dtype);
  check_devices("fp8_dequantize", values, scales);
  OnDevice stream(values);
  auto from = values.contiguous();
  cuda::Matrices shape{values.dim() == 3 ? values.size(0) : 1, values.size(-2), values.size(-1)};
  check_tile_count(shape.count, "fp8_dequantize");
  cuda::ScaleSteps steps{tile_rows, values.dim() == 3 ? scales.stride(0) : 0, scales.stride(-2), scales.stride(-1)};
  auto out = at::empty(values.sizes(), values.options().dtype(dtype));
  cuda::fp8_dequantize(element_of(out, "fp8_dequantize"), bytes_of(from), scales.const_data_ptr<float>(),
                       out.mutable_data_ptr(), shape, steps, stream);
  return out;
}

}  // namespace
}  // namespace xtuner::cuda_operators

TORCH_LIBRARY_IMPL(xtuner, XTUNER_DEVICE_KEY, m) {
  using namespace xtuner::cuda_operators;
  m.impl("fp8_quantize_rows", quantize_rows);
  m.impl("fp8_quantize_blocks", quantize_blocks);
  m.impl("fp8_quantize_columns", quantize_columns);
  m.impl("fp8_quantize_both", quantize_both);
  m.impl("fp8_swiglu_rows", swiglu_rows);
  m.impl("fp8_swiglu_columns", swiglu_columns);
  m.impl("fp8_rms_norm", fp8_rms_norm);
  m.impl("fp8_dequantize", dequantize);
}
