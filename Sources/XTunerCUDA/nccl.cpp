// Process groups over NCCL, as libtorch makes them.
#include <c10/cuda/CUDAFunctions.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include "plugin.h"

namespace {

/// What libtorch reads from the environment when the first group is made, set for this process whatever the user has.
///
/// The engine looks after operations itself (GroupWatch): it ends all groups of a rank and says who is missing. So
/// libtorch's watchdog only notes how operations end; it must neither end the process before the engine's message is
/// written, nor sleep before it notes a failure.
void set_up() {
  constexpr std::pair<const char *, const char *> kSettings[] = {
      {"TORCH_NCCL_ASYNC_ERROR_HANDLING", "2"},  // CleanUpOnly: abort, do not throw in the watchdog's thread
      {"TORCH_NCCL_BLOCKING_WAIT", "0"},         // the watchdog runs, and waits are those of streams
      {"TORCH_NCCL_ENABLE_MONITORING", "0"},     // the monitor would kill a process whose watchdog stands still
      {"TORCH_NCCL_RETHROW_CUDA_ERRORS", "0"},   // nor does a CUDA error end it from that thread
      {"TORCH_NCCL_DUMP_ON_TIMEOUT", "0"},       // the engine asks for the record, and wants no sleep before
      {"TORCH_NCCL_WAIT_TIMEOUT_DUMP_MILSEC", "0"},
      {"TORCH_NCCL_PROPAGATE_ERROR", "0"},  // FailureBoard does
      {"TORCH_NCCL_DESYNC_DEBUG", "0"},
      {"TORCH_FR_BUFFER_SIZE", "2000"},  // operations that the flight recorder keeps
  };
  for (auto [name, value] : kSettings) setenv(name, value, /*overwrite=*/1);
}

/// Runs `body`; an exception's text goes to `message`.
template <typename Body>
bool told(char *message, int64_t capacity, Body &&body) {
  try {
    body();
    return true;
  } catch (const c10::Error &error) {
    std::snprintf(message, static_cast<size_t>(capacity), "%s", error.what_without_backtrace());
  } catch (const std::exception &error) {
    std::snprintf(message, static_cast<size_t>(capacity), "%s", error.what());
  }
  return false;
}

}  // namespace

bool xtuner_group_create(void *store, int32_t index, int32_t size, int64_t timeout_ms, const char *name, void **out,
                         char *message, int64_t capacity) {
  return told(message, capacity, [&] {
    static std::once_flag once;
    std::call_once(once, set_up);
    auto options = c10d::ProcessGroupNCCL::Options::create();
    // A second line of defence, counted from the issue of an operation, which may be a step ahead: the engine's own
    // time-out comes first.
    options->timeout = std::chrono::milliseconds(timeout_ms) + std::chrono::hours(24);
    options->group_name = name;
    auto base = *static_cast<c10::intrusive_ptr<c10d::Store> *>(store);
    auto group = c10::make_intrusive<c10d::ProcessGroupNCCL>(base, index, size, options);
    // Barriers take this rank's device, where they would guess one by the rank's number.
    group->setBoundDeviceId(at::Device(at::kCUDA, c10::cuda::current_device()));
    *out = new c10::intrusive_ptr<c10d::Backend>(group);
  });
}

bool xtuner_write_flight_record(const char *path, char *message, int64_t capacity) {
  return told(message, capacity, [&] {
    std::ofstream file(path);
    file << c10d::dump_nccl_trace_json(/*includeCollectives=*/true, /*onlyActive=*/false) << "\n";
    file.close();
    TORCH_CHECK(file.good(), "cannot write ", path);
  });
}
