// libXTunerAscend.so: process groups of HCCL, which torch_npu offers as a C++ class and to Python by name.
//
// The one file that is compiled with torch_npu's headers; scripts/ascend.sh builds it. Never run on an NPU.
#include <torch_npu/csrc/distributed/ProcessGroupHCCL.hpp>

/// This rank's part of a group, on the process's current NPU; the caller owns the result.
extern "C" c10d::Backend *xtuner_make_hccl_group(c10d::Store *store, int rank, int size, int64_t timeout_ms) {
  auto options = c10d_npu::ProcessGroupHCCL::Options::create();
  // The time-out that `create` takes it ignores.
  options->timeout = options->opTimeout = std::chrono::milliseconds(timeout_ms);
  auto shared = c10::intrusive_ptr<c10d::Store>::unsafe_reclaim_from_nonowning(store);
  return c10::make_intrusive<c10d_npu::ProcessGroupHCCL>(shared, rank, size, options).release();
}
