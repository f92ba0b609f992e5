// The order of rows by expert: a stable counting sort of the slots. A warp takes a chunk of slots; first it counts its
// rows for each expert, then one block turns counts into places, then the warp puts its slots there.
#include "elements.cuh"
#include "kernels.h"
#include "reduce.cuh"

namespace xtuner::cuda {
namespace {

constexpr int kWarps = 4;

/// The expert of a lane's slot, or -1 beyond the chunk's end.
__device__ inline int expert_at(const int64_t *experts, int64_t slot, int64_t end, int expert_count) {
  if (slot >= end) return -1;
  check_index(experts[slot], expert_count);
  return static_cast<int>(experts[slot]);
}

/// Calls `body(slot, expert, rank, total)` for 32 slots of a chunk at a time: the slot's rank among those of its
/// expert, and how many these are.
template <typename Body>
__device__ void each_slot(const int64_t *experts, int64_t begin, int64_t end, int expert_count, Body &&body) {
  const int lane = threadIdx.x % 32;
  for (int64_t first = begin; first < end; first += 32) {
    const int expert = expert_at(experts, first + lane, end, expert_count);
    const unsigned same = __match_any_sync(kAllLanes, expert);
    const int rank = __popc(same & ((1u << lane) - 1));
    body(first + lane, expert, rank, __popc(same));
    __syncwarp();
  }
}

__global__ void count_kernel(const int64_t *experts, int32_t *counters, int64_t count, int64_t chunk, int64_t chunks,
                             int expert_count) {
  __shared__ int32_t all[kWarps][kMostExperts];
  const int64_t index = blockIdx.x * int64_t(kWarps) + threadIdx.x / 32;
  if (index >= chunks) return;
  int32_t *own = all[threadIdx.x / 32];
  for (int e = threadIdx.x % 32; e < expert_count; e += 32) own[e] = 0;
  __syncwarp();
  const int64_t begin = index * chunk, end = begin + chunk < count ? begin + chunk : count;
  each_slot(experts, begin, end, expert_count, [&](int64_t, int expert, int rank, int total) {
    if (expert >= 0 && rank == 0) own[expert] += total;
  });
  for (int e = threadIdx.x % 32; e < expert_count; e += 32) counters[index * expert_count + e] = own[e];
}

/// One block, a thread for each expert: counts of all chunks become the first row of each chunk.
__global__ void place_kernel(int32_t *counters, int64_t *counts, int64_t *offsets, int64_t chunks, int expert_count) {
  __shared__ int32_t ends[kMostExperts];
  const int e = threadIdx.x;
  int32_t total = 0;
  if (e < expert_count) {
#pragma unroll 8
    for (int64_t c = 0; c < chunks; ++c) total += counters[c * expert_count + e];
  }
  ends[e] = total;
  __syncthreads();
  for (unsigned offset = 1; offset < blockDim.x; offset *= 2) {
    int32_t before = e >= static_cast<int>(offset) ? ends[e - offset] : 0;
    __syncthreads();
    ends[e] += before;
    __syncthreads();
  }
  if (e >= expert_count) return;
  counts[e] = total;
  offsets[e] = ends[e];
  int32_t next = ends[e] - total;
  for (int64_t c = 0; c < chunks; ++c) {
    int32_t rows = counters[c * expert_count + e];
    counters[c * expert_count + e] = next;
    next += rows;
  }
}

__global__ void order_kernel(const int64_t *experts, const int32_t *counters, int64_t *token_of_row,
                             int64_t *row_of_slot, int64_t count, int64_t slots, int64_t chunk, int64_t chunks,
                             int expert_count) {
  __shared__ int32_t all[kWarps][kMostExperts];
  const int64_t index = blockIdx.x * int64_t(kWarps) + threadIdx.x / 32;
  if (index >= chunks) return;
  int32_t *next = all[threadIdx.x / 32];
  for (int e = threadIdx.x % 32; e < expert_count; e += 32) next[e] = counters[index * expert_count + e];
  __syncwarp();
  const int64_t begin = index * chunk, end = begin + chunk < count ? begin + chunk : count;
  each_slot(experts, begin, end, expert_count, [&](int64_t slot, int expert, int rank, int total) {
    const int32_t row = expert >= 0 ? next[expert] + rank : 0;
    __syncwarp();  // all have read before the first of each expert moves its counter
    if (expert < 0) return;
    if (rank == 0) next[expert] += total;
    row_of_slot[slot] = row;
    token_of_row[row] = slot / slots;
  });
}

}  // namespace

int64_t order_chunk(int64_t count) {
  // At most 512 chunks, since one block goes through them; at least 256 slots.
  int64_t chunk = (count + 511) / 512;
  return chunk <= 256 ? 256 : (chunk + 31) / 32 * 32;
}

void expert_order(const int64_t *experts, int64_t *token_of_row, int64_t *row_of_slot, int64_t *counts,
                  int64_t *offsets, int32_t *counters, int64_t tokens, int64_t slots, int64_t expert_count,
                  cudaStream_t stream) {
  const int64_t count = tokens * slots, chunk = order_chunk(count), chunks = (count + chunk - 1) / chunk;
  const int most = static_cast<int>(expert_count);
  if (chunks > 0) XTUNER_LAUNCH(blocks_for(chunks, kWarps), kWarps * 32u, stream, count_kernel)
  (experts, counters, count, chunk, chunks, most);
  XTUNER_LAUNCH(1u, threads_for(expert_count, kMostExperts), stream, place_kernel)
  (counters, counts, offsets, chunks, most);
  if (chunks > 0) XTUNER_LAUNCH(blocks_for(chunks, kWarps), kWarps * 32u, stream, order_kernel)
  (experts, counters, token_of_row, row_of_slot, count, slots, chunk, chunks, most);
}

}  // namespace xtuner::cuda
