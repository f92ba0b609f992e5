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

}  // namespace
}  // namespace xtuner::cpu

TORCH_LIBRARY_IMPL(xtuner, CPU, m) {
  using namespace xtuner::cpu;
  m.impl("fp8_swiglu_rows", swiglu_rows);
  m.impl("fp8_swiglu_columns", swiglu_columns);
  m.impl("fp8_rms_norm", rms_norm);
}
