// What attention asks of its arguments on every device; each device's own limits are checked where its kernels are.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <optional>

namespace xtuner {

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

}  // namespace xtuner
