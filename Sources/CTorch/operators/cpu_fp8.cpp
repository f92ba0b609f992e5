// CPU kernels of the quantisation to float8_e4m3fn.
#include <ATen/ops/empty.h>
#include <c10/util/Float8_e4m3fn.h>
#include <torch/library.h>

#include <array>
#include <vector>

#include "arguments.h"
#include "fp8.h"
#include "parallel.h"

#define XTUNER_KERNELS "kernels_fp8.h"
#include "each_instruction_set.h"

namespace xtuner::cpu {
namespace {

using at::Tensor;

constexpr int64_t kElementGrain = 16384;
int64_t grain(int64_t elements) { return std::max<int64_t>(1, kElementGrain / std::max<int64_t>(elements, 1)); }

uint8_t *bytes_of(Tensor &values) { return reinterpret_cast<uint8_t *>(values.mutable_data_ptr<c10::Float8_e4m3fn>()); }

/// Calls `body` with a null pointer of the tensor's element type, float32 or bfloat16.
template <typename Body>
void with_element(const Tensor &x, Body &&body) {
  if (x.scalar_type() == at::kFloat)
    body(static_cast<const float *>(nullptr));
  else
    body(static_cast<const c10::BFloat16 *>(nullptr));
}

/// [columns of tiles, rows of tiles] in memory, seen as [..., rows of tiles, columns of tiles].
Tensor scales_by_tile(int64_t rows, int64_t tiles, const Tensor &x) {
  return at::empty({tiles, rows}, x.options().dtype(at::kFloat)).t();
}

Fp8Pair quantize_rows(const Tensor &x) {
  check_fp8_source(x, false, "fp8_quantize_rows");
  auto from = x.contiguous();
  int64_t rows = x.size(0), width = x.size(1);
  auto values = at::empty({rows, width}, x.options().dtype(at::kFloat8_e4m3fn));
  auto scales = scales_by_tile(rows, fp8_tiles(width), x);
  with_element(x, [&](auto *element) {
    using Element = std::remove_const_t<std::remove_pointer_t<decltype(element)>>;
    auto kernel = XTUNER_KERNEL(quantize_bands<Element>);
    auto xs = from.const_data_ptr<Element>();
    auto to = bytes_of(values);
    auto to_scales = scales.mutable_data_ptr<float>();
    parallel_for(rows, grain(width),
                 [&](int64_t begin, int64_t end) { kernel(xs, to, to_scales, rows, width, 1, 1, rows, begin, end); });
  });
  return {values, scales};
}

Fp8Pair quantize_blocks(const Tensor &x) {
  check_fp8_source(x, true, "fp8_quantize_blocks");
  auto from = x.contiguous();
  int64_t groups = x.dim() == 3 ? x.size(0) : 1, rows = x.size(-2), width = x.size(-1);
  int64_t bands = fp8_tiles(rows), tiles = fp8_tiles(width);
  auto shape = x.sizes().vec();
  auto values = at::empty(shape, x.options().dtype(at::kFloat8_e4m3fn));
  shape[shape.size() - 2] = bands;
  shape[shape.size() - 1] = tiles;
  auto scales = at::empty(shape, x.options().dtype(at::kFloat));
  with_element(x, [&](auto *element) {
    using Element = std::remove_const_t<std::remove_pointer_t<decltype(element)>>;
    auto kernel = XTUNER_KERNEL(quantize_bands<Element>);
    auto xs = from.const_data_ptr<Element>();
    auto to = bytes_of(values);
    auto to_scales = scales.mutable_data_ptr<float>();
    parallel_for(groups * bands, grain(width * kFp8Tile), [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        int64_t group = item / bands, band = item % bands, place = group * rows * width;
        kernel(xs + place, to + place, to_scales + group * bands * tiles, rows, width, kFp8Tile, tiles, 1, band,
               band + 1);
      }
    });
  });
  return {values, scales};
}

/// At most 128 rows of one group, and where their tile starts in a column.
struct RowTile {
  int64_t row, count, place;
};

std::vector<RowTile> row_tiles(const std::optional<Tensor> &offsets, int64_t rows) {
  std::vector<int64_t> ends = {rows};
  if (offsets) {
    check_fp8_offsets(*offsets, "fp8_quantize_columns");
    ends.assign(offsets->const_data_ptr<int64_t>(), offsets->const_data_ptr<int64_t>() + offsets->numel());
  }
  std::vector<RowTile> tiles;
  int64_t row = 0, place = 0;
  for (auto end : ends) {
    TORCH_CHECK(end >= row, "fp8_quantize_columns: offsets fall from ", row, " to ", end);
    for (; row < end; place += kFp8Tile) {
      int64_t count = std::min(kFp8Tile, end - row);
      tiles.push_back({row, count, place});
      row += count;
    }
  }
  TORCH_CHECK(row == rows, "fp8_quantize_columns: offsets end at ", row, ", not at the ", rows, " rows");
  return tiles;
}

Fp8Pair quantize_columns(const Tensor &x, const std::optional<Tensor> &offsets) {
  check_fp8_source(x, false, "fp8_quantize_columns");
  auto from = x.contiguous();
  int64_t rows = x.size(0), width = x.size(1);
  auto tiles = row_tiles(offsets, rows);
  int64_t padded = fp8_padded_rows(rows, offsets ? offsets->numel() : 1);
  int64_t used = static_cast<int64_t>(tiles.size()) * kFp8Tile;
  auto values = at::empty({width, padded}, x.options().dtype(at::kFloat8_e4m3fn));
  auto scales = scales_by_tile(width, padded / kFp8Tile, x);
  if (used < padded) {
    values.slice(1, used).view(at::kByte).zero_();
    scales.slice(1, used / kFp8Tile).fill_(1);
  }
  with_element(x, [&](auto *element) {
    using Element = std::remove_const_t<std::remove_pointer_t<decltype(element)>>;
    auto kernel = XTUNER_KERNEL(quantize_columns<Element>);
    auto xs = from.const_data_ptr<Element>();
    auto to = bytes_of(values);
    auto to_scales = scales.mutable_data_ptr<float>();
    parallel_for(static_cast<int64_t>(tiles.size()), grain(width * kFp8Tile), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        kernel(xs + tiles[i].row * width, to + tiles[i].place, to_scales + tiles[i].place / kFp8Tile * width,
               tiles[i].count, width, padded);
    });
  });
  return {values, scales};
}

