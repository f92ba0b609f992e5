// What the sanitized checks of the kernels share: random tensors and the comparison with a reference.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

namespace sanitized {

using at::Tensor;
using Tensors = std::vector<Tensor>;
using Function = std::function<Tensors(const Tensors &)>;

/// Restarts all random numbers.
void seed(uint64_t value);
/// A number of low ... high.
int64_t between(int64_t low, int64_t high);
int64_t one_of(std::initializer_list<int64_t> values);
inline bool coin() { return between(0, 1) == 1; }

/// Normally distributed numbers in memory of exactly their size, so that the sanitizer sees what lies beyond.
Tensor random(at::IntArrayRef sizes, at::ScalarType type);
/// The same as a view: columns of a wider matrix, every other column, a transposed one, or from an odd address.
Tensor random_view(int64_t rows, int64_t columns, at::ScalarType type);
/// Indices 0 ..< limit.
Tensor random_indices(at::IntArrayRef sizes, int64_t limit);

/// Devices have no kernels for float64.
#ifdef XTUNER_DEVICE_KERNELS
constexpr bool kHasDoubles = false;
#else
constexpr bool kHasDoubles = true;
#endif
constexpr at::ScalarType kTypes[] = {at::kBFloat16, at::kFloat, kHasDoubles ? at::kDouble : at::kBFloat16, at::kHalf};

/// Where kernels run; references run on the CPU.
void use_device(at::Device device);
/// The tensor on that device, with the same strides.
Tensor there(const Tensor &x);
/// Whether products of float8 are the device's own, as well as those of float32 numbers.
void use_native_float8(bool value);
bool has_native_float8();
/// Operators of ours without a kernel for that device.
std::vector<std::string> missing_operators();

/// Reports values that differ by more than roundings of their dtype; NaN differs from everything but NaN.
/// `rounded_to` says the dtype if they were computed from a narrower one.
void expect_close(const std::string &what, const Tensor &mine, const Tensor &theirs,
                  std::optional<at::ScalarType> rounded_to = std::nullopt);
void expect(bool holds, const std::string &what);

/// Compares values, and gradients of the floating-point inputs for random seed gradients of the outputs that
/// `is_used` says, of all where it is empty.
void expect_equal_results(const std::string &what, const Tensors &inputs, const Function &kernel,
                          const Function &reference, const std::vector<bool> &is_used = {});

template <typename... Parts>
std::string text(const Parts &...parts) {
  return c10::str(parts...);
}

int64_t failure_count();

// The groups of checks; each uses random sizes, and the number of threads that is set.
void check_attention();
void check_products();
void check_norm();
void check_rows();
void check_router();
void check_head();
void check_float8();
void check_float8_parts();
void check_flat();
void check_arena();

}  // namespace sanitized
