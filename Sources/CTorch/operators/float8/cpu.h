// What the CPU's kernels of the quantisation to float8_e4m3fn share.
#pragma once

#include <ATen/ops/empty.h>
#include <c10/util/Float8_e4m3fn.h>

#include <vector>

#include "../parallel.h"
#include "arguments.h"
#include "operators.h"

namespace xtuner::cpu {

inline uint8_t *bytes_of(at::Tensor &values) {
  return reinterpret_cast<uint8_t *>(values.mutable_data_ptr<c10::Float8_e4m3fn>());
}

/// Calls `body` with the elements of a contiguous tensor, float32 or bfloat16.
template <typename Body>
void with_elements(const at::Tensor &x, Body &&body) {
  if (x.scalar_type() == at::kFloat)
    body(x.const_data_ptr<float>());
  else
    body(x.const_data_ptr<c10::BFloat16>());
}

/// The type of the elements that a pointer is to.
template <typename Pointer>
using ElementOf = std::remove_const_t<std::remove_pointer_t<Pointer>>;

/// [columns of tiles, rows of tiles] in memory, seen as [..., rows of tiles, columns of tiles].
inline at::Tensor scales_by_tile(int64_t rows, int64_t tiles, const at::Tensor &x) {
  return at::empty({tiles, rows}, x.options().dtype(at::kFloat)).t();
}

/// At most 128 rows of one group, and where their tile starts in a column.
struct RowTile {
  int64_t row, count, place;
};

inline std::vector<RowTile> row_tiles(const std::optional<at::Tensor> &offsets, int64_t rows, const char *what) {
  std::vector<int64_t> ends = {rows};
  if (offsets) {
    check_fp8_offsets(*offsets, what);
    ends.assign(offsets->const_data_ptr<int64_t>(), offsets->const_data_ptr<int64_t>() + offsets->numel());
  }
  std::vector<RowTile> tiles;
  int64_t row = 0, place = 0;
  for (auto end : ends) {
    TORCH_CHECK(end >= row, what, ": offsets fall from ", row, " to ", end);
    for (; row < end; place += kFp8Tile) {
      int64_t count = std::min(kFp8Tile, end - row);
      tiles.push_back({row, count, place});
      row += count;
    }
  }
  TORCH_CHECK(row == rows, what, ": offsets end at ", row, ", not at the ", rows, " rows");
  return tiles;
}

/// Values [rows, width] and their scales, of x [rows, ...]: `quantize(elements, values, scales, begin, end)` makes some rows.
template <typename Quantize>
Fp8Pair in_rows(const at::Tensor &x, int64_t width, Quantize &&quantize) {
  auto from = x.contiguous();
  int64_t rows = x.size(0);
  auto values = at::empty({rows, width}, x.options().dtype(at::kFloat8_e4m3fn));
  auto scales = scales_by_tile(rows, fp8_tiles(width), x);
  auto to = bytes_of(values);
  auto to_scales = scales.mutable_data_ptr<float>();
  with_elements(from, [&](auto *xs) {
    parallel_for(rows, row_grain(width), [&](int64_t begin, int64_t end) { quantize(xs, to, to_scales, begin, end); });
  });
  return {values, scales};
}

/// Values [width, P] and their scales, of x [rows, ...]: `quantize(elements, tile, end, values, scales, P)` makes tiles of
/// all columns, of which one's go to values + .place and scales + .place / 128 * width. What no tile reaches is zeros of
/// scale 1.
template <typename Quantize>
Fp8Pair in_columns(const at::Tensor &x, int64_t width, const std::optional<at::Tensor> &offsets, const char *what,
                   Quantize &&quantize) {
  auto from = x.contiguous();
  int64_t rows = x.size(0);
  auto tiles = row_tiles(offsets, rows, what);
  int64_t padded = fp8_padded_rows(rows, offsets ? offsets->numel() : 1);
  int64_t used = static_cast<int64_t>(tiles.size()) * kFp8Tile;
  auto values = at::empty({width, padded}, x.options().dtype(at::kFloat8_e4m3fn));
  auto scales = scales_by_tile(width, padded / kFp8Tile, x);
  if (used < padded) {
    values.slice(1, used).view(at::kByte).zero_();
    scales.slice(1, used / kFp8Tile).fill_(1);
  }
  auto to = bytes_of(values);
  auto to_scales = scales.mutable_data_ptr<float>();
  with_elements(from, [&](auto *xs) {
    parallel_for(static_cast<int64_t>(tiles.size()), row_grain(width * kFp8Tile), [&](int64_t begin, int64_t end) {
      quantize(xs, tiles.data() + begin, tiles.data() + end, to, to_scales, padded);
    });
  });
  return {values, scales};
}

}  // namespace xtuner::cpu
