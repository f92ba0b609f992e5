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
  int64_t rows = x.size(0), width = x.size(1);
  return in_rows(x, width, [&](auto *xs, uint8_t *to, float *scales, int64_t begin, int64_t end) {
    XTUNER_KERNEL(quantize_bands<ElementOf<decltype(xs)>>)(xs, to, scales, rows, width, 1, 1, rows, begin, end);
  });
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
  with_elements(from, [&](auto *xs) {
    auto kernel = XTUNER_KERNEL(quantize_bands<ElementOf<decltype(xs)>>);
    auto to = bytes_of(values);
    auto to_scales = scales.mutable_data_ptr<float>();
    parallel_for(groups * bands, row_grain(width * kFp8Tile), [&](int64_t begin, int64_t end) {
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
  int64_t width = x.size(1);
  return in_columns(x, width, offsets, "fp8_quantize_columns",
                    [&](auto *xs, const RowTile *tile, const RowTile *end, uint8_t *to, float *scales, int64_t padded) {
                      auto kernel = XTUNER_KERNEL(quantize_columns<ElementOf<decltype(xs)>>);
                      for (; tile < end; ++tile)
                        kernel(xs + tile->row * width, to + tile->place, scales + tile->place / kFp8Tile * width,
                               tile->count, width, padded);
                    });
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
  with_elements(out, [&](auto *elements) {
    using Element = ElementOf<decltype(elements)>;
    auto kernel = XTUNER_KERNEL(dequantize_rows<Element>);
    auto to = out.mutable_data_ptr<Element>();
    for (int64_t g = 0; g < groups; ++g)
      parallel_for(rows, row_grain(width), [&](int64_t begin, int64_t end) {
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
