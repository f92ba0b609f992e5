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
// when it is read again: it reaches the loss and the gradient norm, where a run looks for it. The sign of a NaN is any.
//
// Devices' kernels include this without libtorch.
#pragma once

#include <cstdint>

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

}  // namespace xtuner
