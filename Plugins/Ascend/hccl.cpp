// libXTunerAscend.so: process groups of HCCL, which torch_npu offers as a C++ class and to Python by name.
//
// The one file that is compiled with torch_npu's headers; scripts/ascend.sh builds it. Never run on an NPU.
#include <cstdio>
#include <torch_npu/csrc/distributed/ProcessGroupHCCL.hpp>

/// Makes this rank's part of a group, on the process's current NPU; see CTGroupMaker of CTorch's ctorch_plugins.h.
extern "C" bool xtuner_group_create(void *store, int32_t index, int32_t size, int64_t timeout_ms, const char *,
                                    void **out, char *message, int64_t capacity) {
  try {
    auto options = c10d_npu::ProcessGroupHCCL::Options::create();
    // The time-out that `create` takes it ignores. The engine's own comes first.
    options->timeout = options->opTimeout = std::chrono::milliseconds(2 * timeout_ms) + std::chrono::minutes(1);
    auto base = *static_cast<c10::intrusive_ptr<c10d::Store> *>(store);
    *out = new c10::intrusive_ptr<c10d::Backend>(
        c10::make_intrusive<c10d_npu::ProcessGroupHCCL>(base, index, size, options));
    return true;
  } catch (const std::exception &error) {
    std::snprintf(message, static_cast<size_t>(capacity), "%s", error.what());
    return false;
  }
}
