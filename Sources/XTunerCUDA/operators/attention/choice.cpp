#include "choice.h"

#include <ATen/Context.h>
#include <ATen/ops/_cudnn_attention_backward.h>
#include <ATen/ops/_cudnn_attention_forward.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/sub.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#ifndef XTUNER_EMULATED
#include <c10/cuda/CUDAFunctions.h>
#endif

#include <algorithm>
#include <chrono>
#include <map>
#include <mutex>
#include <set>
#include <sstream>
#include <tuple>

namespace xtuner::cuda_operators {
namespace {

/// Below, a pass takes microseconds, and building a plan a tenth of a second.
constexpr int64_t kFewestTokens = 128;
/// Above, the rates of both hardly change.
constexpr int64_t kMostMeasured = 16384;
/// Lengths of a process that cuDNN builds plans for; each takes time and memory.
constexpr size_t kMostPlans = 16;
/// Offsets of 32 bits reach this far.
constexpr int64_t kMostElements = (int64_t(1) << 31) - 1;
constexpr int kRuns = 3;
/// cuDNN has to be faster by this, so that noise alone decides nothing.
constexpr double kGain = 0.95;
/// The largest relative distance of results in 16 bits: a few roundings.
constexpr double kLargestDistance = 0.02;

enum class Pin { measured, flash, cudnn };

/// A class of shapes: what was measured for one of them holds for all. The last number is the power of two below the
/// tokens.
struct Shape {
  std::string what;
  at::ScalarType type;
  int64_t heads, key_heads, width, value_width, size;

  Shape(const char *name, const Tensor &query, const Tensor &key, const Tensor &value)
      : what(name),
        type(query.scalar_type()),
        heads(query.size(1)),
        key_heads(key.size(1)),
        width(query.size(2)),
        value_width(value.size(2)),
        size(1) {
    while (2 * size <= std::min(query.size(0), kMostMeasured)) size *= 2;
  }
  auto tied() const { return std::tie(what, type, heads, key_heads, width, value_width, size); }
  bool operator<(const Shape &other) const { return tied() < other.tied(); }
};

struct State {
  std::mutex mutex;
  Pin pin = Pin::measured;
  std::map<Shape, bool> takes_cudnn;
  std::set<int64_t> lengths;
  std::vector<std::string> lines;
};

/// Never destroyed: a thread of autograd may outlive static objects.
State &state() {
  static auto *only = new State;
  return *only;
}

void wait(at::Device device) {
  if (!device.is_cpu()) c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.index());
}

/// Seconds of a pass, after one that builds what is built once.
double seconds_of(const Pass &pass, int64_t tokens, at::Device device) {
  using Clock = std::chrono::steady_clock;
  pass(tokens);
  wait(device);
  auto start = Clock::now();
  for (int run = 0; run < kRuns; ++run) pass(tokens);
  wait(device);
  return std::chrono::duration<double>(Clock::now() - start).count() / kRuns;
}

/// Measuring waits, once for a class of shapes, also where a step must not.
struct WaitsAllowed {
#ifndef XTUNER_EMULATED
  c10::cuda::SyncDebugMode before = c10::cuda::warning_state().get_sync_debug_mode();
  WaitsAllowed() { c10::cuda::warning_state().set_sync_debug_mode(c10::cuda::SyncDebugMode::L_DISABLED); }
  ~WaitsAllowed() { c10::cuda::warning_state().set_sync_debug_mode(before); }
#else
  WaitsAllowed() {}
#endif
};

std::string short_reason(const c10::Error &error) {
  std::string reason = error.what_without_backtrace();
  return reason.substr(0, reason.find('\n')).substr(0, 200);
}

double distance(const Results &a, const Results &b) {
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    auto x = a[i].to(at::kFloat), y = b[i].to(at::kFloat);
    double norm = at::linalg_vector_norm(y, 2).item<double>();
    double apart = at::linalg_vector_norm(at::sub(x, y), 2).item<double>();
    // A NaN is no small distance.
    largest = apart <= kLargestDistance * norm ? std::max(largest, norm > 0 ? apart / norm : 0) : 1;
    if (largest == 1) break;
  }
  return largest;
}

bool measure(const Shape &shape, const Pass &flash, const Pass &cudnn, at::Device device,
             std::vector<std::string> &lines) {
  WaitsAllowed allowed;
  std::ostringstream line;
  line << shape.what << " " << shape.type << " " << shape.heads << " x " << shape.key_heads << " heads of "
       << shape.width << ", " << shape.size << " tokens: ";
  bool takes_cudnn = false;
  double flash_seconds = seconds_of(flash, shape.size, device);
  try {
    double apart = distance(cudnn(shape.size), flash(shape.size));
    double cudnn_seconds = seconds_of(cudnn, shape.size, device);
    takes_cudnn = apart <= kLargestDistance && cudnn_seconds < kGain * flash_seconds;
    line << (takes_cudnn ? "cuDNN" : "FlashAttention-2") << ", cuDNN " << cudnn_seconds * 1e3
         << " ms, FlashAttention-2 " << flash_seconds * 1e3 << " ms, ";
    if (apart <= kLargestDistance)
      line << apart << " apart";
    else
      line << "results differ";
  } catch (const c10::Error &error) {
    line << "FlashAttention-2, cuDNN cannot: " << short_reason(error);
  }
  lines.push_back(line.str());
  return takes_cudnn;
}

