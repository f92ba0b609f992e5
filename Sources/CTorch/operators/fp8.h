// Quantisation to float8_e4m3fn: 3 bits of fraction, largest number 448, no infinity.
//
// A tile is 128 elements side by side in a row (`rows`), 128 x 128 elements (`blocks`) or 128 elements in a
// column (`columns`); the last ones are as large as what is left. Its scale is float32:
//
//   amax  = the largest magnitude of the tile; NaN if one of the elements is NaN
//   scale = 1 where amax is 0, else max(amax / 448, 2^-126)
//   value = round to e4m3 (x * (1 / scale)), ties to even, all in float32
//
// and x is about value * scale. An infinity or a NaN makes the scale one, and so every element of the tile NaN
// when it is read again: it reaches the loss and the gradient norm, where a run looks for it.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <tuple>

namespace xtuner {

/// Elements of a tile, and rows and columns of a block.
constexpr int64_t kFp8Tile = 128;
/// The largest number of float8_e4m3fn.
constexpr float kFp8Largest = 448.0f;
/// 2^-126, the smallest scale: its inverse is finite, and no processor takes it for zero.
constexpr float kFp8SmallestScale = 0x1p-126f;

inline int64_t fp8_tiles(int64_t count) { return (count + kFp8Tile - 1) / kFp8Tile; }

/// Columns of what `fp8_quantize_columns` makes of `rows` rows in `groups` groups: known without the groups' sizes, so
/// that a device need not wait for them.
inline int64_t fp8_padded_rows(int64_t rows, int64_t groups) {
  return (rows + groups * (kFp8Tile - 1)) / kFp8Tile * kFp8Tile;
}

/// Values and their scales.
using Fp8Pair = std::tuple<at::Tensor, at::Tensor>;

namespace reference {
Fp8Pair fp8_quantize_rows(const at::Tensor &x);
Fp8Pair fp8_quantize_blocks(const at::Tensor &x);
Fp8Pair fp8_quantize_columns(const at::Tensor &x, const std::optional<at::Tensor> &offsets);
at::Tensor fp8_dequantize(const at::Tensor &values, const at::Tensor &scales, int64_t tile_rows, at::ScalarType dtype);
at::Tensor fp8_product(const at::Tensor &x, const at::Tensor &x_scales, const at::Tensor &weight,
                       const at::Tensor &weight_scales, const std::optional<at::Tensor> &bias);
at::Tensor fp8_grouped_product(const at::Tensor &x, const at::Tensor &x_scales, const at::Tensor &weight,
                               const at::Tensor &weight_scales, const at::Tensor &offsets);
at::Tensor fp8_weight_gradient(const at::Tensor &grad, const at::Tensor &grad_scales, const at::Tensor &x,
                               const at::Tensor &x_scales, const std::optional<at::Tensor> &offsets,
                               at::ScalarType dtype);
}  // namespace reference

// Differentiable: the three products of a linear layer with quantised operands. With `quantized`, the weight in blocks,
// the weight's elements are not read: it may be without memory, and says only what the gradient belongs to.
at::Tensor fp8_linear(const at::Tensor &x, const at::Tensor &weight, const std::optional<at::Tensor> &bias,
                      const std::optional<Fp8Pair> &quantized = std::nullopt);
at::Tensor fp8_grouped_linear(const at::Tensor &x, const at::Tensor &weight, const at::Tensor &offsets,
                              const std::optional<Fp8Pair> &quantized = std::nullopt);

}  // namespace xtuner
