// Tiles of bfloat16 for VDPBF16PS: how they are packed, multiplied and rounded.
//
// The instruction multiplies sixteen pairs with sixteen pairs and adds each pair's two products to a
// float. So a matrix is packed in pairs of neighbours along the dimension that is summed over, 32 bits
// a pair, and what is missing at its edges is zeros. The left factor's pairs are broadcast one by one,
// the right factor's are read sixteen columns at a time, four rows of sums are kept in registers: 16
// of them hide the instruction's latency, and half of the loads that the processor can do suffice.
#pragma once

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdlib>
#include <memory>

#include "../bf16.h"

#if defined(XTUNER_HAS_BF16_KERNELS)
#define XTUNER_TILE inline __attribute__((always_inline))

XTUNER_BF16_BEGIN
namespace xtuner::cpu {
namespace {

using Pair = uint32_t;

/// Uninitialized memory that begins at a cache line: vectors that cross lines load at half the speed.
template <typename Element>
class Aligned {
 public:
  explicit Aligned(int64_t count)
      : memory_(static_cast<Element *>(std::aligned_alloc(64, (size_t(count) * sizeof(Element) + 127) / 64 * 64))) {
    if (!memory_) throw std::bad_alloc();
  }
  operator Element *() const { return memory_.get(); }

 private:
  struct Free {
    void operator()(Element *p) const { std::free(p); }
  };
  std::unique_ptr<Element, Free> memory_;
};

/// Four rows of a left factor: pair `s` of row `r` is `data[r * row + s * step]`.
struct LeftPairs {
  const Pair *data;
  int64_t row, step;
};

/// A right factor: pair `s` of column `c` is `data[s * step + c]`.
struct RightPairs {
  const Pair *data;
  int64_t step;
};

// ---- Products

/// Adds to four rows of sums, each of `vectors` times sixteen columns.
template <int vectors>
XTUNER_TILE void add_products(const LeftPairs &left, const RightPairs &right, int64_t steps,
                              __m512 (&sums)[4][vectors]) {
  const Pair *a = left.data, *b = right.data;
  for (int64_t s = 0; s < steps; ++s, a += left.step, b += right.step) {
    __m512bh columns[vectors];
#pragma clang loop unroll(full)
    for (int j = 0; j < vectors; ++j) columns[j] = (__m512bh)_mm512_loadu_si512(b + 16 * j);
#pragma clang loop unroll(full)
    for (int r = 0; r < 4; ++r) {
      auto row = (__m512bh)_mm512_set1_epi32(int(a[r * left.row]));
#pragma clang loop unroll(full)
      for (int j = 0; j < vectors; ++j) sums[r][j] = _mm512_dpbf16_ps(sums[r][j], row, columns[j]);
    }
  }
}

template <int vectors, typename Start>
XTUNER_TILE void update_columns(const LeftPairs &left, const RightPairs &right, int64_t steps, float *out,
                                int64_t out_row, Start &&start) {
  __m512 sums[4][vectors];
#pragma clang loop unroll(full)
  for (int r = 0; r < 4; ++r)
#pragma clang loop unroll(full)
    for (int j = 0; j < vectors; ++j) sums[r][j] = start(r, out + r * out_row + 16 * j);
  add_products(left, right, steps, sums);
#pragma clang loop unroll(full)
  for (int r = 0; r < 4; ++r)
#pragma clang loop unroll(full)
    for (int j = 0; j < vectors; ++j) _mm512_store_ps(out + r * out_row + 16 * j, sums[r][j]);
}

/// Four rows of `out` become `start(row, where they are)` plus the product; `columns` are whole vectors.
template <typename Start>
XTUNER_TILE void update_rows(const LeftPairs &left, const RightPairs &right, int64_t steps, int64_t columns, float *out,
                             int64_t out_row, Start &&start) {
  int64_t c = 0;
  for (; c + 64 <= columns; c += 64)
    update_columns<4>(left, {right.data + c, right.step}, steps, out + c, out_row, start);
  if (columns - c == 48) update_columns<3>(left, {right.data + c, right.step}, steps, out + c, out_row, start);
  if (columns - c == 32) update_columns<2>(left, {right.data + c, right.step}, steps, out + c, out_row, start);
  if (columns - c == 16) update_columns<1>(left, {right.data + c, right.step}, steps, out + c, out_row, start);
}

// ---- Packing of rows that lie `stride` elements apart

/// The lanes `from ..< to` of sixteen; bounds may lie outside.
XTUNER_TILE __mmask16 lanes(int64_t from, int64_t to) {
  auto below = [](int64_t n) { return (1u << std::clamp<int64_t>(n, 0, 16)) - 1; };
  return __mmask16(below(to) & ~below(from));
}
XTUNER_TILE __mmask32 first_lanes(int64_t n) { return n >= 32 ? ~0u : n <= 0 ? 0u : (1u << n) - 1; }

/// Pairs along a row, [padded_count, pairs]: a left factor that is summed over its width.
inline void pack_rows(const c10::BFloat16 *x, int64_t stride, int64_t count, int64_t padded_count, int64_t width,
                      Pair *out) {
  int64_t pairs = (width + 1) / 2;
  for (int64_t r = 0; r < padded_count; ++r)
    for (int64_t i = 0; i < pairs; i += 16) {
      __mmask32 mask = r < count ? first_lanes(width - 2 * i) : 0;
      auto v = _mm512_maskz_loadu_epi16(mask, mask ? x + r * stride + 2 * i : x);
      _mm512_mask_storeu_epi32(out + r * pairs + i, lanes(0, pairs - i), v);
    }
}

/// Pairs of rows, [padded_count / 2, columns]: a right factor that is summed over rows.
inline void pack_row_pairs(const c10::BFloat16 *x, int64_t stride, int64_t count, int64_t padded_count, int64_t width,
                           Pair *out, int64_t columns) {
  auto row = [&](int64_t r, int64_t c) {
    __mmask16 mask = r < count ? lanes(0, width - c) : __mmask16(0);
    return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, mask ? x + r * stride + c : x));
  };
  for (int64_t r = 0; r < padded_count; r += 2)
    for (int64_t c = 0; c < columns; c += 16)
      _mm512_storeu_si512(out + r / 2 * columns + c, _mm512_or_si512(row(r, c), _mm512_slli_epi32(row(r + 1, c), 16)));
}

