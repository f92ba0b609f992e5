// What the CPU kernels of varlen attention share.
#pragma once

#include <ATen/core/Tensor.h>

#include <tuple>

#include "../bf16.h"
#include "arguments.h"

namespace xtuner::cpu {

/// The rows of one head: elements are neighbours, rows `stride` apart.
template <typename Element>
struct HeadRows {
  Element *data;
  int64_t stride;
  Element *at(int64_t row) const { return data + row * stride; }
  HeadRows from(int64_t row) const { return {at(row), stride}; }
};

template <typename Element>
HeadRows<Element> head(const at::Tensor &x, int64_t token, int64_t index) {
  auto data = static_cast<Element *>(x.data_ptr());
  return {data + token * x.stride(0) + index * x.stride(1), x.stride(0)};
}

/// The tensor, or a copy of it whose elements of a head are neighbours.
inline at::Tensor with_dense_heads(const at::Tensor &x) {
  return x.stride(2) == 1 || x.size(2) == 1 ? x : x.contiguous();
}

/// Whether the kernels of cpu_bf16.cpp compute this. They keep the largest score times a positive scale.
inline bool bf16_attention_fits(const at::Tensor &query, double scale) {
  return has_bf16_products() && query.scalar_type() == at::kBFloat16 && scale > 0;
}

std::tuple<at::Tensor, at::Tensor> bf16_attention(const at::Tensor &query, const at::Tensor &key,
                                                  const at::Tensor &value, const Samples &samples, double scale,
                                                  int64_t window, const std::optional<at::Tensor> &sinks);

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> bf16_attention_backward(
    const at::Tensor &grad, const at::Tensor &query, const at::Tensor &key, const at::Tensor &value,
    const at::Tensor &out, const at::Tensor &logsumexp, const Samples &samples, double scale, int64_t window,
    const std::optional<at::Tensor> &sinks);

}  // namespace xtuner::cpu
