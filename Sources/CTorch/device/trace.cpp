// What a device did in a stretch of time, by libtorch's tracer.
// libtorch is built with NDEBUG, which decides what members at::RecordFunction has.
#ifndef NDEBUG
#define NDEBUG
#endif
#include <kineto/ActivityType.h>
#include <torch/csrc/autograd/profiler_kineto.h>

#include <algorithm>
#include <map>

#include "ctorch_device.h"
#include "device.h"

namespace profiler = torch::autograd::profiler;
using torch::profiler::impl::ActivityType;
using torch::profiler::impl::ProfilerConfig;
using torch::profiler::impl::ProfilerState;

struct ct_device_trace {
  struct Row {
    std::string name;
    int64_t calls = 0;
    int64_t nanoseconds = 0;
  };
  std::vector<Row> rows;
  int64_t span = 0, busy = 0;  // nanoseconds
};

namespace {

struct Span {
  int64_t start, end;
};

std::set<ActivityType> activities_of(at::Device device) {
  switch (device.type()) {
    case c10::kCPU:
      return {ActivityType::CPU};
    case c10::kCUDA:
      return {ActivityType::CUDA};
    case c10::kPrivateUse1:
      return {ActivityType::PrivateUse1};
    default:
      TORCH_CHECK(false, "libtorch's tracer does not know devices of type ", device.type());
  }
}

/// Work of the device itself: of a GPU kernels and copies, and not what is only marked on its time line.
bool is_work(const profiler::KinetoEvent &event, at::Device device) {
  if (event.deviceType() != device.type()) return false;
  auto type = static_cast<libkineto::ActivityType>(event.activityType());
  if (device.is_cpu()) return type == libkineto::ActivityType::CPU_OP;
  return type == libkineto::ActivityType::CONCURRENT_KERNEL || type == libkineto::ActivityType::GPU_MEMCPY ||
         type == libkineto::ActivityType::GPU_MEMSET;
}

/// Length of the union of spans, which are sorted here. Work of several streams at a time counts once, and so does an
/// operator that another one calls.
int64_t covered(std::vector<Span> &spans) {
  std::sort(spans.begin(), spans.end(), [](const Span &a, const Span &b) { return a.start < b.start; });
  int64_t sum = 0, end = spans.front().start;
  for (const auto &span : spans) {
    if (span.end <= end) continue;
    sum += span.end - std::max(span.start, end);
    end = span.end;
  }
  return sum;
}

}  // namespace

CTStatus ct_device_trace_prepare(CTDevice device) {
  return guarded([&] {
    profiler::prepareProfiler(ProfilerConfig(ProfilerState::KINETO), activities_of(to_current_device(device)));
  });
}

CTStatus ct_device_trace_start(CTDevice device) {
  return guarded([&] {
    auto target = to_current_device(device);
    profiler::enableProfiler(ProfilerConfig(ProfilerState::KINETO), activities_of(target), {at::RecordScope::FUNCTION});
  });
}

CTStatus ct_device_trace_stop(CTDevice device, ct_device_trace **out) {
  return guarded([&] {
    auto target = to_current_device(device);
    // Whatever happens: the tracer is switched off.
    bool is_over = ct_device_synchronize(device) == CTStatusOK;
    std::string failure = is_over ? "" : ct_last_error();
    auto result = profiler::disableProfiler();
    TORCH_CHECK(is_over, failure);
    std::vector<Span> spans;
    std::map<std::string, size_t> places;
    auto trace = std::make_unique<ct_device_trace>();
    int64_t last = 0;
    for (const auto &event : result->events()) {
      if (!is_work(event, target)) continue;
      Span span{int64_t(event.startNs()), int64_t(event.endNs())};
      last = std::max(last, span.end);
      spans.push_back(span);
      auto [place, is_new] = places.try_emplace(event.name(), trace->rows.size());
      if (is_new) trace->rows.push_back({event.name()});
      auto &row = trace->rows[place->second];
      ++row.calls;
      row.nanoseconds += span.end - span.start;
    }
    TORCH_CHECK(!spans.empty(), "libtorch's tracer saw nothing that ", target,
                " did; on NVIDIA's GPUs it needs libcupti, and no other profiler at the same time");
    trace->busy = covered(spans);
    trace->span = last - spans.front().start;
    *out = trace.release();
  });
}

double ct_device_trace_seconds(const ct_device_trace *trace) { return double(trace->span) * 1e-9; }
double ct_device_trace_busy_seconds(const ct_device_trace *trace) { return double(trace->busy) * 1e-9; }
size_t ct_device_trace_count(const ct_device_trace *trace) { return trace->rows.size(); }

CTDeviceActivity ct_device_trace_activity(const ct_device_trace *trace, size_t index) {
  const auto &row = trace->rows[index];
  return {row.name.c_str(), row.calls, double(row.nanoseconds) * 1e-9};
}

void ct_device_trace_free(ct_device_trace *trace) { delete trace; }
