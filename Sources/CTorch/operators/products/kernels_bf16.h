// The inner loops of bfloat16 matrix products. Included between XTUNER_BF16_BEGIN and XTUNER_BF16_END.
//
// A pair is two neighbouring elements along k, 32 bits: VDPBF16PS multiplies and adds pairs. B is
// packed to panels [pairs][48], zeros where it ends. A is read in place, or, where its pairs are not
// neighbours in memory, packed to panels [pairs][8].

constexpr int64_t kTileRows = 8, kPanel = 48, kLanes = 16;

using Pair = uint32_t;

XTUNER_INLINE __mmask16 first_lanes(int64_t count) {
  return count >= kLanes ? __mmask16(0xffff) : __mmask16((1u << (count > 0 ? count : 0)) - 1);
}

/// Pairs of two rows, 16 columns of them: element i is (low[i], high[i]).
XTUNER_INLINE __m512i interleaved(const c10::BFloat16 *low, const c10::BFloat16 *high, __mmask16 mask) {
  __m512i even = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, low));
  if (high == nullptr) return even;
  __m512i odd = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, high));
  return _mm512_or_si512(even, _mm512_slli_epi32(odd, 16));
}

/// Transposes 16 x 16 pairs in place.
XTUNER_INLINE void transpose(__m512i (&r)[16]) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 16; i += 8)
    for (int j = 0; j < 4; ++j) {
      t[i + j] = _mm512_shuffle_i32x4(r[i + j], r[i + 4 + j], 0x88);
      t[i + 4 + j] = _mm512_shuffle_i32x4(r[i + j], r[i + 4 + j], 0xdd);
    }
  for (int j = 0; j < 8; ++j) {
    r[j] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0x88);
    r[j + 8] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0xdd);
  }
}

/// Packs `k` rows of `columns` <= 48 columns of B to one panel.
inline void pack_panel(const c10::BFloat16 *b, int64_t stride, int64_t k, int64_t columns, Pair *out) {
  for (int64_t pair = 0; pair < (k + 1) / 2; ++pair) {
    const c10::BFloat16 *low = b + 2 * pair * stride, *high = 2 * pair + 1 < k ? low + stride : nullptr;
    for (int64_t i = 0; i < kPanel; i += kLanes)
      _mm512_storeu_si512(out + pair * kPanel + i,
                          interleaved(low + i, high ? high + i : nullptr, first_lanes(columns - i)));
  }
}

/// The same for B whose columns are rows in memory.
inline void pack_panel_transposed(const c10::BFloat16 *b, int64_t stride, int64_t k, int64_t columns, Pair *out) {
  for (int64_t i = 0; i < kPanel; i += kLanes)
    for (int64_t first = 0; first < k; first += 2 * kLanes) {
      int64_t count = std::min<int64_t>(k - first, 2 * kLanes);
      __mmask32 mask = count == 32 ? ~__mmask32(0) : (__mmask32(1) << count) - 1;
      __m512i rows[16];
      for (int64_t c = 0; c < kLanes; ++c)
        rows[c] =
            i + c < columns ? _mm512_maskz_loadu_epi16(mask, b + (i + c) * stride + first) : _mm512_setzero_si512();
      transpose(rows);
      Pair *place = out + first / 2 * kPanel + i;
      for (int64_t pair = 0; pair < (count + 1) / 2; ++pair) _mm512_storeu_si512(place + pair * kPanel, rows[pair]);
    }
}

/// Packs `rows` rows of A that are columns in memory (`is_transposed`) or not, to panels of 8 rows.
inline void pack_rows(const Bf16Matrix &a, int64_t rows, int64_t k, Pair *out) {
  int64_t pairs = (k + 1) / 2;
  if (!a.is_transposed) {
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t pair = 0; pair < pairs; ++pair) {
        const c10::BFloat16 *in = a.data + r * a.stride + 2 * pair;
        Pair low = in[0].x, high = 2 * pair + 1 < k ? in[1].x : 0;
        out[(r / kTileRows * pairs + pair) * kTileRows + r % kTileRows] = low | high << 16;
      }
    return;
  }
  // A cache line of A, 32 rows, at a time: panels are too far apart to write to all of them in turn. The
  // lines are too far apart for the processor to see where they lead.
  constexpr int64_t kAhead = 12;
  for (int64_t first = 0; first < rows; first += 2 * kLanes)
    for (int64_t pair = 0; pair < pairs; ++pair) {
      const c10::BFloat16 *low = a.data + 2 * pair * a.stride, *high = 2 * pair + 1 < k ? low + a.stride : nullptr;
      if (pair + kAhead < pairs) {
        __builtin_prefetch(low + 2 * kAhead * a.stride + first);
        __builtin_prefetch(low + (2 * kAhead + 1) * a.stride + first);
      }
      for (int64_t r = first; r < std::min(rows, first + 2 * kLanes); r += kLanes) {
        __m512i v = interleaved(low + r, high ? high + r : nullptr, first_lanes(rows - r));
        Pair *place = out + (r / kTileRows * pairs + pair) * kTileRows;
        _mm256_storeu_si256(reinterpret_cast<__m256i *>(place), _mm512_castsi512_si256(v));
        if (r + kTileRows < rows)
          _mm256_storeu_si256(reinterpret_cast<__m256i *>(place + pairs * kTileRows), _mm512_extracti64x4_epi64(v, 1));
      }
    }
}

/// What becomes of a tile's sums.
struct TileOutput {
  c10::BFloat16 *out;
  float *wide_out;
  int64_t stride;
  /// Add to `wide_out` instead of writing to it.
  bool adds;
};

