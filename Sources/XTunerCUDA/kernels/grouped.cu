// What libtorch's grouped products need beside them.
#include "elements.cuh"
#include "kernels.h"

namespace xtuner::cuda {
namespace {

__global__ void narrow_kernel(const int64_t *offsets, int32_t *ends, int64_t count) {
  const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (i < count) ends[i] = static_cast<int32_t>(offsets[i]);
}

/// blockIdx.y is the group; most blocks end at once.
template <typename Unit>
__global__ void clear_kernel(Unit *groups, const int64_t *offsets, int64_t units) {
  const int64_t e = blockIdx.y;
  if (offsets[e] != (e > 0 ? offsets[e - 1] : 0)) return;
  for (int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; i < units;
       i += static_cast<int64_t>(gridDim.x) * blockDim.x)
    groups[e * units + i] = Unit{};
}

}  // namespace

void narrow_offsets(const int64_t *offsets, int32_t *ends, int64_t count, cudaStream_t stream) {
  if (count == 0) return;
  XTUNER_LAUNCH(blocks_for(count, 256), 256u, stream, narrow_kernel)(offsets, ends, count);
}

void clear_empty_groups(void *groups, const int64_t *offsets, int64_t count, int64_t bytes, cudaStream_t stream) {
  if (count == 0 || bytes == 0) return;
  auto run = [&](auto *data) {
    using Unit = std::remove_pointer_t<decltype(data)>;
    dim3 grid(16, static_cast<unsigned>(count));
    XTUNER_LAUNCH(grid, 256u, stream, clear_kernel<Unit>)(data, offsets, int64_t(bytes / sizeof(Unit)));
  };
  (address(groups) | static_cast<uint64_t>(bytes)) % 16 == 0 ? run(static_cast<uint4 *>(groups))
                                                             : run(static_cast<uint16_t *>(groups));
}

}  // namespace xtuner::cuda
