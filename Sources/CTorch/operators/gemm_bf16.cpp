#include "gemm_bf16.h"

#include <ATen/Parallel.h>
#include <c10/util/Exception.h>

#include <memory>

#include "parallel.h"

#if defined(XTUNER_HAS_BF16_KERNELS)
#define XTUNER_INLINE inline __attribute__((always_inline))

XTUNER_BF16_BEGIN

namespace xtuner::cpu {
namespace {

#include "kernels_gemm_bf16.h"

/// Sizes of blocks that stay in the second-level cache of a core (1 MiB): packed A, packed B, sums.
constexpr int64_t kBlockRows = 256, kBlockColumns = 4 * kPanel, kBlockDepth = 512;

struct Task {
  const Bf16Product *product;
  int64_t row, rows, column, columns;
};

/// What a thread packs into; kept from task to task.
struct Scratch {
  std::unique_ptr<Pair[]> a, b;
  std::unique_ptr<float[]> sums;
};

Bf16Matrix from(const Bf16Matrix &x, int64_t row, int64_t column) {
  return {x.data + (x.is_transposed ? column * x.stride + row : row * x.stride + column), x.stride, x.is_transposed};
}

void run(const Task &task, Scratch &scratch) {
  const auto &p = *task.product;
  bool packs_a = p.a.is_transposed || p.k % 2 != 0;
  bool needs_sums = p.out != nullptr && p.k > kBlockDepth;
  if (!scratch.b) scratch.b.reset(new Pair[kBlockDepth / 2 * kBlockColumns]);
  if (packs_a && !scratch.a) scratch.a.reset(new Pair[kBlockDepth / 2 * kBlockRows]);
  if (needs_sums && !scratch.sums) scratch.sums.reset(new float[kBlockRows * kBlockColumns]);
  // Where sums are kept in a block of their own, columns are the outer loop; else a packed A is packed once.
  int64_t column_step = needs_sums ? kBlockColumns : task.columns;
  for (int64_t c0 = 0; c0 < task.columns; c0 += column_step) {
    int64_t c0_end = std::min(task.columns, c0 + column_step);
    for (int64_t d = 0; d < std::max<int64_t>(p.k, 1); d += kBlockDepth) {
      int64_t depth = std::min(p.k - d, kBlockDepth);
      bool is_last = d + depth >= p.k;
      auto a = from(p.a, task.row, d);
      if (packs_a) pack_rows(a, task.rows, depth, scratch.a.get());
      for (int64_t c = c0; c < c0_end; c += kPanel) {
        int64_t columns = std::min(c0_end - c, kPanel), column = task.column + c;
        auto b = from(p.b, d, column);
        auto pack = b.is_transposed ? pack_panel_transposed : pack_panel;
        pack(b.data, b.stride, depth, columns, scratch.b.get());
        Ahead ahead;
        if (c + kPanel < c0_end) ahead = Ahead::of(from(p.b, d, column + kPanel), depth, std::min(c0_end - c - kPanel, kPanel));
        int64_t place = task.row * p.out_stride + column;
        TileOutput output{nullptr, nullptr, p.out_stride, false};
        float *sums = scratch.sums.get() + (c - c0);
        if (p.wide_out != nullptr)
          output = {nullptr, p.wide_out + place, p.out_stride, p.adds || d > 0};
        else if (!needs_sums)
          output = {p.out + place, nullptr, p.out_stride, false};
        else
          output = {nullptr, sums, kBlockColumns, d > 0};
        multiply_panel(task.rows, depth, a, packs_a ? scratch.a.get() : nullptr, scratch.b.get(), output, columns, ahead);
        if (!needs_sums || !is_last) continue;
        for (int64_t r = 0; r < task.rows; ++r)
          for (int64_t i = 0; i < columns; i += kLanes)
            _mm256_mask_storeu_epi16(p.out + place + r * p.out_stride + i, first_lanes(columns - i),
                                     (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(sums + r * kBlockColumns + i)));
      }
    }
  }
}

int64_t blocks(int64_t size, int64_t block) { return (size + block - 1) / block; }

/// Blocks of rows of all products, split along columns until every thread has several.
std::vector<Task> tasks_of(const std::vector<Bf16Product> &products, int64_t threads) {
  int64_t row_blocks = 0;
  for (const auto &p : products) row_blocks += blocks(p.m, kBlockRows);
  int64_t splits = threads == 1 ? 1 : blocks(4 * threads, std::max<int64_t>(row_blocks, 1));
  std::vector<Task> tasks;
  for (const auto &p : products) {
    if (p.m == 0 || p.n == 0) continue;
    int64_t rows = blocks(blocks(p.m, blocks(p.m, kBlockRows)), kTileRows) * kTileRows;
    int64_t columns = blocks(blocks(p.n, splits), kPanel) * kPanel;
    for (int64_t r = 0; r < p.m; r += rows)
      for (int64_t c = 0; c < p.n; c += columns)
        tasks.push_back({&p, r, std::min(rows, p.m - r), c, std::min(columns, p.n - c)});
  }
  return tasks;
}

}  // namespace

void multiply(const std::vector<Bf16Product> &products) {
  int64_t threads = at::get_num_threads();
  auto tasks = tasks_of(products, threads);
  int64_t count = static_cast<int64_t>(tasks.size());
  std::atomic<int64_t> next{0};
  parallel_for(std::min(threads, count), 1, [&](int64_t, int64_t) {
    Scratch scratch;
    for (int64_t i = next++; i < count; i = next++) run(tasks[i], scratch);
  });
}

}  // namespace xtuner::cpu

XTUNER_BF16_END

#else

namespace xtuner::cpu {
void multiply(const std::vector<Bf16Product> &) { TORCH_CHECK(false, "this processor has no bfloat16 products"); }
}  // namespace xtuner::cpu

#endif
