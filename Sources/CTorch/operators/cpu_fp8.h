// What the CPU's kernels of the quantisation to float8_e4m3fn share.
#pragma once

#include <ATen/ATen.h>
#include <c10/util/Float8_e4m3fn.h>

#include <vector>

#include "arguments.h"
#include "fp8.h"
#include "parallel.h"

namespace xtuner::cpu {

/// Items of so many elements that are worth another thread.
inline int64_t grain(int64_t elements) { return std::max<int64_t>(1, 16384 / std::max<int64_t>(elements, 1)); }

inline uint8_t *bytes_of(at::Tensor &values) {
  return reinterpret_cast<uint8_t *>(values.mutable_data_ptr<c10::Float8_e4m3fn>());
}

/// Calls `body` with a null pointer of the tensor's element type, float32 or bfloat16.
template <typename Body>
void with_element(const at::Tensor &x, Body &&body) {
  if (x.scalar_type() == at::kFloat)
    body(static_cast<const float *>(nullptr));
  else
    body(static_cast<const c10::BFloat16 *>(nullptr));
}

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

/// Values [width, P] and scales [width, P / 128] for these tiles; what they do not reach is zeros of scale 1.
inline Fp8Pair columns_for(const std::vector<RowTile> &tiles, const std::optional<at::Tensor> &offsets, int64_t rows,
                           int64_t width, const at::Tensor &x) {
  int64_t padded = fp8_padded_rows(rows, offsets ? offsets->numel() : 1);
  int64_t used = static_cast<int64_t>(tiles.size()) * kFp8Tile;
  auto values = at::empty({width, padded}, x.options().dtype(at::kFloat8_e4m3fn));
  auto scales = scales_by_tile(width, padded / kFp8Tile, x);
  if (used < padded) {
    values.slice(1, used).view(at::kByte).zero_();
    scales.slice(1, used / kFp8Tile).fill_(1);
  }
  return {values, scales};
}

}  // namespace xtuner::cpu
