// Products of quantised operands in float32, for devices that do not multiply float8: the operands are read back as
// float32 and multiplied so.
//
// A GPU that does multiplies the e4m3 values, sums 128 products, and multiplies the sum by both scales; here each operand
// is multiplied by its scale first. Products of e4m3 numbers are exact in float32, so only roundings of sums and of float32
// differ (and the tensor cores' sums of fewer bits).
#pragma once

#include <ATen/Context.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

#include <vector>

#include "../dispatch.h"
#include "arguments.h"
#include "operators.h"

namespace xtuner::emulated {

using at::Tensor;

inline Tensor read(const Tensor &values, const Tensor &scales, int64_t tile_rows) {
  return call<Tensor(const Tensor &, const Tensor &, int64_t, at::ScalarType)>("xtuner::fp8_dequantize", values, scales,
                                                                               tile_rows, at::kFloat);
}

/// A weight in blocks, or a transposed view of one.
inline Tensor read_blocks(const Tensor &values, const Tensor &scales) {
  return values.stride(-1) == 1 ? read(values, scales, kFp8Tile) : read(values.mT(), scales.mT(), kFp8Tile).mT();
}

/// Sums of products of float32 as they are, not of rounded operands.
inline Tensor float_product(const Tensor &a, const Tensor &b) {
  at::NoTF32Guard exact;
  return at::mm(a, b);
}

inline Tensor product(const Tensor &x, const Tensor &x_scales, const Tensor &weight, const Tensor &weight_scales,
                      const std::optional<Tensor> &bias) {
  TORCH_CHECK(x.dim() == 2 && weight.dim() == 2 && x.size(1) == weight.size(1), "fp8_product: x ", x.sizes(),
              " with weight ", weight.sizes());
  auto y = float_product(read(x, x_scales, 1), read_blocks(weight, weight_scales).t());
  if (bias) y.add_(bias->to(at::kFloat));
  return y.to(at::kBFloat16);
}

/// The end of every group on the host; a device is waited for.
inline std::vector<int64_t> ends_of(const Tensor &offsets, const char *what) {
  check_fp8_offsets(offsets, what);
  auto host = offsets.cpu();
  auto ends = host.const_data_ptr<int64_t>();
  return {ends, ends + host.numel()};
}

inline Tensor grouped_product(const Tensor &x, const Tensor &x_scales, const Tensor &weight,
                              const Tensor &weight_scales, const Tensor &offsets) {
  auto ends = ends_of(offsets, "fp8_grouped_product");
  TORCH_CHECK(x.dim() == 2 && weight.dim() == 3 && x.size(1) == weight.size(2) &&
                  weight.size(0) == static_cast<int64_t>(ends.size()) && (ends.empty() || ends.back() == x.size(0)),
              "fp8_grouped_product: x ", x.sizes(), " with weight ", weight.sizes(), " and offsets ", ends);
  auto y = at::empty({x.size(0), weight.size(1)}, x.options().dtype(at::kBFloat16));
  int64_t begin = 0;
  for (size_t e = 0; e < ends.size(); begin = ends[e++]) {
    if (ends[e] == begin) continue;
    auto rows = read(x.slice(0, begin, ends[e]), x_scales.slice(0, begin, ends[e]), 1);
    y.slice(0, begin, ends[e]).copy_(float_product(rows, read_blocks(weight[e], weight_scales[e]).t()));
  }
  return y;
}

inline Tensor weight_gradient(const Tensor &grad, const Tensor &grad_scales, const Tensor &x, const Tensor &x_scales,
                              const std::optional<Tensor> &offsets, at::ScalarType dtype) {
  TORCH_CHECK(grad.dim() == 2 && x.dim() == 2 && grad.size(1) == x.size(1), "fp8_weight_gradient: gradient ",
              grad.sizes(), " with x ", x.sizes());
  auto options = x.options().dtype(dtype);
  if (!offsets) return float_product(read(grad, grad_scales, 1), read(x, x_scales, 1).t()).to(dtype);
  auto ends = ends_of(*offsets, "fp8_weight_gradient");
  auto out = at::empty({static_cast<int64_t>(ends.size()), grad.size(0), x.size(0)}, options);
  int64_t begin = 0, place = 0;
  for (size_t e = 0; e < ends.size(); begin = ends[e++]) {
    // The padding of a group is zeros, which add nothing.
    int64_t tiles = fp8_tiles(ends[e] - begin), next = place + tiles * kFp8Tile;
    TORCH_CHECK(ends[e] >= begin && next <= x.size(1), "fp8_weight_gradient: offsets ", ends, " for ", x.size(1),
                " columns");
    auto part = [&](const Tensor &t, const Tensor &scales) {
      return read(t.slice(1, place, next), scales.slice(1, place / kFp8Tile, next / kFp8Tile), 1);
    };
    if (tiles == 0)
      out[e].zero_();
    else
      out[e].copy_(float_product(part(grad, grad_scales), part(x, x_scales).t()));
    place = next;
  }
  return out;
}

}  // namespace xtuner::emulated
