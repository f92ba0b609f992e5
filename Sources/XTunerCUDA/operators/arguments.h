// What the operators' functions share beside the checks of all devices: the device's own, the stream, the types of
// elements.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/empty_strided.h>
#include <c10/core/DeviceGuard.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include <exception>
#include <limits>
#include <optional>
#include <tuple>

#include "../kernels/kernels.h"

/// The dispatcher's key under which the operators are registered; Tests/EmulatedCUDA takes the CPU's.
#ifndef XTUNER_DEVICE_KEY
#define XTUNER_DEVICE_KEY CUDA
#endif

namespace xtuner::cuda_operators {

using at::Tensor;
using cuda::Element;

/// Makes a tensor's device the current one, and its stream the one that kernels go to.
class OnDevice {
 public:
  explicit OnDevice(const Tensor &x)
      : guard_(x.device()), stream_(c10::cuda::getCurrentCUDAStream(x.device().index()).stream()) {}
  operator cudaStream_t() const { return stream_; }
  /// A launch that failed is found at the end of the operator.
  ~OnDevice() noexcept(false) {
    if (std::uncaught_exceptions() == 0) C10_CUDA_KERNEL_LAUNCH_CHECK();
  }

 private:
  c10::DeviceGuard guard_;
  cudaStream_t stream_;
};

inline Element element_of(const Tensor &x, const char *what) {
  switch (x.scalar_type()) {
    case at::kBFloat16:
      return Element::bfloat16;
    case at::kHalf:
      return Element::float16;
    case at::kFloat:
      return Element::float32;
    default:
      TORCH_CHECK(false, what, ": the CUDA kernel takes bfloat16, float16 and float32, not ", x.scalar_type());
  }
}

inline void check_device(const Tensor &x, const Tensor &other, const char *what) {
  TORCH_CHECK(other.device() == x.device(), what, ": one tensor is on ", x.device(), ", another one on ",
              other.device());
}
inline void check_device(const Tensor &x, const std::optional<Tensor> &other, const char *what) {
  if (other) check_device(x, *other, what);
}
/// A kernel would read host memory as if it were the device's.
template <typename... Others>
void check_devices(const char *what, const Tensor &x, const Others &...others) {
  (check_device(x, others, what), ...);
}

/// Blocks of a launch are counted in 31 bits.
inline void check_row_count(int64_t rows, const char *what) {
  TORCH_CHECK(rows <= std::numeric_limits<int32_t>::max(), what, ": ", rows, " rows are more than ",
              std::numeric_limits<int32_t>::max());
}

/// The rows of a tensor of any dimensions.
inline int64_t row_count(const Tensor &x, const char *what) {
  int64_t rows = x.size(-1) == 0 ? 0 : x.numel() / x.size(-1);
  check_row_count(rows, what);
  return rows;
}

/// Values of float8 for numbers like x, of these sizes.
inline Tensor float8_values(const Tensor &x, at::IntArrayRef sizes) {
  return at::empty(sizes, x.options().dtype(at::kFloat8_e4m3fn));
}

/// Scales of [rows, tiles], those of a tile of all rows side by side.
inline Tensor scales_by_tile(const Tensor &x, int64_t rows, int64_t tiles) {
  return at::empty_strided({rows, tiles}, {1, rows}, x.options().dtype(at::kFloat));
}

inline Tensor floats(const Tensor &x, at::IntArrayRef sizes) { return at::empty(sizes, x.options().dtype(at::kFloat)); }

inline const void *pointer(const Tensor &x) { return x.const_data_ptr(); }
inline const void *pointer(const std::optional<Tensor> &x) { return x ? x->const_data_ptr() : nullptr; }
inline const float *float_pointer(const std::optional<Tensor> &x) { return x ? x->const_data_ptr<float>() : nullptr; }

}  // namespace xtuner::cuda_operators
