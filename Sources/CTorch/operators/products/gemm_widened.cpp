// Products of bfloat16 matrices on processors that do not multiply them: float32 products of blocks that are widened.
//
// libtorch has no fast product for them there: it is up to a hundred times slower than its float32 product.
#include <ATen/Parallel.h>
#include <c10/util/Exception.h>

#include <limits>
#include <memory>

#include "../parallel.h"
#include "gemm.h"

#define XTUNER_KERNELS "widen.h"
#include "../each_instruction_set.h"

#if defined(__x86_64__)
extern "C" {
/// BLAS's float32 product of matrices whose columns are contiguous: c = alpha a b + beta c. libtorch_cpu brings it.
void sgemm_(const char *a_form, const char *b_form, const int *m, const int *n, const int *k, const float *alpha,
            const float *a, const int *a_stride, const float *b, const int *b_stride, const float *beta, float *c,
            const int *c_stride);
}

namespace xtuner::cpu {
namespace {

/// Rows, columns and depth of a block: two operands and their product are 3 MiB, about a core's second-level cache.
constexpr int64_t kBlock = 512;

struct Task {
  const Bf16Product *product;
  int64_t row, rows, column, columns;
};

/// What a thread widens into; kept from task to task.
struct Scratch {
  std::unique_ptr<float[]> a{new float[kBlock * kBlock]}, b{new float[kBlock * kBlock]},
      sums{new float[kBlock * kBlock]};
};

/// A widened block as BLAS takes it, with its rows, which are columns there, in a row.
struct Widened {
  const char *form;
  int stride;
};

/// Widens rows x columns of what is meant, from (row, column) on, in the order of memory.
Widened widen_block(const Bf16Matrix &x, int64_t row, int64_t rows, int64_t column, int64_t columns, float *into) {
  if (x.is_transposed) std::swap(row, column), std::swap(rows, columns);
  auto widen = XTUNER_KERNEL(widen_rows<c10::BFloat16, float>);
  widen(x.data + row * x.stride + column, x.stride, rows, columns, into, columns);
  return {x.is_transposed ? "T" : "N", std::max(static_cast<int>(columns), 1)};
}

void run(const Task &task, Scratch &scratch) {
  const auto &p = *task.product;
  int64_t place = task.row * p.out_stride + task.column;
  float *sums = p.wide_out ? p.wide_out + place : scratch.sums.get();
  int stride = static_cast<int>(p.wide_out ? p.out_stride : task.columns);
  int m = static_cast<int>(task.rows), n = static_cast<int>(task.columns);
  // Without depth the product is zero, and BLAS only scales what is there.
  for (int64_t d = 0; d < std::max<int64_t>(p.k, 1); d += kBlock) {
    int64_t depth = std::min(p.k - d, kBlock);
    auto a = widen_block(p.a, task.row, task.rows, d, depth, scratch.a.get());
    auto b = widen_block(p.b, d, depth, task.column, task.columns, scratch.b.get());
    const float one = 1, keep = p.adds || d > 0 ? 1 : 0;
    int k = static_cast<int>(depth);
    // Row by row in memory is column by column of the transpose: C' = B' A'.
    sgemm_(b.form, a.form, &n, &m, &k, &one, scratch.b.get(), &b.stride, scratch.a.get(), &a.stride, &keep, sums,
           &stride);
  }
  if (p.wide_out != nullptr) return;
  auto narrow = XTUNER_KERNEL(narrow_rows<c10::BFloat16, float>);
  narrow(sums, task.columns, task.rows, task.columns, p.out + place, p.out_stride);
}

}  // namespace

bool widens_bf16_products() { return instruction_set() != InstructionSet::avx512; }

void multiply_widened(const std::vector<Bf16Product> &products) {
  std::vector<Task> tasks;
  for (const auto &p : products) {
    TORCH_CHECK(p.out_stride <= std::numeric_limits<int>::max(), "product: rows ", p.out_stride, " elements apart");
    for (int64_t r = 0; r < p.m; r += kBlock)
      for (int64_t c = 0; c < p.n; c += kBlock)
        tasks.push_back({&p, r, std::min(kBlock, p.m - r), c, std::min(kBlock, p.n - c)});
  }
  parallel_items(
      static_cast<int64_t>(tasks.size()), at::get_num_threads(), [] { return Scratch(); },
      [&](int64_t i, Scratch &scratch) { run(tasks[i], scratch); });
}

}  // namespace xtuner::cpu

#else

namespace xtuner::cpu {
bool widens_bf16_products() { return false; }
void multiply_widened(const std::vector<Bf16Product> &) { TORCH_CHECK(false, "no float32 product of BLAS"); }
}  // namespace xtuner::cpu

#endif
