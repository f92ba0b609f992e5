#include <ATen/EmptyTensor.h>
#include <ATen/Parallel.h>
#include <c10/util/Exception.h>

#include <memory>

#include "../parallel.h"
#include "gemm.h"

#if defined(XTUNER_HAS_BF16_KERNELS)
#define XTUNER_INLINE inline __attribute__((always_inline))

XTUNER_BF16_BEGIN

namespace xtuner::cpu {
namespace {

#include "kernels_bf16.h"

/// Sizes of blocks that stay in the second-level cache of a core (1 MiB): A, a panel of B, sums.
constexpr int64_t kBlockRows = 256, kBlockColumns = 11 * kPanel, kBlockDepth = 512;
/// Up to this size B is packed once for all blocks of rows, if there are many; memory costs more than packing.
constexpr int64_t kLargestPackedBytes = int64_t(8) << 20;

struct Task {
  const Bf16Product *product;
  int64_t row, rows, column, columns;
  /// All of B, packed: blocks of depth, of panels; null where the task packs what it needs.
  const Pair *packed_b;
};

/// What a thread packs into; kept from task to task.
struct Scratch {
  std::unique_ptr<Pair[]> a, b;
  std::unique_ptr<float[]> sums;
};

int64_t blocks(int64_t size, int64_t block) { return (size + block - 1) / block; }

Bf16Matrix from(const Bf16Matrix &x, int64_t row, int64_t column) {
  if (x.data == nullptr) return x;  // an empty matrix has no memory
  return {x.data + (x.is_transposed ? column * x.stride + row : row * x.stride + column), x.stride, x.is_transposed};
}

void pack_panel_of(const Bf16Product &p, int64_t depth_first, int64_t column, Pair *out) {
  int64_t depth = std::min(p.k - depth_first, kBlockDepth), columns = std::min(p.n - column, kPanel);
  auto b = from(p.b, depth_first, column);
  (b.is_transposed ? pack_panel_transposed : pack_panel)(b.data, b.stride, depth, columns, out);
}

/// Also where there is nothing to pack: an empty A has no rows that could be read in place.
bool packs_a(const Bf16Product &p) { return p.a.is_transposed || p.k % 2 != 0 || p.k == 0; }

/// Whether sums do not fit the registers' lifetime nor the output: then they have a block of their own.
bool needs_sums(const Bf16Product &p) { return p.out != nullptr && p.k > kBlockDepth; }

int64_t block_rows(const Bf16Product &p) { return packs_a(p) || needs_sums(p) ? kBlockRows : 2 * kBlockRows; }

/// Pairs of a packed B of all columns.
int64_t packed_size(const Bf16Product &p) {
  return blocks(p.k, kBlockDepth) * blocks(p.n, kPanel) * (kBlockDepth / 2 * kPanel);
}

bool packs_all_of_b(const Bf16Product &p) {
  return p.m > 4 * block_rows(p) && packed_size(p) * int64_t(sizeof(Pair)) <= kLargestPackedBytes;
}

Pair *packed_panel(Pair *all, const Bf16Product &p, int64_t depth_first, int64_t column) {
  return all + (depth_first / kBlockDepth * blocks(p.n, kPanel) + column / kPanel) * (kBlockDepth / 2 * kPanel);
}

void run(const Task &task, Scratch &scratch) {
  const auto &p = *task.product;
  bool own_a = packs_a(p), own_sums = needs_sums(p);
  if (!scratch.b) scratch.b.reset(new Pair[kBlockDepth / 2 * kPanel]);
  if (own_a && !scratch.a) scratch.a.reset(new Pair[kBlockDepth / 2 * kBlockRows]);
  if (own_sums && !scratch.sums) scratch.sums.reset(new float[kBlockRows * kBlockColumns]);
  // Where sums are kept in a block of their own, columns are the outer loop; else a packed A is packed once.
  int64_t column_step = own_sums ? kBlockColumns : task.columns;
  for (int64_t c0 = 0; c0 < task.columns; c0 += column_step) {
    int64_t c0_end = std::min(task.columns, c0 + column_step);
    for (int64_t d = 0; d < std::max<int64_t>(p.k, 1); d += kBlockDepth) {
      int64_t depth = std::min(p.k - d, kBlockDepth);
      bool is_last = d + depth >= p.k;
      auto a = from(p.a, task.row, d);
      if (own_a) pack_rows(a, task.rows, depth, scratch.a.get());
      for (int64_t c = c0; c < c0_end; c += kPanel) {
        int64_t columns = std::min(c0_end - c, kPanel), column = task.column + c;
        const Pair *panel = scratch.b.get();
        Ahead ahead;
        if (task.packed_b != nullptr) {
          panel = packed_panel(const_cast<Pair *>(task.packed_b), p, d, column);
        } else {
          pack_panel_of(p, d, column, scratch.b.get());
          if (c + kPanel < c0_end)
            ahead = Ahead::of(from(p.b, d, column + kPanel), depth, std::min(c0_end - c - kPanel, kPanel));
        }
        int64_t place = task.row * p.out_stride + column;
        TileOutput output{nullptr, nullptr, p.out_stride, false};
        float *sums = own_sums ? scratch.sums.get() + (c - c0) : nullptr;
        if (p.wide_out != nullptr)
          output = {nullptr, p.wide_out + place, p.out_stride, p.adds || d > 0};
        else if (!own_sums)
          output = {p.out + place, nullptr, p.out_stride, false};
        else
          output = {nullptr, sums, kBlockColumns, d > 0};
        multiply_panel(task.rows, depth, a, own_a ? scratch.a.get() : nullptr, panel, output, columns, ahead);
        if (own_sums && is_last) narrow(sums, kBlockColumns, p.out + place, p.out_stride, task.rows, columns);
      }
    }
  }
}

/// Blocks of rows of all products, split along columns until every thread has several.
std::vector<Task> tasks_of(const std::vector<Bf16Product> &products, int64_t threads) {
  int64_t row_blocks = 0;
  for (const auto &p : products) row_blocks += blocks(p.m, block_rows(p));
  int64_t splits = threads == 1 ? 1 : blocks(4 * threads, std::max<int64_t>(row_blocks, 1));
  std::vector<Task> tasks;
  for (const auto &p : products) {
    if (p.m == 0 || p.n == 0) continue;
    int64_t rows = blocks(blocks(p.m, blocks(p.m, block_rows(p))), kTileRows) * kTileRows;
    int64_t columns = blocks(blocks(p.n, splits), kPanel) * kPanel;
    for (int64_t r = 0; r < p.m; r += rows)
      for (int64_t c = 0; c < p.n; c += columns)
        tasks.push_back({&p, r, std::min(rows, p.m - r), c, std::min(columns, p.n - c), nullptr});
  }
  return tasks;
}

/// Packs every B that several blocks of rows read, in one parallel region; returns what keeps the memory.
at::TensorBase pack_shared(const std::vector<Bf16Product> &products, std::vector<Task> &tasks, int64_t threads) {
  struct Panel {
    const Bf16Product *product;
    int64_t depth, column;
    Pair *out;
  };
  int64_t size = 0;
  for (const auto &p : products) size += packs_all_of_b(p) ? packed_size(p) : 0;
  if (size == 0) return {};
  auto memory = at::detail::empty_cpu({size}, at::kInt);
  auto next_place = reinterpret_cast<Pair *>(memory.mutable_data_ptr<int32_t>());
  std::vector<Panel> panels;
  for (const auto &p : products) {
    if (!packs_all_of_b(p)) continue;
    for (auto &task : tasks)
      if (task.product == &p) task.packed_b = next_place;
    for (int64_t d = 0; d < p.k; d += kBlockDepth)
      for (int64_t c = 0; c < p.n; c += kPanel) panels.push_back({&p, d, c, packed_panel(next_place, p, d, c)});
    next_place += packed_size(p);
  }
  parallel_items(static_cast<int64_t>(panels.size()), threads, [&](int64_t i) {
    pack_panel_of(*panels[i].product, panels[i].depth, panels[i].column, panels[i].out);
  });
  return memory;
}

}  // namespace

void multiply(const std::vector<Bf16Product> &products) {
  if (!has_bf16_products()) return multiply_widened(products);
  int64_t threads = at::get_num_threads();
  auto tasks = tasks_of(products, threads);
  auto packed = pack_shared(products, tasks, threads);
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
void multiply(const std::vector<Bf16Product> &products) { multiply_widened(products); }
}  // namespace xtuner::cpu

#endif
