// Attention of a block of queries, for all query heads that share a key head. Included by
// cpu_bf16.cpp.
//
// Goes once through the keys that the block sees, a tile at a time; a tile is packed once for all
// heads and stays in the first cache. Four queries see a tile whole: scores, their largest,
// probabilities and their product with the values, so that scores never leave the first cache either.
// Earlier sums are scaled down when a larger score appears. Exponents are of two.

/// Keys of a tile.
constexpr int64_t kTile = 128;

/// Memory of one thread. Rows of queries are those of the first head, then those of the second, ...
struct ForwardMemory {
  ForwardMemory(const AttentionGroup &g, int64_t block)
      : block(block),
        queries(g.repeat * block * g.pairs()),
        keys(kTile * g.pairs()),
        values(kTile / 2 * g.value_columns()),
        largest(g.repeat * block * 4),
        sums(g.repeat * block * 16),
        out(g.repeat * block * g.value_columns()) {}

  int64_t block;
  Aligned<Pair> queries, keys, values;
  /// Of four rows the largest scores, four times over.
  Aligned<float> largest;
  /// Of every row sixteen partial sums of exponentials.
  Aligned<float> sums;
  Aligned<float> out;
};

template <int vectors>
XTUNER_TILE void score_panel(const AttentionGroup &g, const Pair *queries, const Pair *panel, int64_t query,
                             int64_t key, float *scores, __m512 (&top)[4]) {
  __m512 s[4][vectors] = {};
  add_products<vectors>({queries, g.pairs(), 1}, {panel, 64}, g.pairs(), s);
  bool is_edge = g.is_edge(query, key);
#pragma clang loop unroll(full)
  for (int r = 0; r < 4; ++r)
#pragma clang loop unroll(full)
    for (int j = 0; j < vectors; ++j) {
      if (is_edge) s[r][j] = _mm512_mask_mov_ps(_mm512_set1_ps(-INFINITY), g.seen(query + r, key + 16 * j), s[r][j]);
      top[r] = _mm512_max_ps(top[r], s[r][j]);
      _mm512_store_ps(scores + r * kTile + 16 * j, s[r][j]);
    }
}

/// The largest of every vector, four times over.
XTUNER_TILE __m512 largest_of_each(const __m512 (&x)[4]) {
  auto pairs = [](__m512 a, __m512 b) { return _mm512_max_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b)); };
  auto a = _mm512_castps_pd(pairs(x[0], x[1])), b = _mm512_castps_pd(pairs(x[2], x[3]));
  auto m = _mm512_max_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)), _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
  m = _mm512_max_ps(m, _mm512_shuffle_f32x4(m, m, 0x4e));
  return _mm512_max_ps(m, _mm512_shuffle_f32x4(m, m, 0xb1));
}

/// Lets four queries of a head see the packed keys `key ..< key + kTile`.
inline void attend(const AttentionGroup &g, const ForwardMemory &memory, int64_t row, int64_t query, int64_t key) {
  int64_t begin = std::max<int64_t>(0, query - g.window + 1 - key) / 64 * 64;
  int64_t end = std::min(query + 4 - key, kTile), columns = g.value_columns();
  if (end <= begin) return;
  alignas(64) float scores[4 * kTile], tops[16], factors[16];
  alignas(64) Pair weights[4 * kTile / 2];
  __m512 top[4];
  for (auto &t : top) t = _mm512_set1_ps(-INFINITY);
  const Pair *queries = memory.queries + row * g.pairs();
  int64_t scored = begin;
  for (; scored < end; scored += 64) {
    const Pair *panel = memory.keys + scored * g.pairs();
    if (end - scored > 32) {
      score_panel<4>(g, queries, panel, query, key + scored, scores + scored, top);
    } else {
      score_panel<2>(g, queries, panel, query, key + scored, scores + scored, top);
    }
  }

  float *largest = memory.largest + row * 4, *sums = memory.sums + row * 16;
  auto before = _mm512_load_ps(largest), scale = _mm512_set1_ps(g.binary_scale());
  auto now = _mm512_max_ps(before, _mm512_mul_ps(largest_of_each(top), scale));
  _mm512_store_ps(largest, now);
  _mm512_store_ps(tops, now);
  _mm512_store_ps(factors, power_of_two(_mm512_sub_ps(before, now)));
  for (int r = 0; r < 4; ++r) {
    auto shift = _mm512_set1_ps(tops[r]), factor = _mm512_set1_ps(factors[r]);
    auto sum = _mm512_mul_ps(_mm512_load_ps(sums + 16 * r), factor);
    for (int64_t j = begin; j < end; j += 32) {
      const float *s = scores + r * kTile + j;
      auto a = power_of_two(_mm512_fmsub_ps(_mm512_load_ps(s), scale, shift));
      auto b = power_of_two(_mm512_fmsub_ps(_mm512_load_ps(s + 16), scale, shift));
      sum = _mm512_add_ps(sum, _mm512_add_ps(a, b));
      _mm512_store_si512(weights + r * kTile / 2 + j / 2, rounded(a, b));
    }
    _mm512_store_ps(sums + 16 * r, sum);
  }
  update_rows({weights + begin / 2, kTile / 2, 1}, {memory.values + begin / 2 * columns, columns}, (end - begin) / 2,
              columns, memory.out + row * columns, columns,
              [&](int r, const float *out) { return _mm512_mul_ps(_mm512_load_ps(out), _mm512_set1_ps(factors[r])); });
}

