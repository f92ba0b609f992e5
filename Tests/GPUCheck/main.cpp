// Checks and measures the CUDA plug-in on a GPU: see scripts/gpu-check.sh.
//
//   gpu-check PLUGIN JSON [dry]
//
// Opens libtorch_cuda.so and the plug-in, compares every operator with its reference on the random sizes of
// Tests/Sanitized, runs each at a model's shapes with waiting for the device forbidden, looks whether memory grows, and
// measures. With `dry` it launches nothing.
#include <ATen/ATen.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "../Sanitized/support.h"
#include "workload.h"

namespace {

using gpucheck::Measurement;
using Clock = std::chrono::steady_clock;

const Clock::time_point start = Clock::now();
double elapsed() { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// What a device reaches at best, from its data sheet: bytes/s of memory, flops/s of dense bfloat16.
struct Peak {
  const char *name;
  double bytes, flops;
};
constexpr Peak kPeaks[] = {{"H200", 4.8e12, 989e12}, {"H100", 3.35e12, 989e12}, {"A100", 2.0e12, 312e12}};

struct Result {
  std::string name, shape, error;
  double seconds = 0, bytes = 0, flops = 0, share = 0;
  bool waits = false, grows = false, is_ours = true;
};

template <typename Function>
Function *function(void *library, const char *name) {
  auto address = dlsym(library, name);
  TORCH_CHECK(address != nullptr, "the plug-in has no function ", name);
  return reinterpret_cast<Function *>(address);
}

int64_t used_bytes() {
  auto stats = c10::getDeviceAllocator(at::kCUDA)->getDeviceStats(0);
  return stats.allocated_bytes[0].current;
}

/// The median of the times of single runs, by events of the device.
double median_seconds(const std::function<void()> &run) {
  c10::impl::VirtualGuardImpl guard(at::kCUDA);
  auto stream = guard.getStream(at::Device(at::kCUDA, 0));
  constexpr int kRuns = 11;
  std::vector<c10::Event> events;
  for (int i = 0; i <= kRuns; ++i) events.emplace_back(at::kCUDA, c10::EventFlag::BACKEND_DEFAULT);
  for (int i = 0; i < 3; ++i) run();
  events[0].record(stream);
  for (int i = 1; i <= kRuns; ++i) {
    run();
    events[i].record(stream);
  }
  events[kRuns].synchronize();
  std::vector<double> times;
  for (int i = 0; i < kRuns; ++i) times.push_back(events[i].elapsedTime(events[i + 1]) / 1e3);
  std::nth_element(times.begin(), times.begin() + kRuns / 2, times.end());
  return times[kRuns / 2];
}

Result measure(const Measurement &m, void (*forbid_waiting)(bool), const Peak *peak) {
  Result r{m.name, m.shape, "", 0, m.bytes, m.flops};
  try {
    auto run = m.prepare(at::Device(at::kCUDA, 0));
    run();
    forbid_waiting(true);
    try {
      run();
    } catch (const c10::Error &) {
      r.waits = true;
    }
    forbid_waiting(false);
    auto before = used_bytes();
    r.seconds = median_seconds(run);
    r.grows = used_bytes() != before;
    if (peak != nullptr) r.share = std::max(m.bytes / peak->bytes, m.flops / (m.rate * peak->flops)) / r.seconds;
  } catch (const std::exception &error) {
    forbid_waiting(false);
    r.error = error.what();
    r.error = r.error.substr(0, r.error.find('\n'));
  }
  return r;
}

std::string escaped(const std::string &text) {
  std::string out;
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < 32 ? ' ' : c;
  }
  return out;
}

void write_json(const char *path, const std::string &device, int64_t failures, const std::vector<std::string> &missing,
                const std::vector<Result> &results) {
  std::ofstream file(path);
  file << "{\"device\": \"" << escaped(device) << "\", \"failed_comparisons\": " << failures
       << ", \"seconds\": " << elapsed() << ", \"missing_operators\": [";
  for (size_t i = 0; i < missing.size(); ++i) file << (i > 0 ? ", " : "") << '"' << missing[i] << '"';
  file << "], \"operators\": [";
  for (size_t i = 0; i < results.size(); ++i) {
    const auto &r = results[i];
    file << (i > 0 ? ", " : "") << "{\"name\": \"" << r.name << "\", \"shape\": \"" << r.shape
         << "\", \"seconds\": " << r.seconds << ", \"bytes\": " << r.bytes << ", \"flops\": " << r.flops
         << ", \"share_of_peak\": " << r.share << ", \"waits_for_device\": " << (r.waits ? "true" : "false")
         << ", \"memory_grows\": " << (r.grows ? "true" : "false") << ", \"error\": \"" << escaped(r.error) << "\"}";
  }
  file << "]}\n";
  TORCH_CHECK(file.flush().good(), path, " cannot be written");
}

void print_table(const std::vector<Result> &results) {
  std::printf("%-26s %-26s %10s %10s %10s %7s\n", "operator", "shape", "us", "GB/s", "TFLOP/s", "of peak");
  for (const auto &r : results) {
    if (!r.error.empty()) {
      std::printf("%-26s %-26s %s\n", r.name.c_str(), r.shape.c_str(), r.error.c_str());
      continue;
    }
    std::printf("%-26s %-26s %10.1f %10.0f %10.1f %6.0f%%%s%s\n", r.name.c_str(), r.shape.c_str(), r.seconds * 1e6,
                r.bytes / r.seconds / 1e9, r.flops / r.seconds / 1e12, r.share * 100, r.waits ? " waits" : "",
                r.grows ? " grows" : "");
  }
}

int check(const char *plugin_path, const char *json, bool is_dry) {
  auto torch = dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL);
  if (torch == nullptr && is_dry) {
    std::printf("dry run: libtorch_cuda.so cannot be opened here: %s\n", dlerror());
    for (const auto &m : gpucheck::measurements(true)) std::printf("  %s %s\n", m.name.c_str(), m.shape.c_str());
    return 0;
  }
  TORCH_CHECK(torch != nullptr, "libtorch_cuda.so cannot be opened: ", dlerror());
  auto plugin = dlopen(plugin_path, RTLD_NOW | RTLD_GLOBAL);
  TORCH_CHECK(plugin != nullptr, plugin_path, " cannot be opened: ", dlerror());
  sanitized::use_device(at::Device(at::kCUDA, 0));
  auto missing = sanitized::missing_operators();
  for (const auto &name : missing) sanitized::expect(false, name + " has no kernel for CUDA");
  if (is_dry) {
    std::printf("dry run: libtorch_cuda.so and the plug-in are open, %zu operators lack a CUDA kernel\n",
                missing.size());
    return missing.empty() ? 0 : 1;
  }

