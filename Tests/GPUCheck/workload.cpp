#include "workload.h"

#include <ATen/ATen.h>
#include <dlfcn.h>

#include "../../Sources/CTorch/operators/dispatch.h"

namespace gpucheck {
namespace {

using at::Tensor;
using xtuner::call;
using Optional = std::optional<Tensor>;
using Pair = std::tuple<Tensor, Tensor>;
using Three = std::tuple<Tensor, Tensor, Tensor>;
using Four = std::tuple<Tensor, Tensor, Tensor, Tensor>;
using T = const Tensor &;

constexpr int64_t kVocabulary = 151936, kLossRows = 2048, kParameters = int64_t(1) << 28;
constexpr double kEpsilon = 1e-6;

struct Angles {
  Tensor cosine, sine;
  explicit Angles(at::Device device) {
    auto angles = normal({kTokens, kHeadSize / 2}, device, at::kFloat);
    cosine = angles.cos();
    sine = angles.sin();
  }
};

void add_norms(std::vector<Measurement> &list) {
  constexpr double kRow = 2.0 * kTokens * kHidden, kHeadRows = 2.0 * kTokens * kHeads * kHeadSize;
  list.push_back({"rms_norm", shape({kTokens, kHidden}), 2 * kRow, 0, [](at::Device device) {
                    auto x = normal({kTokens, kHidden}, device), w = normal({kHidden}, device);
                    return [=] { call<Pair(T, T, double)>("xtuner::rms_norm", x, w, kEpsilon); };
                  }});
  list.push_back({"add_rms_norm", shape({kTokens, kHidden}), 4 * kRow, 0, [](at::Device device) {
                    auto x = normal({kTokens, kHidden}, device), r = normal({kTokens, kHidden}, device),
                         w = normal({kHidden}, device);
                    return [=] { call<Three(T, T, T, double)>("xtuner::add_rms_norm", x, r, w, kEpsilon); };
                  }});
  list.push_back({"add_rms_norm_backward", shape({kTokens, kHidden}), 4 * kRow, 0, [](at::Device device) {
                    auto x = normal({kTokens, kHidden}, device), g = normal({kTokens, kHidden}, device),
                         w = normal({kHidden}, device);
                    auto scale = at::ones({kTokens}, x.options().dtype(at::kFloat));
                    return [=] {
                      call<Pair(T, const Optional &, T, T, T)>("xtuner::add_rms_norm_backward", g, Optional(g), x, w,
                                                               scale);
                    };
                  }});
  list.push_back({"norm_rotary", shape({kTokens, kHeads, kHeadSize}), 2 * kHeadRows, 0, [](at::Device device) {
                    auto x = normal({kTokens, kHeads, kHeadSize}, device), w = normal({kHeadSize}, device);
                    Angles a(device);
                    return [=] {
                      call<Pair(T, T, double, T, T, bool)>("xtuner::norm_rotary", x, w, kEpsilon, a.cosine, a.sine,
                                                           false);
                    };
                  }});
  list.push_back({"norm_rotary_backward", shape({kTokens, kHeads, kHeadSize}), 3 * kHeadRows, 0, [](at::Device device) {
                    auto x = normal({kTokens, kHeads, kHeadSize}, device),
                         g = normal({kTokens, kHeads, kHeadSize}, device), w = normal({kHeadSize}, device);
                    auto scale = at::ones({kTokens, kHeads}, x.options().dtype(at::kFloat));
                    Angles a(device);
                    return [=] {
                      call<Pair(T, T, T, T, T, T, bool)>("xtuner::norm_rotary_backward", g, x, w, scale, a.cosine,
                                                         a.sine, false);
                    };
                  }});
}

void add_rows(std::vector<Measurement> &list) {
  constexpr double kSmall = 2.0 * kTokens * kHidden, kLarge = 2.0 * kRows * kHidden, kWide = 2.0 * kRows * kExpertWidth;
  list.push_back({"swiglu", shape({kRows, 2 * kExpertWidth}), 3 * kWide, 0, [](at::Device device) {
                    auto x = normal({kRows, 2 * kExpertWidth}, device);
                    return [=] { call<Tensor(T)>("xtuner::swiglu", x); };
                  }});
  list.push_back({"swiglu_backward", shape({kRows, 2 * kExpertWidth}), 5 * kWide, 0, [](at::Device device) {
                    auto x = normal({kRows, 2 * kExpertWidth}, device), g = normal({kRows, kExpertWidth}, device);
                    return [=] { call<Tensor(T, T)>("xtuner::swiglu_backward", g, x); };
                  }});
  list.push_back({"permute_rows", shape({kRows, kHidden}), kSmall + kLarge, 0, [](at::Device device) {
                    auto x = normal({kTokens, kHidden}, device);
                    Routing r(device);
                    return [=] { call<Tensor(T, T)>("xtuner::permute_rows", x, r.token_of_row); };
                  }});
  list.push_back({"unpermute_rows", shape({kRows, kHidden}), kSmall + kLarge, 0, [](at::Device device) {
                    auto x = normal({kRows, kHidden}, device);
                    Routing r(device);
                    return [=] { call<Tensor(T, T, T)>("xtuner::unpermute_rows", x, r.weights, r.row_of_slot); };
                  }});
  list.push_back({"unpermute_rows_backward", shape({kRows, kHidden}), kSmall + 2 * kLarge, 0, [](at::Device device) {
                    auto x = normal({kRows, kHidden}, device), g = normal({kTokens, kHidden}, device);
                    Routing r(device);
                    return [=] {
                      call<Pair(T, T, T, T)>("xtuner::unpermute_rows_backward", g, x, r.weights, r.row_of_slot);
                    };
                  }});
}

void add_router(std::vector<Measurement> &list) {
  constexpr double kScores = 4.0 * kTokens * kExperts, kChoice = 8.0 * kRows;
  list.push_back({"router_scores", shape({kTokens, kExperts}), 2 * kScores, 0, [](at::Device device) {
                    auto x = normal({kTokens, kExperts}, device, at::kFloat);
                    return [=] { call<Pair(T)>("xtuner::router_scores", x); };
                  }});
  list.push_back({"route_top_k", shape({kTokens, kExperts}), kScores + kChoice, 0, [](at::Device device) {
                    auto x = normal({kTokens, kExperts}, device, at::kFloat);
                    return [=] { call<Tensor(T, int64_t)>("xtuner::route_top_k", x, kChosen); };
                  }});
  list.push_back({"expert_order", shape({kTokens, kChosen}), 3 * kChoice, 0, [](at::Device device) {
                    auto x = normal({kTokens, kExperts}, device, at::kFloat);
                    auto experts = call<Tensor(T, int64_t)>("xtuner::route_top_k", x, kChosen);
                    return [=] { call<Four(T, int64_t)>("xtuner::expert_order", experts, kExperts); };
                  }});
}

void add_head(std::vector<Measurement> &list) {
  list.push_back(
      {"cross_entropy_", shape({kLossRows, kVocabulary}), 2.0 * 2 * kLossRows * kVocabulary, 0, [](at::Device device) {
         auto x = normal({kLossRows, kVocabulary}, device);
         auto targets = at::randint(kVocabulary, {kLossRows}, x.options().dtype(at::kLong));
         auto weights = at::ones({kLossRows}, x.options().dtype(at::kFloat));
         return [=] { call<Pair(T, T, T, double)>("xtuner::cross_entropy_", x, targets, weights, 0.0); };
       }});
}

void add_flat(std::vector<Measurement> &list) {
  list.push_back(
      {"adamw_", shape({kParameters}), 30.0 * kParameters, 0, [](at::Device device) {
         auto p = normal({kParameters}, device, at::kFloat), g = normal({kParameters}, device, at::kFloat);
         auto m = at::zeros_like(p), v = at::zeros_like(p), copy = p.to(at::kBFloat16);
         using Signature = void(T, T, T, T, const Optional &, double, double, double, double, double, int64_t, double);
         return [=] {
           call<Signature>("xtuner::adamw_", p, g, m, v, Optional(copy), 1e-4, 0.9, 0.95, 1e-8, 0.1, int64_t(1), 1.0);
         };
       }});
  list.push_back({"squared_sum", shape({kParameters}), 4.0 * kParameters, 0, [](at::Device device) {
                    auto x = normal({kParameters}, device, at::kFloat);
                    return [=] { call<Tensor(T)>("xtuner::squared_sum", x); };
                  }});
  list.push_back({"add_rows_", shape({kTokens, kHidden}), 2.0 * kTokens * kHidden + 2 * 4.0 * kTokens * kHidden, 0,
                  [](at::Device device) {
                    auto into = at::zeros({kVocabulary, kHidden}, at::TensorOptions(device));
                    auto rows = normal({kTokens, kHidden}, device);
                    auto indices = at::randint(kVocabulary, {kTokens}, into.options().dtype(at::kLong));
                    return [=] { call<void(T, T, T)>("xtuner::add_rows_", into, rows, indices); };
                  }});
}

void add_products(std::vector<Measurement> &list) {
  constexpr int64_t kJoint = (kHeads + 2 * kKeyHeads) * kHeadSize;
  constexpr double kLinear = 2.0 * kTokens * kHidden * kJoint, kGrouped = 2.0 * kRows * kHidden * 2 * kExpertWidth;
  list.push_back({"linear", shape({kTokens, kHidden, kJoint}), 0, kLinear, [](at::Device device) {
                    auto x = normal({kTokens, kHidden}, device), w = normal({kJoint, kHidden}, device);
                    return [=] { call<Tensor(T, T, const Optional &)>("xtuner::linear", x, w, Optional()); };
                  }});
  list.push_back({"linear_backward", shape({kTokens, kHidden, kJoint}), 0, 2 * kLinear, [](at::Device device) {
                    auto x = normal({kTokens, kHidden}, device), w = normal({kJoint, kHidden}, device),
                         g = normal({kTokens, kJoint}, device);
                    return [=] {
                      call<Three(T, T, T, bool, bool, bool)>("xtuner::linear_backward", g, x, w, true, true, false);
                    };
                  }});
  list.push_back(
      {"grouped_linear", shape({kExperts, kRows, kHidden, 2 * kExpertWidth}), 0, kGrouped, [](at::Device device) {
         auto x = normal({kRows, kHidden}, device), w = normal({kExperts, 2 * kExpertWidth, kHidden}, device);
         Routing r(device);
         return [=] { call<Tensor(T, T, T)>("xtuner::grouped_linear", x, w, r.offsets); };
       }});
  list.push_back({"grouped_linear_backward", shape({kExperts, kRows, kHidden, 2 * kExpertWidth}), 0, 2 * kGrouped,
                  [](at::Device device) {
                    auto x = normal({kRows, kHidden}, device),
                         w = normal({kExperts, 2 * kExpertWidth, kHidden}, device),
                         g = normal({kRows, 2 * kExpertWidth}, device);
                    Routing r(device);
                    return [=] { call<Pair(T, T, T, T)>("xtuner::grouped_linear_backward", g, x, w, r.offsets); };
                  }});
}

/// Takes a library for attention; there is no plug-in in a dry run without libtorch_cuda.so, and nothing runs then.
void pin(const std::string &library) {
  static auto function = reinterpret_cast<bool (*)(const char *)>(dlsym(RTLD_DEFAULT, "xtuner_cuda_pin_attention"));
  TORCH_CHECK(function != nullptr && function(library.c_str()), "the plug-in does not know ", library);
}

void add_attention(std::vector<Measurement> &list) {
  using Forward = Pair(T, T, T, T, double, int64_t, const Optional &);
  using Backward = Four(T, T, T, T, T, T, T, double, int64_t, const Optional &);
  for (int64_t samples : {int64_t(1), int64_t(8)}) {
    // Half of the pairs of a sample; two products forward, five backward.
    double flops = 4.0 * kHeads * kHeadSize * (double(kTokens) * (kTokens / samples) / 2);
    auto inputs = [samples](at::Device device) {
      auto bounds = at::arange(samples + 1, at::kLong) * (kTokens / samples);
      return std::vector<Tensor>{normal({kTokens, kHeads, kHeadSize}, device),
                                 normal({kTokens, kKeyHeads, kHeadSize}, device),
                                 normal({kTokens, kKeyHeads, kHeadSize}, device), bounds};
    };
    auto size = shape({samples, kTokens / samples, kHeads, kHeadSize});
    // Of several samples there is FlashAttention-2 alone.
    for (std::string library : {"flash", "cudnn"}) {
      if (samples > 1 && library == "cudnn") continue;
      list.push_back({"varlen_attention " + library, size, 0, flops,
                      [inputs, library](at::Device device) {
                        auto t = inputs(device);
                        return [=] {
                          pin(library);
                          call<Forward>("xtuner::varlen_attention", t[0], t[1], t[2], t[3], 0.088, int64_t(0),
                                        Optional());
                        };
                      },
                      1, library == "flash"});
      list.push_back({"... backward " + library, size, 0, 2.5 * flops,
                      [inputs, library](at::Device device) {
                        auto t = inputs(device);
                        auto [out, sums] = call<Forward>("xtuner::varlen_attention", t[0], t[1], t[2], t[3], 0.088,
                                                         int64_t(0), Optional());
                        auto g = at::randn_like(out);
                        return [=, out = out, sums = sums] {
                          pin(library);
                          call<Backward>("xtuner::varlen_attention_backward", g, t[0], t[1], t[2], out, sums, t[3],
                                         0.088, int64_t(0), Optional());
                        };
                      },
                      1, library == "flash"});
    }
  }
}

}  // namespace

Tensor normal(at::IntArrayRef sizes, at::Device device, at::ScalarType type) {
  return at::randn(sizes, at::TensorOptions(device).dtype(type));
}

std::string shape(std::initializer_list<int64_t> sizes) {
  std::string text;
  for (auto size : sizes) text += (text.empty() ? "" : " x ") + std::to_string(size);
  return text;
}

Routing::Routing(at::Device device) : weights(normal({kTokens, kChosen}, device, at::kFloat)) {
  auto scores = normal({kTokens, kExperts}, device, at::kFloat);
  auto experts = call<Tensor(T, int64_t)>("xtuner::route_top_k", scores, kChosen);
  std::tie(token_of_row, row_of_slot, counts, offsets) =
      call<Four(T, int64_t)>("xtuner::expert_order", experts, kExperts);
}

std::vector<Measurement> measurements(bool has_native_float8) {
  std::vector<Measurement> list;
  add_norms(list);
  add_rows(list);
  add_router(list);
  add_head(list);
  add_flat(list);
  add_products(list);
  add_float8(list, has_native_float8);
  add_attention(list);
  return list;
}

}  // namespace gpucheck
