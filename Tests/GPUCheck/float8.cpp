// Operators of float8 at the shapes of a model. The products stand beside those of bfloat16: linear, linear_backward,
// grouped_linear, grouped_linear_backward of workload.cpp have the same sizes.
#include <ATen/ATen.h>
#include <ATen/BlasBackend.h>

#include "../../Sources/CTorch/operators/dispatch.h"
#include "../../Sources/CTorch/operators/float8/operators.h"
#include "workload.h"

namespace gpucheck {
namespace {

using at::Tensor;
using xtuner::call;
using xtuner::Fp8Pair;
using T = const Tensor &;
using Optional = std::optional<Tensor>;

Fp8Pair rows(T x) { return call<Fp8Pair(T)>("xtuner::fp8_quantize_rows", x); }
Fp8Pair blocks(T x) { return call<Fp8Pair(T)>("xtuner::fp8_quantize_blocks", x); }
Fp8Pair columns(T x, const Optional &offsets) {
  return call<Fp8Pair(T, const Optional &)>("xtuner::fp8_quantize_columns", x, offsets);
}

void add_quantization(std::vector<Measurement> &list) {
  // A read of bfloat16 and a write of float8; the scales are a 42nd of that.
  constexpr double kWide = 3.0 * kRows * kHidden, kWeights = 3.0 * kExperts * 2 * kExpertWidth * kHidden;
  list.push_back({"fp8_quantize_rows", shape({kRows, kHidden}), kWide, 0, [](at::Device device) {
                    auto x = normal({kRows, kHidden}, device);
                    return [=] { rows(x); };
                  }});
  list.push_back(
      {"fp8_quantize_blocks", shape({kExperts, 2 * kExpertWidth, kHidden}), kWeights, 0, [](at::Device device) {
         auto w = normal({kExperts, 2 * kExpertWidth, kHidden}, device);
         return [=] { blocks(w); };
       }});
  list.push_back({"fp8_quantize_columns", shape({kExperts, kRows, kHidden}), kWide, 0, [](at::Device device) {
                    auto x = normal({kRows, kHidden}, device);
                    Routing r(device);
                    return [=] { columns(x, r.offsets); };
                  }});
  // A read of bfloat16 and two writes of float8.
  list.push_back(
      {"fp8_quantize_both", shape({kExperts, kRows, kHidden}), 4.0 * kRows * kHidden, 0, [](at::Device device) {
         auto x = normal({kRows, kHidden}, device);
         Routing r(device);
         return [=] {
           call<std::tuple<Tensor, Tensor, Tensor, Tensor>(T, const Optional &)>("xtuner::fp8_quantize_both", x,
                                                                                 Optional(r.offsets));
         };
       }});
  // SwiGLU's are beside swiglu and fp8_quantize_rows of half the width, the norm's beside rms_norm and fp8_quantize_rows.
  constexpr double kGateUp = 5.0 * kRows * kExpertWidth, kNorm = 5.0 * kTokens * kHidden;
  list.push_back({"fp8_swiglu_rows", shape({kRows, 2 * kExpertWidth}), kGateUp, 0, [](at::Device device) {
                    auto x = normal({kRows, 2 * kExpertWidth}, device);
                    return [=] { call<Fp8Pair(T)>("xtuner::fp8_swiglu_rows", x); };
                  }});
  list.push_back({"fp8_swiglu_columns", shape({kExperts, kRows, 2 * kExpertWidth}), kGateUp, 0, [](at::Device device) {
                    auto x = normal({kRows, 2 * kExpertWidth}, device);
                    Routing r(device);
                    return [=] {
                      call<Fp8Pair(T, const Optional &)>("xtuner::fp8_swiglu_columns", x, Optional(r.offsets));
                    };
                  }});
  using Norm = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>(T, const Optional &, T, double);
  list.push_back({"fp8_rms_norm", shape({kTokens, kHidden}), kNorm, 0, [](at::Device device) {
                    auto x = normal({kTokens, kHidden}, device), w = normal({kHidden}, device);
                    return [=] { call<Norm>("xtuner::fp8_rms_norm", x, Optional(), w, 1e-6); };
                  }});
  // Two reads and two writes of bfloat16, one of float8.
  list.push_back(
      {"fp8_rms_norm with an addition", shape({kTokens, kHidden}), 9.0 * kTokens * kHidden, 0, [](at::Device device) {
         auto x = normal({kTokens, kHidden}, device), w = normal({kHidden}, device);
         return [=] { call<Norm>("xtuner::fp8_rms_norm", x, Optional(x), w, 1e-6); };
       }});
  list.push_back({"fp8_dequantize", shape({kRows, kHidden}), kWide, 0, [](at::Device device) {
                    auto [values, scales] = rows(normal({kRows, kHidden}, device));
                    return [=, values = values, scales = scales] {
                      call<Tensor(T, T, int64_t, at::ScalarType)>("xtuner::fp8_dequantize", values, scales, int64_t(1),
                                                                  at::kBFloat16);
                    };
                  }});
}

/// `offsets` make it a product of groups. `is_transposed`: the weight as a transposed view, as for input gradients.
std::function<void()> product(T x, T weight, const Optional &offsets, bool is_transposed) {
  auto [xv, xs] = rows(x);
  auto [wv, ws] = blocks(weight);
  auto values = is_transposed ? wv.mT() : wv, scales = is_transposed ? ws.mT() : ws;
  return [=, xv = xv, xs = xs] {
    if (offsets)
      call<Tensor(T, T, T, T, T, bool)>("xtuner::fp8_grouped_product", xv, xs, values, scales, *offsets, true);
    else
      call<Tensor(T, T, T, T, const Optional &, bool)>("xtuner::fp8_product", xv, xs, values, scales, Optional(), true);
  };
}

std::function<void()> weight_gradient(T grad, T x, const Optional &offsets) {
  auto [gv, gs] = columns(grad, offsets);
  auto [xv, xs] = columns(x, offsets);
  return [=, gv = gv, gs = gs, xv = xv, xs = xs] {
    call<Tensor(T, T, T, T, const Optional &, at::ScalarType, bool)>("xtuner::fp8_weight_gradient", gv, gs, xv, xs,
                                                                     offsets, at::kBFloat16, true);
  };
}

void add_products(std::vector<Measurement> &list) {
  constexpr int64_t kJoint = (kHeads + 2 * kKeyHeads) * kHeadSize, kWide = 2 * kExpertWidth;
  constexpr double kLinear = 2.0 * kTokens * kHidden * kJoint, kGrouped = 2.0 * kRows * kHidden * kWide;
  auto dense = shape({kTokens, kHidden, kJoint}), grouped = shape({kExperts, kRows, kHidden, kWide});
  list.push_back({"fp8_product", dense, 0, kLinear,
                  [](at::Device device) {
                    return product(normal({kTokens, kHidden}, device), normal({kJoint, kHidden}, device), {}, false);
                  },
                  2});
  // cuBLASLt's product of the same operands, through libtorch: whether it is the better one is not known yet. It takes the
  // weights' scales in columns of a multiple of four.
  list.push_back({"_scaled_mm_v2", dense, 0, kLinear,
                  [](at::Device device) -> std::function<void()> {
                    using at::blas::ScalingType;
                    auto [xv, xs] = rows(normal({kTokens, kHidden}, device));
                    auto [wv, ws] = blocks(normal({kJoint, kHidden}, device));
                    static_assert(kHidden / xtuner::kFp8Tile % 4 == 0);
                    return [xv = xv, xs = xs, w = wv.t(), scales = ws.t()] {
                      constexpr int64_t kRows1x128 = int64_t(ScalingType::BlockWise1x128),
                                        kBlocks128x128 = int64_t(ScalingType::BlockWise128x128);
                      at::_scaled_mm_v2(xv, w, {xs}, {kRows1x128}, {}, {scales}, {kBlocks128x128}, {}, std::nullopt,
                                        at::kBFloat16);
                    };
                  },
                  2, /*is_ours=*/false});
  list.push_back({"fp8_weight_gradient", dense, 0, kLinear,
                  [](at::Device device) {
                    return weight_gradient(normal({kTokens, kJoint}, device), normal({kTokens, kHidden}, device), {});
                  },
                  2});
  list.push_back({"fp8_grouped_product", grouped, 0, kGrouped,
                  [](at::Device device) {
                    return product(normal({kRows, kHidden}, device), normal({kExperts, kWide, kHidden}, device),
                                   Routing(device).offsets, false);
                  },
                  2});
  list.push_back({"fp8_grouped_product of dx", grouped, 0, kGrouped,
                  [](at::Device device) {
                    return product(normal({kRows, kWide}, device), normal({kExperts, kWide, kHidden}, device),
                                   Routing(device).offsets, true);
                  },
                  2});
  list.push_back({"fp8_weight_gradient", grouped, 0, kGrouped,
                  [](at::Device device) {
                    return weight_gradient(normal({kRows, kWide}, device), normal({kRows, kHidden}, device),
                                           Routing(device).offsets);
                  },
                  2});
}

/// A linear layer with all that belongs to it: quantisation, the three products, and the transposed weight.
void add_layers(std::vector<Measurement> &list) {
  constexpr int64_t kWide = 2 * kExpertWidth;
  constexpr double kGrouped = 2.0 * kRows * kHidden * kWide;
  list.push_back({"fp8 experts, whole", shape({kExperts, kRows, kHidden, kWide}), 0, 3 * kGrouped,
                  [](at::Device device) -> std::function<void()> {
                    auto x = normal({kRows, kHidden}, device), w = normal({kExperts, kWide, kHidden}, device),
                         g = normal({kRows, kWide}, device);
                    Routing r(device);
                    return [=] {
                      product(x, w, r.offsets, false)();
                      product(g, w, r.offsets, true)();
                      weight_gradient(g, x, r.offsets)();
                    };
                  },
                  2});
}

}  // namespace

void add_float8(std::vector<Measurement> &list, bool has_native_float8) {
  add_quantization(list);
  if (!has_native_float8) return;
  add_products(list);
  add_layers(list);
}

}  // namespace gpucheck
