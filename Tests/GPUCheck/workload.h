// The operators at the shapes of a model, for measurements: Qwen3-30B-A3B, a pack of 16,384 tokens.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <initializer_list>
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
  /// How much faster than bfloat16 the device multiplies: 2 for float8.
  double rate = 1;
  /// Whether it is an operator of the plug-in; others are measured beside it, and may be refused.
  bool is_ours = true;
};

/// Products of float8 are measured where the device has its own.
std::vector<Measurement> measurements(bool has_native_float8);

/// Adds float8's operators, see float8.cpp.
void add_float8(std::vector<Measurement> &list, bool has_native_float8);

// Qwen3-30B-A3B, a pack of 16,384 tokens.
constexpr int64_t kTokens = 16384, kHidden = 2048, kExperts = 128, kChosen = 8, kExpertWidth = 768, kHeads = 32,
                  kKeyHeads = 4, kHeadSize = 128, kRows = kTokens * kChosen;

at::Tensor normal(at::IntArrayRef sizes, at::Device device, at::ScalarType type = at::kBFloat16);
std::string shape(std::initializer_list<int64_t> sizes);

/// A router's choice and the orders that follow from it.
struct Routing {
  at::Tensor token_of_row, row_of_slot, counts, offsets, weights;
  explicit Routing(at::Device device);
};

}  // namespace gpucheck
