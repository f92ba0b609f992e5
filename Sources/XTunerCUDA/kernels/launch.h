// What the host side of a kernel needs: the stored types, and how a launch is written.
//
// Tests/EmulatedCUDA compiles the same files for the host and runs a block's threads one after another; there a launch
// and a trap are something else.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace xtuner::cuda {

/// How the elements of a tensor are stored; all arithmetic is in float32.
enum class Element { bfloat16, float16, float32 };

/// Blocks of kernels that keep a sum for each block: two for each multiprocessor of an H200. A constant, so that sums
/// do not depend on the device.
constexpr int kSumBlocks = 264;

}  // namespace xtuner::cuda

#ifdef XTUNER_EMULATED
#include "emulator.h"
#define XTUNER_LAUNCH(grid, block, stream, ...) ::emulated::launch(grid, block, __VA_ARGS__)
#define XTUNER_TRAP(message) ::emulated::trap(message)
#else
#define XTUNER_LAUNCH(grid, block, stream, ...) __VA_ARGS__<<<(grid), (block), 0, (stream)>>>
#define XTUNER_TRAP(message) __trap()
#endif