/// cuDNN reads 16 bytes at a time; at other addresses the device faults.
bool is_aligned(const Tensor &x) {
  return x.stride(2) == 1 && x.stride(0) % 8 == 0 && x.stride(1) % 8 == 0 &&
         reinterpret_cast<uintptr_t>(x.const_data_ptr()) % 16 == 0;
}

/// [tokens, heads, width] as the [1, heads, tokens, width] that libtorch takes, without a copy where it is aligned.
Tensor as_batch(const Tensor &x) {
  return (is_aligned(x) ? x : x.clone(at::MemoryFormat::Contiguous)).unsqueeze(0).transpose(1, 2);
}
Tensor from_batch(const Tensor &x) { return x.transpose(1, 2).squeeze(0).contiguous(); }

}  // namespace

bool cudnn_fits(const Tensor &query, const Tensor &value, int64_t longest, int64_t window) {
  return longest == query.size(0) && longest >= kFewestTokens && query.numel() <= kMostElements &&
         (window == 0 || window >= longest) && query.size(2) % 8 == 0 && value.size(2) % 8 == 0 &&
         !at::globalContext().deterministicAlgorithms();
}

Results cudnn_forward(const Tensor &query, const Tensor &key, const Tensor &value, double scale) {
  int64_t tokens = query.size(0), heads = query.size(1);
  auto results = at::_cudnn_attention_forward(as_batch(query), as_batch(key), as_batch(value), std::nullopt,
                                              std::nullopt, std::nullopt, tokens, tokens, /*compute_log_sumexp=*/true,
                                              0.0, /*is_causal=*/true, /*return_debug_mask=*/false, scale);
  return {from_batch(std::get<0>(results)), std::get<1>(results).reshape({heads, tokens})};
}

Results cudnn_backward(const Tensor &grad, const Tensor &query, const Tensor &key, const Tensor &value,
                       const Tensor &out, const Tensor &sums, double scale) {
  int64_t tokens = query.size(0), heads = query.size(1);
  // Without dropout there are no random numbers to draw again.
  auto none = at::empty({}, query.options().dtype(at::kLong));
  auto [dq, dk, dv] = at::_cudnn_attention_backward(as_batch(grad), as_batch(query), as_batch(key), as_batch(value),
                                                    as_batch(out), sums.contiguous().view({1, heads, tokens, 1}), none,
                                                    none, Tensor(), Tensor(), Tensor(), tokens, tokens, 0.0,
                                                    /*is_causal=*/true, scale);
  return {from_batch(dq), from_batch(dk), from_batch(dv)};
}

Results run_faster(const char *what, const Tensor &query, const Tensor &key, const Tensor &value, const Pass &flash,
                   const Pass &cudnn) {
  int64_t tokens = query.size(0);
  Shape shape(what, query, key, value);
  bool takes_cudnn;
  {
    auto &all = state();
    std::lock_guard lock(all.mutex);
    if (all.pin != Pin::measured) {
      takes_cudnn = all.pin == Pin::cudnn;
    } else {
      auto found = all.takes_cudnn.find(shape);
      if (found == all.takes_cudnn.end())
        found = all.takes_cudnn.emplace(shape, measure(shape, flash, cudnn, query.device(), all.lines)).first;
      takes_cudnn = found->second;
      if (takes_cudnn && all.lengths.count(tokens) == 0) {
        takes_cudnn = all.lengths.size() < kMostPlans;
        if (takes_cudnn) all.lengths.insert(tokens);
      }
    }
  }
  if (!takes_cudnn) return flash(tokens);
  try {
    return cudnn(tokens);
  } catch (const c10::OutOfMemoryError &) {
    throw;
  } catch (const c10::Error &error) {
    // A length that was not measured: cuDNN plans each by itself. Not where cuDNN was asked for by name.
    auto &all = state();
    std::lock_guard lock(all.mutex);
    if (all.pin == Pin::cudnn) throw;
    all.takes_cudnn[shape] = false;
    all.lines.push_back(std::string(what) + " of " + std::to_string(tokens) +
                        " tokens: FlashAttention-2 from now on, cuDNN cannot: " + short_reason(error));
  }
  return flash(tokens);
}

bool pin_attention(const std::string &name) {
  std::map<std::string, Pin> names = {{"measured", Pin::measured}, {"flash", Pin::flash}, {"cudnn", Pin::cudnn}};
  auto found = names.find(name);
  if (found == names.end()) return false;
  std::lock_guard lock(state().mutex);
  state().pin = found->second;
  return true;
}

std::vector<std::string> attention_choices() {
  std::lock_guard lock(state().mutex);
  return state().lines;
}

}  // namespace xtuner::cuda_operators
