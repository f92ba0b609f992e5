// CPU kernels of the quantisation to float8_e4m3fn.
#include "cpu_fp8.h"

#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <array>

#define XTUNER_KERNELS "kernels_fp8.h"
#include "each_instruction_set.h"

namespace xtuner::cpu {
namespace {

using at::Tensor;

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

Fp8Pair quantize_columns(const Tensor &x, const std::optional<Tensor> &offsets) {
  check_fp8_source(x, false, "fp8_quantize_columns");
  auto from = x.contiguous();
  int64_t rows = x.size(0), width = x.size(1);
  auto tiles = row_tiles(offsets, rows, "fp8_quantize_columns");
  auto [values, scales] = columns_for(tiles, offsets, rows, width, x);
  int64_t padded = values.size(1);
  auto to = bytes_of(values);
  auto to_scales = scales.mutable_data_ptr<float>();
  with_element(x, [&](auto *element) {
    using Element = std::remove_const_t<std::remove_pointer_t<decltype(element)>>;
    auto kernel = XTUNER_KERNEL(quantize_columns<Element>);
    auto xs = from.const_data_ptr<Element>();
    parallel_for(static_cast<int64_t>(tiles.size()), grain(width * kFp8Tile), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        kernel(xs + tiles[i].row * width, to + tiles[i].place, to_scales + tiles[i].place / kFp8Tile * width,
               tiles[i].count, width, padded);
    });
  });
  return {values, scales};
}

/// In rows, then in columns.
std::tuple<Tensor, Tensor, Tensor, Tensor> quantize_both(const Tensor &x, const std::optional<Tensor> &offsets) {
  return std::tuple_cat(quantize_rows(x), quantize_columns(x, offsets));
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
  m.impl("fp8_quantize_both", quantize_both);
  m.impl("fp8_dequantize", dequantize);
}