/// The numbers of all bytes.
const float *numbers_of_bytes() {
  static const auto numbers = [] {
    std::array<float, 256> numbers{};
    for (int byte = 0; byte < 256; ++byte)
      numbers[byte] = c10::Float8_e4m3fn(uint8_t(byte), c10::Float8_e4m3fn::from_bits());
    return numbers;
  }();
  return numbers.data();
}

Tensor dequantize(const Tensor &values, const Tensor &scales, int64_t tile_rows, at::ScalarType dtype) {
  check_fp8_dequantize(values, scales, tile_rows, dtype);
  int64_t groups = values.dim() == 3 ? values.size(0) : 1, rows = values.size(-2), width = values.size(-1);
  auto from = values.contiguous();
  auto bytes = reinterpret_cast<const uint8_t *>(from.const_data_ptr<c10::Float8_e4m3fn>());
  auto numbers = numbers_of_bytes();
  auto factors = scales.const_data_ptr<float>();
  int64_t group_step = values.dim() == 3 ? scales.stride(0) : 0;
  auto out = at::empty(values.sizes(), values.options().dtype(dtype));
  with_element(out, [&](auto *element) {
    using Element = std::remove_const_t<std::remove_pointer_t<decltype(element)>>;
    auto kernel = XTUNER_KERNEL(dequantize_rows<Element>);
    auto to = out.mutable_data_ptr<Element>();
    for (int64_t g = 0; g < groups; ++g)
      parallel_for(rows, grain(width), [&](int64_t begin, int64_t end) {
        int64_t place = g * rows * width;
        kernel(bytes + place, numbers, factors + g * group_step, to + place, width, tile_rows, scales.stride(-2),
               scales.stride(-1), begin, end);
      });
  });
  return out;
}

}  // namespace
}  // namespace xtuner::cpu

TORCH_LIBRARY_IMPL(xtuner, CPU, m) {
  using namespace xtuner::cpu;
  m.impl("fp8_quantize_rows", quantize_rows);
  m.impl("fp8_quantize_blocks", quantize_blocks);
  m.impl("fp8_quantize_columns", quantize_columns);
  m.impl("fp8_dequantize", dequantize);
}
