// Process groups over NCCL, as libtorch makes them.
#include <chrono>
#include <cstdio>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include "plugin.h"

bool xtuner_cuda_group_create(void *store, int32_t index, int32_t size, int64_t timeout_ms, const char *name,
                              void **out, char *message, int64_t capacity) {
  try {
    auto options = c10d::ProcessGroupNCCL::Options::create();
    options->timeout = std::chrono::milliseconds(timeout_ms);
    options->group_name = name;
    auto base = *static_cast<c10::intrusive_ptr<c10d::Store> *>(store);
    auto group = c10::make_intrusive<c10d::ProcessGroupNCCL>(base, index, size, options);
    *out = new c10::intrusive_ptr<c10d::Backend>(group);
    return true;
  } catch (const c10::Error &error) {
    std::snprintf(message, static_cast<size_t>(capacity), "%s", error.what_without_backtrace());
  } catch (const std::exception &error) {
    std::snprintf(message, static_cast<size_t>(capacity), "%s", error.what());
  }
  return false;
}
