#include "plugin.h"

#include <c10/cuda/CUDAFunctions.h>
#include <cuda_runtime_api.h>
#include <torch/version.h>

#include <cstdio>

#include "operators/attention/choice.h"

#define XTUNER_TEXT_OF(x) #x
#define XTUNER_TEXT(x) XTUNER_TEXT_OF(x)

namespace {

/// Read from the file by the program, before it opens a library whose initialisers would run. Volatile, so that it is
/// there though nothing here reads it.
[[gnu::used]] const volatile char marker[] =
    "XTunerCUDA plug-in: libtorch=" TORCH_VERSION " cuda=" XTUNER_TEXT(CUDART_VERSION) ";";

}  // namespace

const char *xtuner_cuda_built_for() { return TORCH_VERSION; }

void xtuner_cuda_forbid_waiting(bool forbid) {
  using c10::cuda::SyncDebugMode;
  c10::cuda::warning_state().set_sync_debug_mode(forbid ? SyncDebugMode::L_ERROR : SyncDebugMode::L_DISABLED);
}

bool xtuner_cuda_device(int32_t index, char *name, int64_t capacity, int64_t *memory, int32_t *processors) {
  cudaDeviceProp properties;
  if (cudaGetDeviceProperties(&properties, index) != cudaSuccess) return false;
  std::snprintf(name, static_cast<size_t>(capacity), "%s", properties.name);
  *memory = static_cast<int64_t>(properties.totalGlobalMem);
  *processors = properties.multiProcessorCount;
  return true;
}

void xtuner_cuda_attention_choices(char *text, int64_t capacity) {
  std::string all;
  for (const auto &line : xtuner::cuda_operators::attention_choices()) all += line + "\n";
  std::snprintf(text, static_cast<size_t>(capacity), "%s", all.c_str());
}

bool xtuner_cuda_pin_attention(const char *name) { return xtuner::cuda_operators::pin_attention(name); }

bool xtuner_cuda_multiplies_float8(int32_t index) {
  int major = 0, minor = 0;
  return cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, index) == cudaSuccess &&
         cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, index) == cudaSuccess && major == 9 &&
         minor == 0;
}