/// Sums over `pairs` pairs of kRows rows of A and kVectors * 16 columns of a panel. `a_stride` and `a_step` are the
/// distances of rows and pairs of A, in elements.
template <int kRows, int kVectors>
XTUNER_INLINE void tile_product(int64_t pairs, const c10::BFloat16 *a, int64_t a_stride, int64_t a_step,
                                const Pair *panel, const TileOutput &output, int64_t columns) {
  __m512 sums[kRows][kVectors];
  __mmask16 last = first_lanes(columns - (kVectors - 1) * kLanes);
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) {
      sums[r][v] = _mm512_setzero_ps();
      // What is added to is needed at the end.
      if (output.adds) __builtin_prefetch(output.wide_out + r * output.stride + v * kLanes, 1);
    }
  for (int64_t pair = 0; pair < pairs; ++pair) {
    __m512bh b[kVectors];
    for (int v = 0; v < kVectors; ++v) b[v] = (__m512bh)_mm512_loadu_si512(panel + pair * kPanel + v * kLanes);
    for (int r = 0; r < kRows; ++r) {
      int32_t two;
      std::memcpy(&two, a + r * a_stride + pair * a_step, sizeof two);
      __m512bh x = (__m512bh)_mm512_set1_epi32(two);
      for (int v = 0; v < kVectors; ++v) sums[r][v] = _mm512_dpbf16_ps(sums[r][v], x, b[v]);
    }
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r)
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      __mmask16 mask = v + 1 < kVectors ? __mmask16(0xffff) : last;
      int64_t place = r * output.stride + v * kLanes;
      if (output.out != nullptr)
        _mm256_mask_storeu_epi16(output.out + place, mask, (__m256i)_mm512_cvtneps_pbh(sums[r][v]));
      else if (output.adds)
        _mm512_mask_storeu_ps(output.wide_out + place, mask,
                              _mm512_add_ps(_mm512_maskz_loadu_ps(mask, output.wide_out + place), sums[r][v]));
      else
        _mm512_mask_storeu_ps(output.wide_out + place, mask, sums[r][v]);
    }
}

using TileFunction = void (*)(int64_t, const c10::BFloat16 *, int64_t, int64_t, const Pair *, const TileOutput &,
                              int64_t);

template <int kRows, int kVectors>
void tile(int64_t pairs, const c10::BFloat16 *a, int64_t a_stride, int64_t a_step, const Pair *panel,
          const TileOutput &output, int64_t columns) {
  tile_product<kRows, kVectors>(pairs, a, a_stride, a_step, panel, output, columns);
}

constexpr TileFunction kTiles[3][kTileRows] = {
    {tile<1, 1>, tile<2, 1>, tile<3, 1>, tile<4, 1>, tile<5, 1>, tile<6, 1>, tile<7, 1>, tile<8, 1>},
    {tile<1, 2>, tile<2, 2>, tile<3, 2>, tile<4, 2>, tile<5, 2>, tile<6, 2>, tile<7, 2>, tile<8, 2>},
    {tile<1, 3>, tile<2, 3>, tile<3, 3>, tile<4, 3>, tile<5, 3>, tile<6, 3>, tile<7, 3>, tile<8, 3>},
};

/// Part of a matrix that is read next: `rows` rows of `lines` cache lines, `stride` bytes apart.
struct Ahead {
  const char *data = nullptr;
  int64_t stride = 0, rows = 0, lines = 0;

  /// What a panel of B is packed from.
  static Ahead of(const Bf16Matrix &b, int64_t k, int64_t columns) {
    int64_t rows = b.is_transposed ? columns : k, width = b.is_transposed ? k : columns;
    return {reinterpret_cast<const char *>(b.data), b.stride * 2, rows, (width * 2 + 63) / 64};
  }

  /// Asks for `count` lines from the `first` on.
  void fetch(int64_t first, int64_t count) const {
    int64_t end = std::min(first + count, rows * lines);
    if (first >= end) return;
    int64_t row = first / lines, line = first % lines;
    for (int64_t i = first; i < end; ++i) {
      __builtin_prefetch(data + row * stride + line * 64, 0, 2);
      if (++line == lines) {
        line = 0;
        ++row;
      }
    }
  }
};

/// All rows of a block with one panel. A is in place, or packed.
inline void multiply_panel(int64_t rows, int64_t k, const Bf16Matrix &a, const Pair *packed, const Pair *panel,
                           TileOutput output, int64_t columns, const Ahead &ahead) {
  int64_t pairs = (k + 1) / 2, share = ahead.rows * ahead.lines * kTileRows / rows + 1;
  const auto *tiles = kTiles[(columns + kLanes - 1) / kLanes - 1];
  for (int64_t r = 0; r < rows; r += kTileRows) {
    ahead.fetch(r / kTileRows * share, share);
    TileOutput here = output;
    if (here.out != nullptr) here.out += r * output.stride;
    if (here.wide_out != nullptr) here.wide_out += r * output.stride;
    auto function = tiles[std::min(rows - r, kTileRows) - 1];
    if (packed != nullptr)
      function(pairs, reinterpret_cast<const c10::BFloat16 *>(packed + r * pairs), 2, 2 * kTileRows, panel, here,
               columns);
    else
      function(pairs, a.data + r * a.stride, a.stride, 2, panel, here, columns);
  }
}

/// Rounds `rows` rows of sums to bfloat16.
inline void narrow(const float *sums, int64_t sums_stride, c10::BFloat16 *out, int64_t stride, int64_t rows,
                   int64_t columns) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < columns; i += kLanes)
      _mm256_mask_storeu_epi16(out + r * stride + i, first_lanes(columns - i),
                               (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(sums + r * sums_stride + i)));
}