/// Output and logarithm of the sum of exponentials of queries `first ..< first + count`; `query`, `out`,
/// `logsumexp` and `sinks` are those of the first head, the others lie `query_head`, ... further.
struct ForwardTensors {
  HeadRows<const c10::BFloat16> query, key, value;
  HeadRows<c10::BFloat16> out;
  HeadRows<float> logsumexp;
  int64_t query_head, out_head;
  const float *sinks;
};

inline void attention_block(const AttentionGroup &g, const ForwardTensors &t, const ForwardMemory &memory,
                            int64_t first, int64_t count) {
  int64_t padded = (count + 3) / 4 * 4, columns = g.value_columns();
  for (int64_t h = 0; h < g.repeat; ++h) {
    int64_t row = h * memory.block;
    pack_rows(t.query.at(first) + h * t.query_head, t.query.stride, count, padded, g.width,
              memory.queries + row * g.pairs());
    // A sink is a score whose value is zero.
    std::fill_n(memory.largest + row * 4, padded * 4, t.sinks ? t.sinks[h] * 1.44269504f : -FLT_MAX);
    std::fill_n(memory.sums + row * 16, padded * 16, 0.0f);
    for (int64_t r = 0; t.sinks && r < padded; ++r) memory.sums[(row + r) * 16] = 1;
    std::fill_n(memory.out + row * columns, padded * columns, 0.0f);
  }
  for (int64_t key = std::max<int64_t>(0, first - g.window + 1) / 4 * 4; key < first + count; key += kTile) {
    int64_t keys = std::min(kTile, g.length - key);
    for (int64_t p = 0; p < keys; p += 64)
      pack_panel(t.key.at(key + p), t.key.stride, keys - p, g.width, memory.keys + p * g.pairs());
    pack_row_pairs(t.value.at(key), t.value.stride, keys, (keys + 3) / 4 * 4, g.value_width, memory.values, columns);
    for (int64_t h = 0; h < g.repeat; ++h)
      for (int64_t r = 0; r < padded; r += 4) attend(g, memory, h * memory.block + r, first + r, key);
  }
  for (int64_t h = 0; h < g.repeat; ++h)
    for (int64_t r = 0; r < count; ++r) {
      int64_t row = h * memory.block + r;
      float sum = _mm512_reduce_add_ps(_mm512_load_ps(memory.sums + row * 16));
      float top = memory.largest[row / 4 * 16 + row % 4];
      auto factor = _mm512_set1_ps(1 / sum);
      for (int64_t c = 0; c < columns; c += 16)
        store_rounded(t.out.at(first + r) + h * t.out_head + c,
                      _mm512_mul_ps(_mm512_load_ps(memory.out + row * columns + c), factor), g.value_width - c);
      t.logsumexp.at(first + r)[h] = top * 0.693147181f + std::log(sum);
    }
}