/// Exchanges the rows and columns of 16 times 16 pairs: halves of 8, then of 4, 2 and 1 are swapped.
XTUNER_TILE void transpose(__m512i (&x)[16]) {
  const auto lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#pragma clang loop unroll(full)
  for (int half = 8; half > 0; half /= 2) {
    // A lane whose bit `half` is set comes from the other vector (index plus 16), or goes there.
    auto size = _mm512_set1_epi32(half);
    auto is_high = _mm512_test_epi32_mask(lane, size);
    auto low = _mm512_mask_add_epi32(lane, is_high, _mm512_sub_epi32(lane, size), _mm512_set1_epi32(16));
    auto high = _mm512_mask_add_epi32(_mm512_add_epi32(lane, size), is_high, lane, _mm512_set1_epi32(16));
#pragma clang loop unroll(full)
    for (int i = 0; i < 16; ++i)
      if (!(i & half)) {
        auto a = x[i], b = x[i + half];
        x[i] = _mm512_permutex2var_epi32(a, low, b);
        x[i + half] = _mm512_permutex2var_epi32(a, high, b);
      }
  }
}

/// Pairs along a row, transposed, [pairs, 64]: a right factor of up to 64 rows that is summed over its width.
/// With at most 32 rows only 32 columns are written.
inline void pack_panel(const c10::BFloat16 *x, int64_t stride, int64_t count, int64_t width, Pair *out) {
  int64_t pairs = (width + 1) / 2;
  for (int64_t r = 0; r < (count > 32 ? 64 : 32); r += 16)
    for (int64_t i = 0; i < pairs; i += 16) {
      __m512i block[16];
#pragma clang loop unroll(full)
      for (int j = 0; j < 16; ++j) {
        __mmask32 mask = r + j < count ? first_lanes(width - 2 * i) : 0;
        block[j] = _mm512_maskz_loadu_epi16(mask, mask ? x + (r + j) * stride + 2 * i : x);
      }
      transpose(block);
#pragma clang loop unroll(full)
      for (int j = 0; j < 16; ++j)
        if (i + j < pairs) _mm512_storeu_si512(out + (i + j) * 64 + r, block[j]);
    }
}

/// Starts to fetch rows into the second cache: the processor foresees no rows that lie apart.
template <typename Element>
XTUNER_TILE void prefetch_rows(const Element *x, int64_t stride, int64_t count, int64_t width) {
  for (int64_t r = 0; r < count; ++r)
    for (int64_t i = 0; i < width; i += 64 / int64_t(sizeof(Element))) _mm_prefetch(x + r * stride + i, _MM_HINT_T1);
}

// ---- Numbers

/// 32 roundings to nearest, those of `low` first; denormals become zero, NaN stays NaN.
XTUNER_TILE __m512i rounded(__m512 low, __m512 high) { return (__m512i)_mm512_cvtne2ps_pbh(high, low); }

/// Makes pairs of the lower sixteen elements with the upper sixteen.
XTUNER_TILE __m512i interleaved(__m512i x) {
  const auto pair = _mm512_set1_epi32(0x00100000);  // elements 16 + lane and lane
  const auto lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  return _mm512_permutexvar_epi16(_mm512_add_epi32(pair, _mm512_mullo_epi32(lane, _mm512_set1_epi32(0x00010001))), x);
}

/// Stores the first `count` lanes, of sixteen at most, as bfloat16.
XTUNER_TILE void store_rounded(c10::BFloat16 *out, __m512 x, int64_t count) {
  _mm256_mask_storeu_epi16(out, lanes(0, count), (__m256i)_mm512_cvtneps_pbh(x));
}

/// 2^x with a relative error below 4e-6, a thousandth of bfloat16's; 0 for minus infinity, NaN for NaN, 1 for 0.
XTUNER_TILE __m512 power_of_two(__m512 x) {
  // x = floor(x) + r; a polynomial for 2^r on 0 ... 1, and the instruction that scales takes the floor itself.
  __m512 r = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  __m512 p = _mm512_set1_ps(1.3426687973e-02f);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.2242468228e-02f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(2.4128020760e-01f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(6.9304484453e-01f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1));
  return _mm512_scalef_ps(p, x);
}

}  // namespace
}  // namespace xtuner::cpu
XTUNER_BF16_END
#endif
