// What operators ask of their arguments on every device; each device's own limits are checked where its kernels are.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <optional>

#include "fp8_rule.h"

namespace xtuner {

// ---- Attention

inline void check_attention_heads(const at::Tensor &query, const at::Tensor &key, const at::Tensor &value,
                                  const std::optional<at::Tensor> &sinks) {
  TORCH_CHECK(query.dim() == 3 && key.dim() == 3 && value.dim() == 3 && key.size(0) == query.size(0) &&
                  value.size(0) == query.size(0) && key.size(1) == value.size(1) && query.size(2) == key.size(2) &&
                  key.size(1) > 0 && query.size(1) % key.size(1) == 0,
              "varlen_attention: query ", query.sizes(), ", key ", key.sizes(), ", value ", value.sizes());
  TORCH_CHECK(key.scalar_type() == query.scalar_type() && value.scalar_type() == query.scalar_type(),
              "varlen_attention: query is ", query.scalar_type(), ", key ", key.scalar_type(), ", value ",
              value.scalar_type());
  TORCH_CHECK(!sinks || (sinks->dim() == 1 && sinks->size(0) == query.size(1)), "varlen_attention: sinks for ",
              query.size(1), " heads are ", sinks ? sinks->sizes() : at::IntArrayRef());
}

/// Samples of a pack: tokens `edges[i] ..< edges[i + 1]` are the i-th. They come on the host, whatever the device.
struct Samples {
  const int64_t *edges;
  int64_t count;
  int64_t length(int64_t i) const { return edges[i + 1] - edges[i]; }
  int64_t longest() const {
    int64_t most = 0;
    for (int64_t i = 0; i < count; ++i) most = std::max(most, length(i));
    return most;
  }
};

inline Samples checked_samples(const at::Tensor &bounds, int64_t tokens) {
  TORCH_CHECK(bounds.is_cpu() && bounds.scalar_type() == at::kLong && bounds.is_contiguous() && bounds.numel() >= 1,
              "varlen_attention: bounds must be contiguous int64 on the CPU, got ", bounds.scalar_type(),
              bounds.sizes(), " on ", bounds.device());
  Samples samples{bounds.const_data_ptr<int64_t>(), bounds.numel() - 1};
  TORCH_CHECK(samples.edges[0] == 0 && samples.edges[samples.count] == tokens,
              "varlen_attention: bounds must go from 0 to the ", tokens, " tokens, go from ", samples.edges[0], " to ",
              samples.edges[samples.count]);
  for (int64_t i = 0; i < samples.count; ++i)
    TORCH_CHECK(samples.length(i) >= 0, "varlen_attention: bounds fall at ", i);
  return samples;
}

// ---- Products

inline void check_linear(const at::Tensor &x, const at::Tensor &weight, const std::optional<at::Tensor> &bias) {
  TORCH_CHECK(x.dim() >= 1 && weight.dim() == 2 && x.size(-1) == weight.size(1) &&
                  x.scalar_type() == weight.scalar_type() &&
                  (!bias || (bias->dim() == 1 && bias->size(0) == weight.size(0))),
              "linear: x ", x.scalar_type(), x.sizes(), " with weight ", weight.scalar_type(), weight.sizes(),
              " and bias ", bias ? bias->sizes() : at::IntArrayRef());
}

// ---- float8_e4m3fn

inline void check_fp8_source(const at::Tensor &x, bool may_be_grouped, const char *what) {
  TORCH_CHECK(x.dim() == 2 || (may_be_grouped && x.dim() == 3), what, ": x must be [rows, columns]",
              may_be_grouped ? " or [groups, rows, columns]" : "", ", is ", x.sizes());
  TORCH_CHECK(x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16, what,
              ": takes float32 and bfloat16, got ", x.scalar_type());
}

/// Rows [gate, up] of a SwiGLU whose result is quantised.
inline void check_fp8_gate_up(const at::Tensor &gate_up, const char *what) {
  check_fp8_source(gate_up, false, what);
  TORCH_CHECK(gate_up.size(1) % 2 == 0, what, ": expected [rows, 2 x width], got ", gate_up.sizes());
}

inline void check_fp8_norm(const at::Tensor &x, const std::optional<at::Tensor> &residual, const at::Tensor &weight,
                           const char *what) {
  check_fp8_source(x, false, what);
  TORCH_CHECK(
      x.is_contiguous() && weight.dim() == 1 && weight.size(0) == x.size(1) && weight.scalar_type() == x.scalar_type(),
      what, ": needs contiguous rows and a weight of their width and type, got ", x.scalar_type(), x.sizes(), " and ",
      weight.scalar_type(), weight.sizes());
  TORCH_CHECK(!residual || (residual->sizes() == x.sizes() && residual->scalar_type() == x.scalar_type() &&
                            residual->is_contiguous()),
              what, ": residual ", residual->scalar_type(), residual->sizes(), " for ", x.scalar_type(), x.sizes());
}

inline void check_fp8_offsets(const at::Tensor &offsets, const char *what) {
  TORCH_CHECK(offsets.scalar_type() == at::kLong && offsets.is_contiguous() && offsets.dim() == 1, what,
              ": offsets must be contiguous int64, got ", offsets.scalar_type(), offsets.sizes());
}

inline void check_fp8_dequantize(const at::Tensor &values, const at::Tensor &scales, int64_t tile_rows,
                                 at::ScalarType dtype) {
  TORCH_CHECK(values.dim() == 2 || values.dim() == 3, "fp8_dequantize: values must have 2 or 3 dimensions, are ",
              values.sizes());
  TORCH_CHECK(values.scalar_type() == at::kFloat8_e4m3fn && scales.scalar_type() == at::kFloat &&
                  scales.dim() == values.dim() && (tile_rows == 1 || tile_rows == kFp8Tile),
              "fp8_dequantize: ", values.scalar_type(), values.sizes(), " with scales ", scales.scalar_type(),
              scales.sizes(), " of tiles of ", tile_rows, " rows");
  int64_t bands = (values.size(-2) + tile_rows - 1) / tile_rows;
  TORCH_CHECK(scales.size(-2) == bands && scales.size(-1) == fp8_tiles(values.size(-1)) &&
                  (values.dim() == 2 || scales.size(0) == values.size(0)),
              "fp8_dequantize: ", values.sizes(), " in tiles of ", tile_rows, " x ", kFp8Tile, " needs ", bands, " x ",
              fp8_tiles(values.size(-1)), " scales, got ", scales.sizes());
  TORCH_CHECK(dtype == at::kFloat || dtype == at::kBFloat16, "fp8_dequantize: makes float32 and bfloat16, not ", dtype);
}

// ---- Flat buffers

/// Elements of one type side by side, as many as the weights and on their device.
inline void check_flat(const at::Tensor &tensor, const at::Tensor &weights, const char *name, at::ScalarType type) {
  TORCH_CHECK(tensor.device() == weights.device() && tensor.scalar_type() == type && tensor.is_contiguous() &&
                  tensor.numel() == weights.numel(),
              "adamw: ", name, " must be ", weights.numel(), " contiguous ", type, " on ", weights.device(), ", is ",
              tensor.scalar_type(), tensor.sizes(), " with strides ", tensor.strides(), " on ", tensor.device());
}

/// Weights and moments have `type`, the gradient is float32 or bfloat16.
inline void check_adamw(const at::Tensor &weights, const at::Tensor &gradient, const at::Tensor &first,
                        const at::Tensor &second, at::ScalarType type, int64_t step) {
  check_flat(weights, weights, type == at::kFloat ? "master" : "weights", type);
  check_flat(gradient, weights, "gradient", gradient.scalar_type() == at::kBFloat16 ? at::kBFloat16 : at::kFloat);
  check_flat(first, weights, "first moment", type);
  check_flat(second, weights, "second moment", type);
  TORCH_CHECK(step >= 1, "adamw: step counts from 1, is ", step);
}

/// The copy of the weights that computation reads.
inline void check_adamw_copy(const std::optional<at::Tensor> &copy, const at::Tensor &weights) {
  if (!copy) return;
  auto type = copy->scalar_type();
  TORCH_CHECK((type == at::kBFloat16 || type == at::kHalf) && copy->is_contiguous() &&
                  copy->numel() == weights.numel() && copy->device() == weights.device(),
              "adamw: copy must be ", weights.numel(), " contiguous bfloat16 or float16 on ", weights.device(), ", is ",
              type, copy->sizes(), " on ", copy->device());
}

inline void check_add_rows(const at::Tensor &into, const at::Tensor &rows, const at::Tensor &indices) {
  TORCH_CHECK(into.dim() == 2 && into.scalar_type() == at::kFloat && into.is_contiguous(),
              "add_rows: the target must be contiguous float32 [V, D], is ", into.scalar_type(), into.sizes());
  TORCH_CHECK(rows.dim() == 2 && rows.size(1) == into.size(1), "add_rows: rows ", rows.sizes(), " for a target ",
              into.sizes());
  TORCH_CHECK(indices.scalar_type() == at::kLong && indices.is_contiguous() && indices.numel() == rows.size(0),
              "add_rows: indices must be ", rows.size(0), " contiguous int64, are ", indices.scalar_type(),
              indices.sizes());
}

}  // namespace xtuner
