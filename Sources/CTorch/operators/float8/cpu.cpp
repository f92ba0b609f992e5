// CPU kernels of float8_e4m3fn: quantisation, of what is there or of what another kernel has just made, and products, which
// are those of float32 numbers: a CPU does not multiply float8.
#include "cpu.h"

#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <array>

#include "emulated.h"
#include "parts.h"

#define XTUNER_KERNELS "float8/kernels_fused.h"
#include "../each_instruction_set.h"

namespace xtuner::cpu {
namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;

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

// ---- What is made and quantised at once: SwiGLU, whose result is not written, and normalised rows

Fp8Pair swiglu_rows(const Tensor &gate_up) {
  check_fp8_gate_up(gate_up, "fp8_swiglu_rows");
  int64_t rows = gate_up.size(0), width = gate_up.size(1) / 2;
  return in_rows(gate_up, width, [&](auto *in, uint8_t *to, float *scales, int64_t begin, int64_t end) {
    using Element = ElementOf<decltype(in)>;
    std::vector<Element> buffer(size_t(baseline::kMadeRows * width));
    XTUNER_KERNEL(quantize_swiglu_rows<Element>)(in, buffer.data(), to, scales, rows, width, begin, end);
  });
}

Fp8Pair swiglu_columns(const Tensor &gate_up, const OptionalTensor &offsets) {
  check_fp8_gate_up(gate_up, "fp8_swiglu_columns");
  int64_t width = gate_up.size(1) / 2;
  return in_columns(gate_up, width, offsets, "fp8_swiglu_columns",
                    [&](auto *in, const RowTile *tile, const RowTile *end, uint8_t *to, float *scales, int64_t padded) {
                      using Element = ElementOf<decltype(in)>;
                      auto kernel = XTUNER_KERNEL(quantize_swiglu_columns<Element>);
                      std::vector<Element> buffer(size_t(kFp8Tile * width));
                      for (; tile < end; ++tile)
                        kernel(in + tile->row * 2 * width, buffer.data(), to + tile->place,
                               scales + tile->place / kFp8Tile * width, tile->count, width, padded);
                    });
}

/// (sum, y, scale, values, their scales); without a residual the sum is undefined.
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> rms_norm(const Tensor &x, const OptionalTensor &residual,
                                                            const Tensor &weight, double epsilon) {
  check_fp8_norm(x, residual, weight, "fp8_rms_norm");
  int64_t rows = x.size(0), width = x.size(1);
  auto w = weight.contiguous(), sum = residual ? at::empty_like(x) : Tensor();
  auto y = at::empty_like(x), scale = at::empty({rows}, x.options().dtype(at::kFloat));
  auto norm_scales = scale.mutable_data_ptr<float>();
  auto [values, scales] = in_rows(x, width, [&](auto *xs, uint8_t *to, float *to_scales, int64_t begin, int64_t end) {
    using Element = ElementOf<decltype(xs)>;
    XTUNER_KERNEL(quantize_norm_rows<Element>)
    (xs, residual ? residual->const_data_ptr<Element>() : nullptr, w.const_data_ptr<Element>(),
     residual ? sum.mutable_data_ptr<Element>() : nullptr, y.mutable_data_ptr<Element>(), norm_scales, to, to_scales,
     rows, width, epsilon, begin, end);
  });
  return {sum, y, scale, values, scales};
}

// ---- A part of matrices whose other parts are elsewhere

Tensor part_magnitudes(const Tensor &x, int64_t start, int64_t groups, int64_t rows, int64_t width) {
  fp8_check_part("fp8_part_magnitudes", x, start, groups, rows, width);
  int64_t bands = fp8_tiles(rows);
  auto largest = at::empty({groups, bands, fp8_tiles(width)}, x.options().dtype(at::kInt));
  auto to = reinterpret_cast<uint32_t *>(largest.mutable_data_ptr<int32_t>());
  with_elements(x, [&](auto *xs) {
    auto kernel = XTUNER_KERNEL(part_magnitudes<ElementOf<decltype(xs)>>);
    parallel_for(groups * bands, row_grain(width * kFp8Tile),
                 [&](int64_t begin, int64_t end) { kernel(xs, to, start, x.numel(), rows, width, begin, end); });
  });
  return largest;
}

void quantize_part(Tensor &values, const Tensor &x, const Tensor &scales, int64_t start, int64_t rows, int64_t width) {
  int64_t groups = fp8_check_part("fp8_quantize_part", values, x, scales, start, rows, width);
  auto to = bytes_of(values);
  auto factors = scales.const_data_ptr<float>();
  with_elements(x, [&](auto *xs) {
    auto kernel = XTUNER_KERNEL(quantize_part<ElementOf<decltype(xs)>>);
    parallel_for(groups * fp8_tiles(rows), row_grain(width * kFp8Tile), [&](int64_t begin, int64_t end) {
      kernel(xs, to, factors, start, x.numel(), rows, width, begin, end);
    });
  });
}

// ---- Products

void check_emulated(bool native) {
  TORCH_CHECK(!native, "a CPU does not multiply float8; emulated products compute the same numbers");
}

Tensor product(const Tensor &x, const Tensor &x_scales, const Tensor &weight, const Tensor &weight_scales,
               const std::optional<Tensor> &bias, bool native) {
  check_emulated(native);
  return emulated::product(x, x_scales, weight, weight_scales, bias);
}

Tensor grouped_product(const Tensor &x, const Tensor &x_scales, const Tensor &weight, const Tensor &weight_scales,
                       const Tensor &offsets, bool native) {
  check_emulated(native);
  return emulated::grouped_product(x, x_scales, weight, weight_scales, offsets);
}

Tensor weight_gradient(const Tensor &grad, const Tensor &grad_scales, const Tensor &x, const Tensor &x_scales,
                       const std::optional<Tensor> &offsets, at::ScalarType dtype, bool native) {
  check_emulated(native);
  return emulated::weight_gradient(grad, grad_scales, x, x_scales, offsets, dtype);
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
  m.impl("fp8_swiglu_rows", swiglu_rows);
  m.impl("fp8_swiglu_columns", swiglu_columns);
  m.impl("fp8_rms_norm", rms_norm);
  m.impl("fp8_part_magnitudes", part_magnitudes);
  m.impl("fp8_quantize_part_", quantize_part);
  m.impl("fp8_product", product);
  m.impl("fp8_grouped_product", grouped_product);
  m.impl("fp8_weight_gradient", weight_gradient);
}
