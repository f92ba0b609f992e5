// Operators that one thread calls, with the time each spends in itself: its own minus that of the operators it
// calls. libtorch calls back at the start and end of an operator only while a profile is on.
// libtorch is built with NDEBUG, which decides what members at::RecordFunction has.
#ifndef NDEBUG
#define NDEBUG
#endif
#include "profile.h"

#include <ATen/record_function.h>
#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <chrono>
#include <map>
#include <memory>

namespace ctorch {
namespace {

using Clock = std::chrono::steady_clock;

struct Row {
  std::string name, shapes;
  int64_t calls = 0;
  Clock::duration self{}, total{};
  OperatorCost cost;
};

/// Counts what the allocators of devices report on this thread. A block given back may be older than the profile.
struct MemoryCounter : c10::MemoryReportingInfoBase {
  CTProfileMemory counts{};
  int64_t live = 0;
  void reportMemoryUsage(void *, int64_t size, size_t, size_t, c10::Device) override {
    live += size;
    if (size <= 0) return;
    ++counts.allocations;
    counts.bytes += size;
    counts.peak_bytes = std::max(counts.peak_bytes, live);
  }
  bool memoryProfilingEnabled() const override { return true; }
};

struct Frame {
  Row *row;
  Clock::time_point start;
  Clock::duration children{};
  bool counts;  // false for an operator that calls itself below autograd: one call
};

thread_local ct_profile *current = nullptr;

}  // namespace
}  // namespace ctorch

struct ct_profile {
  bool by_shape;
  at::CallbackHandle callback = 0;
  std::shared_ptr<MemoryCounter> memory = std::make_shared<MemoryCounter>();
  std::map<std::pair<std::string, std::string>, size_t> index;
  std::vector<std::unique_ptr<Row>> rows;
  std::vector<Frame> stack;

  Row *row(std::string name, std::string shapes) {
    auto [place, is_new] = index.try_emplace({name, shapes}, rows.size());
    if (is_new) {
      rows.push_back(std::make_unique<Row>());
      rows.back()->name = std::move(name);
      rows.back()->shapes = std::move(shapes);
    }
    return rows[place->second].get();
  }
};

namespace ctorch {
namespace {

std::unique_ptr<at::ObserverContext> operator_starts(const at::RecordFunction &call) {
  if (!current) return nullptr;
  auto &profile = *current;
  std::string name = call.name();
  auto row = profile.row(name, profile.by_shape ? operator_shapes(call.inputs()) : "");
  bool is_outermost = profile.stack.empty() || profile.stack.back().row->name != name;
  if (is_outermost) {
    ++row->calls;
    row->cost.add(operator_cost(name, call.inputs()));
  }
  profile.stack.push_back({row, Clock::now(), {}, is_outermost});
  return nullptr;
}

void operator_ends(const at::RecordFunction &call, at::ObserverContext *) {
  if (!current || current->stack.empty()) return;
  auto frame = current->stack.back();
  current->stack.pop_back();
  auto elapsed = Clock::now() - frame.start;
  frame.row->self += elapsed - frame.children;
  if (frame.counts) {
    frame.row->total += elapsed;
    frame.row->cost.bytes += operator_output_bytes(frame.row->name, call.outputs());
  }
  if (!current->stack.empty()) current->stack.back().children += elapsed;
}

double seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace
}  // namespace ctorch

CTStatus ct_profile_start(bool by_shape, ct_profile **out) {
  return guarded([&] {
    TORCH_CHECK(!current, "this thread has a profile already");
    auto profile = std::make_unique<ct_profile>();
    profile->by_shape = by_shape;
    profile->stack.reserve(64);
    profile->callback = at::addThreadLocalCallback(at::RecordFunctionCallback(operator_starts, operator_ends)
                                                       .needsInputs(true)
                                                       .needsOutputs(true)
                                                       .scopes({at::RecordScope::FUNCTION}));
    c10::ThreadLocalDebugInfo::_push(c10::DebugInfoKind::PROFILER_STATE, profile->memory);
    current = profile.get();
    *out = profile.release();
  });
}

CTStatus ct_profile_stop(ct_profile *profile) {
  return guarded([&] {
    TORCH_CHECK(current == profile, "the profile was started on another thread, or stopped");
    current = nullptr;
    c10::ThreadLocalDebugInfo::_pop(c10::DebugInfoKind::PROFILER_STATE);
    at::removeCallback(profile->callback);
  });
}

size_t ct_profile_operation_count(const ct_profile *profile) { return profile->rows.size(); }

CTOperation ct_profile_operation(const ct_profile *profile, size_t index) {
  const auto &row = *profile->rows[index];
  return {row.name.c_str(),   row.shapes.c_str(), row.calls,     seconds(row.self),
          seconds(row.total), row.cost.flops,     row.cost.bytes};
}

CTProfileMemory ct_profile_memory(const ct_profile *profile) { return profile->memory->counts; }

void ct_profile_free(ct_profile *profile) { delete profile; }
