#include "plugin.h"

#include <cuda_runtime_api.h>
#include <torch/version.h>

#define XTUNER_TEXT_OF(x) #x
#define XTUNER_TEXT(x) XTUNER_TEXT_OF(x)

namespace {

/// Read from the file by the program, before it opens a library whose initialisers would run. Volatile, so that it is
/// there though nothing here reads it.
[[gnu::used]] const volatile char marker[] =
    "XTunerCUDA plug-in: libtorch=" TORCH_VERSION " cuda=" XTUNER_TEXT(CUDART_VERSION) ";";

}  // namespace

const char *xtuner_cuda_built_for() { return TORCH_VERSION; }
