// silu(gate) * up of rows [gate, up], and its gradient.
#include "elements.cuh"
#include "kernels.h"

namespace xtuner::cuda {
namespace {

template <typename T, int N>
__global__ void swiglu_kernel(const T *gate_up, T *y, int64_t rows, int64_t width) {
  const int64_t row = blockIdx.x * static_cast<int64_t>(blockDim.y) + threadIdx.y;
  if (row >= rows) return;
  const T *gate = gate_up + row * 2 * width, *up = gate + width;
  for (int64_t i = threadIdx.x * N; i < width; i += blockDim.x * N) {
    float g[N], u[N];
    load<N>(gate + i, g);
    load<N>(up + i, u);
    for (int j = 0; j < N; ++j) g[j] = gated(g[j], u[j]);
    store<N>(y + row * width + i, g);
  }
}

template <typename T, int N>
__global__ void swiglu_backward_kernel(const T *grad, const T *gate_up, T *dgate_up, int64_t rows, int64_t width) {
  const int64_t row = blockIdx.x * static_cast<int64_t>(blockDim.y) + threadIdx.y;
  if (row >= rows) return;
  const T *gate = gate_up + row * 2 * width, *up = gate + width;
  T *dgate = dgate_up + row * 2 * width, *dup = dgate + width;
  for (int64_t i = threadIdx.x * N; i < width; i += blockDim.x * N) {
    float g[N], u[N], d[N];
    load<N>(gate + i, g);
    load<N>(up + i, u);
    load<N>(grad + row * width + i, d);
    for (int j = 0; j < N; ++j) {
      float s = 1.0f / (expf(-g[j]) + 1.0f);
      u[j] = d[j] * u[j] * s * (g[j] * (1.0f - s) + 1.0f);
      d[j] = d[j] * g[j] * s;
    }
    store<N>(dgate + i, u);
    store<N>(dup + i, d);
  }
}

}  // namespace

void swiglu(Element element, const void *gate_up, void *y, int64_t rows, int64_t width, cudaStream_t stream) {
  if (rows * width == 0) return;
  with_type(element, [&](auto type) {
    using T = typename decltype(type)::Type;
    auto run = [&](auto kernel, int64_t n) {
      dim3 tile = row_tile((width + n - 1) / n);
      XTUNER_LAUNCH(blocks_for(rows, tile.y), tile, stream, kernel)
      (static_cast<const T *>(gate_up), static_cast<T *>(y), rows, width);
    };
    bool is_whole = are_whole_vectors(address(gate_up), address(y), width * sizeof(T));
    is_whole ? run(swiglu_kernel<T, kVector<T>>, kVector<T>) : run(swiglu_kernel<T, 1>, 1);
  });
}

void swiglu_backward(Element element, const void *grad, const void *gate_up, void *dgate_up, int64_t rows,
                     int64_t width, cudaStream_t stream) {
  if (rows * width == 0) return;
  with_type(element, [&](auto type) {
    using T = typename decltype(type)::Type;
    auto run = [&](auto kernel, int64_t n) {
      dim3 tile = row_tile((width + n - 1) / n);
      XTUNER_LAUNCH(blocks_for(rows, tile.y), tile, stream, kernel)
      (static_cast<const T *>(grad), static_cast<const T *>(gate_up), static_cast<T *>(dgate_up), rows, width);
    };
    bool is_whole = are_whole_vectors(address(grad), address(gate_up), address(dgate_up), width * sizeof(T));
    is_whole ? run(swiglu_backward_kernel<T, kVector<T>>, kVector<T>) : run(swiglu_backward_kernel<T, 1>, 1);
  });
}

}  // namespace xtuner::cuda