  char name[256];
  int64_t memory = 0;
  int32_t processors = 0;
  auto device = function<bool(int32_t, char *, int64_t, int64_t *, int32_t *)>(plugin, "xtuner_cuda_device");
  TORCH_CHECK(device(0, name, sizeof(name), &memory, &processors), "there is no CUDA device");
  std::printf("%s, %.0f GB, %d multiprocessors\n", name, double(memory) / 1e9, processors);
  bool has_float8 = function<bool(int32_t)>(plugin, "xtuner_cuda_multiplies_float8")(0);
  std::printf("native products of float8: %s\n", has_float8 ? "yes" : "no, the device has not compute capability 9.0");
  sanitized::use_native_float8(has_float8);
  struct Group {
    const char *name;
    void (*check)();
  };
  constexpr Group groups[] = {{"attention", sanitized::check_attention},
                              {"products", sanitized::check_products},
                              {"norm", sanitized::check_norm},
                              {"rows", sanitized::check_rows},
                              {"router", sanitized::check_router},
                              {"head", sanitized::check_head},
                              {"float8", sanitized::check_float8},
                              {"float8 parts", sanitized::check_float8_parts},
                              {"flat", sanitized::check_flat}};
  for (const auto &group : groups) {
    sanitized::seed(7);
    int64_t before = sanitized::failure_count();
    try {
      group.check();
    } catch (const std::exception &error) {
      sanitized::expect(false, std::string(group.name) + " stopped: " + error.what());
    }
    std::printf("%s: %lld comparisons failed, at %.0f s\n", group.name,
                static_cast<long long>(sanitized::failure_count() - before), elapsed());
    std::fflush(stdout);
  }

  const Peak *peak = nullptr;
  for (const auto &p : kPeaks)
    if (peak == nullptr && std::strstr(name, p.name) != nullptr) peak = &p;
  auto forbid_waiting = function<void(bool)>(plugin, "xtuner_cuda_forbid_waiting");
  std::vector<Result> results;
  // Written as it comes: what ends the program or the machine keeps what there is.
  write_json(json, name, sanitized::failure_count(), missing, results);
  for (const auto &m : gpucheck::measurements(has_float8)) {
    results.push_back(measure(m, forbid_waiting, peak));
    results.back().is_ours = m.is_ours;
    write_json(json, name, sanitized::failure_count(), missing, results);
  }
  print_table(results);
  bool is_well = sanitized::failure_count() == 0 && std::none_of(results.begin(), results.end(), [](const Result &r) {
                   return r.is_ours && (r.waits || r.grows || !r.error.empty());
                 });
  std::printf("%s in %.0f s; %s\n", is_well ? "all is well" : "something FAILED", elapsed(), json);
  return is_well ? 0 : 1;
}

}  // namespace

int main(int count, char **arguments) {
  if (count < 3) {
    std::fprintf(stderr, "usage: gpu-check PLUGIN JSON [dry]\n");
    return 2;
  }
  try {
    return check(arguments[1], arguments[2], count > 3 && std::strcmp(arguments[3], "dry") == 0);
  } catch (const c10::Error &error) {
    std::fprintf(stderr, "error: %s\n", error.what_without_backtrace());
  } catch (const std::exception &error) {
    std::fprintf(stderr, "error: %s\n", error.what());
  }
  return 1;
}
