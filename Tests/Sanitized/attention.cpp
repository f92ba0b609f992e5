// Attention over samples of a pack.
#include <ATen/ATen.h>
#include <dlfcn.h>

#include "../../Sources/CTorch/operators/attention/operators.h"
#include "support.h"

#ifdef XTUNER_EMULATED
namespace emulated {
extern int64_t cudnn_calls;
}
namespace xtuner::cuda_operators {
bool pin_attention(const std::string &name);
std::vector<std::string> attention_choices();
}  // namespace xtuner::cuda_operators
#endif

namespace sanitized {
namespace {

struct Case {
  std::vector<int64_t> lengths;
  int64_t repeat, key_heads, width, value_width, window;
  double scale;
  bool has_sinks, is_joint;

  int64_t tokens() const {
    int64_t sum = 0;
    for (auto length : lengths) sum += length;
    return sum;
  }
  std::string name() const {
    return text("varlen_attention of ", at::IntArrayRef(lengths), " heads ", repeat, " x ", key_heads, " x ", width,
                " values ", value_width, " window ", window, " scale ", scale, has_sinks ? " sinks" : "",
                is_joint ? " joint" : "");
  }
};

Case random_case() {
  Case c;
  for (int64_t left = 300, count = between(0, 6); count > 0; --count) {
    // Around the tiles of all kernels: 4 queries, 16 keys; 32, 64 and 128 keys, 64 queries.
    int64_t length = one_of({0, 1, 2, 3, 4, 5, 13, 15, 16, 17, 31, 32, 33, 61, 63, 64, 65, 127, 128, 129, 257});
    if (length > left) continue;
    c.lengths.push_back(length);
    left -= length;
  }
  c.repeat = one_of({1, 2, 3, 4, 8});
  c.key_heads = between(1, 2);
  c.width = one_of({1, 2, 7, 13, 16, 17, 31, 40, 48, 64, 65, 80});
  c.value_width = coin() ? c.width : one_of({1, 3, 16, 17, 31, 64});
  c.window = coin() ? 0 : one_of({1, 2, 5, 19, 37, 63, 64, 65, 129, 1000});
  c.scale = one_of({0, 1, 1, 1, 1, 1}) ? 0.11 : -0.3;
  c.has_sinks = between(0, 2) == 0;
  c.is_joint = coin();
  return c;
}

void check(const Case &c, at::ScalarType type) {
  int64_t tokens = c.tokens(), heads = c.repeat * c.key_heads;
  std::vector<int64_t> edges = {0};
  for (auto length : c.lengths) edges.push_back(edges.back() + length);
  auto bounds = at::tensor(edges, at::kLong);
  Tensors inputs;
  if (c.is_joint && c.width == c.value_width) {
    // Rows are then neither dense nor at multiples of a cache line.
    auto joint = random({tokens, heads + 2 * c.key_heads, c.width}, type);
    for (auto &part : joint.split_with_sizes({heads, c.key_heads, c.key_heads}, 1)) inputs.push_back(part);
  } else if (c.is_joint) {
    // Elements of a head lie apart.
    inputs = {random({tokens, heads, 2 * c.width}, type).slice(2, 0, std::nullopt, 2),
              random({tokens, c.width, c.key_heads}, type).transpose(1, 2),
              random({c.key_heads, tokens, c.value_width}, type).transpose(0, 1)};
  } else {
    inputs = {random({tokens, heads, c.width}, type), random({tokens, c.key_heads, c.width}, type),
              random({tokens, c.key_heads, c.value_width}, type)};
  }
  if (c.has_sinks) inputs.push_back(random({heads}, at::kFloat));
  auto run = [&](auto function, const Tensor &edges_of_samples) {
    return [&c, function, edges_of_samples](const Tensors &t) {
      return Tensors{function(t[0], t[1], t[2], edges_of_samples, c.scale, c.window,
                              t.size() > 3 ? std::optional(t[3]) : std::nullopt)};
    };
  };
  // Without tokens the reference's value is outside the graph.
  auto kernel = run(xtuner::varlen_attention, bounds);
  expect_equal_results(text(c.name(), " ", type), inputs, kernel,
                       tokens == 0 ? Function(run(xtuner::varlen_attention, bounds))
                                   : Function(run(xtuner::reference::varlen_attention, bounds)));
}

/// Whether there is a choice of libraries, and this one is taken from now on.
bool pin(const char *name) {
#ifdef XTUNER_EMULATED
  return xtuner::cuda_operators::pin_attention(name);
#else
  auto function = reinterpret_cast<bool (*)(const char *)>(dlsym(RTLD_DEFAULT, "xtuner_cuda_pin_attention"));
  return function != nullptr && function(name);
#endif
}

/// Packs of one sample, which two libraries can compute, and others of which one cannot.
void check_choice() {
  for (const char *name : {"flash", "cudnn", "measured"}) {
    if (!pin(name)) continue;
#ifdef XTUNER_EMULATED
    auto before = emulated::cudnn_calls;
#endif
    for (auto type : {at::kBFloat16, at::kHalf}) {
      for (bool has_sinks : {false, true}) {
        check({{257}, 4, 2, 64, 64, 0, 0.11, has_sinks, false}, type);
        check({{0, 131, 0}, 3, 1, 40, 16, 1000, 0.11, has_sinks, true}, type);  // a window beyond the sample
        check({{129}, 1, 2, 65, 65, 0, 0.11, has_sinks, true}, type);           // heads that neither takes
        check({{149}, 2, 2, 16, 16, 5, 0.11, has_sinks, false}, type);          // cuDNN has no windows
        check({{128, 3}, 2, 1, 16, 16, 0, 0.11, has_sinks, false}, type);       // nor several samples
      }
    }
#ifdef XTUNER_EMULATED
    auto calls = emulated::cudnn_calls - before;
    if (std::string(name) == "flash") expect(calls == 0, text("cuDNN was called ", calls, " times beside flash"));
    // Two shapes, two types, with and without sinks, forward and backward.
    if (std::string(name) == "cudnn") expect(calls == 16, text("cuDNN was called ", calls, " times, not 16"));
    if (std::string(name) == "measured") expect(calls > 0, "nothing was measured");
#endif
  }
  pin("measured");
#ifdef XTUNER_EMULATED
  auto lines = xtuner::cuda_operators::attention_choices();
  expect(!lines.empty(), "no choice is told");
  for (const auto &line : lines)
    expect(line.find("cannot") == std::string::npos && line.find("differ") == std::string::npos, line);
#endif
}

}  // namespace

void check_attention() {
  for (int round = 0; round < 60; ++round) {
    auto c = random_case();
    check(c, at::kBFloat16);
    check(c, kTypes[round % 4]);
  }
  // Widths that differ in latent attention, and a sample that libtorch's flash attention takes.
  check({{131, 0, 67}, 1, 4, 192, 128, 0, 0.07, false, false}, at::kBFloat16);
  for (auto type : {at::kFloat, at::kBFloat16}) check({{3, 1031, 0, 7}, 2, 1, 8, 8, 0, 0.3, false, coin()}, type);
  check_choice();
}

}  // namespace sanitized
