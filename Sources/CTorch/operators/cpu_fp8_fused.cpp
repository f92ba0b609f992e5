// CPU kernels that quantise to float8_e4m3fn what they make: SwiGLU, whose result is not written, and normalised rows.
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include "cpu_fp8.h"

#define XTUNER_KERNELS "kernels_fp8_fused.h"
#include "each_instruction_set.h"

namespace xtuner::cpu {
namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;

Fp8Pair swiglu_rows(const Tensor &gate_up) {
  check_fp8_gate_up(gate_up, "fp8_swiglu_rows");
  auto from = gate_up.contiguous();
  int64_t rows = gate_up.size(0), width = gate_up.size(1) / 2;
  auto values = at::empty({rows, width}, gate_up.options().dtype(at::kFloat8_e4m3fn));
  auto scales = scales_by_tile(rows, fp8_tiles(width), gate_up);
  with_element(gate_up, [&](auto *element) {
    using Element = std::remove_const_t<std::remove_pointer_t<decltype(element)>>;
    auto kernel = XTUNER_KERNEL(quantize_swiglu_rows<Element>);
    auto in = from.const_data_ptr<Element>();
    auto to = bytes_of(values);
    auto to_scales = scales.mutable_data_ptr<float>();
    parallel_for(rows, grain(width), [&](int64_t begin, int64_t end) {
      std::vector<Element> buffer(size_t(baseline::kMadeRows * width));
      kernel(in, buffer.data(), to, to_scales, rows, width, begin, end);
    });
  });
  return {values, scales};
}

Fp8Pair swiglu_columns(const Tensor &gate_up, const OptionalTensor &offsets) {
  check_fp8_gate_up(gate_up, "fp8_swiglu_columns");
  auto from = gate_up.contiguous();
  int64_t rows = gate_up.size(0), width = gate_up.size(1) / 2;
  auto tiles = row_tiles(offsets, rows, "fp8_swiglu_columns");
  auto [values, scales] = columns_for(tiles, offsets, rows, width, gate_up);
  int64_t padded = values.size(1);
  auto to = bytes_of(values);
  auto to_scales = scales.mutable_data_ptr<float>();
  with_element(gate_up, [&](auto *element) {
    using Element = std::remove_const_t<std::remove_pointer_t<decltype(element)>>;
    auto kernel = XTUNER_KERNEL(quantize_swiglu_columns<Element>);
    auto in = from.const_data_ptr<Element>();
    parallel_for(static_cast<int64_t>(tiles.size()), grain(width * kFp8Tile), [&](int64_t begin, int64_t end) {
      std::vector<Element> buffer(size_t(kFp8Tile * width));
      for (int64_t i = begin; i < end; ++i)
        kernel(in + tiles[i].row * 2 * width, buffer.data(), to + tiles[i].place,
               to_scales + tiles[i].place / kFp8Tile * width, tiles[i].count, width, padded);
    });
  });
  return {values, scales};
}

using Norm = std::tuple<Tensor, Tensor, Tensor, Tensor>;
using AddNorm = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

/// (sum, y, scale, values, their scales); without a residual the sum is undefined.
AddNorm quantized_norm(const Tensor &x, const OptionalTensor &residual, const Tensor &weight, double epsilon,
                       const char *what) {
  check_fp8_norm(x, residual, weight, what);
  int64_t rows = x.size(0), width = x.size(1);
  auto w = weight.contiguous(), sum = residual ? at::empty_like(x) : Tensor();
  auto y = at::empty_like(x), scale = at::empty({rows}, x.options().dtype(at::kFloat));
  auto values = at::empty(x.sizes(), x.options().dtype(at::kFloat8_e4m3fn));
  auto scales = scales_by_tile(rows, fp8_tiles(width), x);
  with_element(x, [&](auto *element) {
    using Element = std::remove_const_t<std::remove_pointer_t<decltype(element)>>;
    auto kernel = XTUNER_KERNEL(quantize_norm_rows<Element>);
    auto xs = x.const_data_ptr<Element>(), ws = w.const_data_ptr<Element>();
    auto rs = residual ? residual->const_data_ptr<Element>() : nullptr;
    auto sums = residual ? sum.mutable_data_ptr<Element>() : nullptr;
    auto ys = y.mutable_data_ptr<Element>();
    auto norm_scales = scale.mutable_data_ptr<float>();
    auto to = bytes_of(values);
    auto to_scales = scales.mutable_data_ptr<float>();
    parallel_for(rows, grain(width), [&](int64_t begin, int64_t end) {
      kernel(xs, rs, ws, sums, ys, norm_scales, to, to_scales, rows, width, epsilon, begin, end);
    });
  });
  return {sum, y, scale, values, scales};
}

Norm rms_norm(const Tensor &x, const Tensor &weight, double epsilon) {
  auto [sum, y, scale, values, scales] = quantized_norm(x, std::nullopt, weight, epsilon, "fp8_rms_norm");
  return {y, scale, values, scales};
}

AddNorm add_rms_norm(const Tensor &x, const Tensor &residual, const Tensor &weight, double epsilon) {
  return quantized_norm(x, residual, weight, epsilon, "fp8_add_rms_norm");
}

}  // namespace
}  // namespace xtuner::cpu

TORCH_LIBRARY_IMPL(xtuner, CPU, m) {
  using namespace xtuner::cpu;
  m.impl("fp8_swiglu_rows", swiglu_rows);
  m.impl("fp8_swiglu_columns", swiglu_columns);
  m.impl("fp8_rms_norm", rms_norm);
  m.impl("fp8_add_rms_norm", add_rms_norm);
}
