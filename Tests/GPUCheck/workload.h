// The operators at the shapes of a model, for measurements: Qwen3-30B-A3B, a pack of 16,384 tokens.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace gpucheck {

/// One operator; what it has to move or to compute says how fast a device can do it at best.
struct Measurement {
  std::string name, shape;
  double bytes = 0;  // read and written, each tensor once
  double flops = 0;  // of matrix products
  /// Makes the arguments on the device, and returns a function that runs the operator once.
  std::function<std::function<void()>(at::Device)> prepare;
};

std::vector<Measurement> measurements();

}  // namespace gpucheck
