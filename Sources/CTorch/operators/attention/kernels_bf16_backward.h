// Gradients of attention for a block of keys, for all query heads that share a key head. Included by
// cpu_bf16.cpp.
//
// Goes through the queries that see the block, a tile at a time, and computes probabilities anew from
// the logarithms of their sums. Gradients of keys and values are summed in the thread's memory. Every
// block of keys adds to the gradient of a query; blocks take turns, in the order of keys, so that the
// sum does not depend on threads.

/// Keys of a block and queries of a tile.
constexpr int64_t kBlock = 128;
constexpr int64_t kQueryTile = 64;

/// Memory of one thread.
struct BackwardMemory {
  explicit BackwardMemory(const AttentionGroup &g)
      : keys_by_width(kBlock * g.pairs()),
        values_by_width(kBlock * g.value_pairs()),
        keys(kBlock / 2 * g.columns()),
        queries(kQueryTile * g.pairs()),
        grads(kQueryTile * g.value_pairs()),
        query_pairs(kQueryTile / 2 * g.columns()),
        grad_pairs(kQueryTile / 2 * g.value_columns()),
        weights(kQueryTile / 2 * kBlock),
        slopes(kQueryTile / 2 * kBlock),
        slope_rows(kQueryTile * kBlock / 2),
        logsumexp(kQueryTile),
        means(kQueryTile),
        dquery(kQueryTile * g.columns()),
        dkeys(kBlock * g.columns()),
        dvalues(kBlock * g.value_columns()) {}

  Aligned<Pair> keys_by_width, values_by_width, keys;
  Aligned<Pair> queries, grads, query_pairs, grad_pairs;
  /// Probabilities, and the gradients of scaled scores, in pairs of queries [queries / 2, keys].
  Aligned<Pair> weights, slopes;
  /// The latter in pairs of keys too, [queries, keys / 2].
  Aligned<Pair> slope_rows;
  /// Of the tile's queries: in binary, and the mean of the gradient of their probabilities.
  Aligned<float> logsumexp, means;
  Aligned<float> dquery, dkeys, dvalues;
};

/// `query`, `grad`, `dquery`, `logsumexp` and `means` are those of the first head, the others lie `query_head`, ...
/// further; of `logsumexp` and `means`, whose rows are as long as there are heads, one further.
struct BackwardTensors {
  HeadRows<const c10::BFloat16> query, key, value, grad;
  HeadRows<const float> logsumexp, means;
  HeadRows<c10::BFloat16> dquery, dkey, dvalue;
  int64_t query_head, grad_head, dquery_head;
  /// Sums of a query's gradient, [head, length padded to 4, columns]; none when one block has all keys.
  float *dquery_sums;
  /// [head, tile]: how many blocks of keys have added to it.
  std::atomic<int32_t> *turns;

  float *sums(const AttentionGroup &g, int64_t h, int64_t query) const {
    return dquery_sums + (h * ((g.length + 3) / 4 * 4) + query) * g.columns();
  }
};

/// Weights and slopes of four queries and sixteen times `vectors` keys.
template <int vectors>
XTUNER_TILE void slope_panel(const AttentionGroup &g, const BackwardMemory &m, int64_t row, int64_t column,
                             int64_t query, int64_t key) {
  bool is_edge = g.is_edge(query, key);
  auto scale = _mm512_set1_ps(g.binary_scale());
  __m512 p[4][vectors] = {}, dp[4][vectors] = {};
  add_products<vectors>({m.queries + row * g.pairs(), g.pairs(), 1}, {m.keys_by_width + column * g.pairs(), 64},
                        g.pairs(), p);
#pragma clang loop unroll(full)
  for (int r = 0; r < 4; ++r)
#pragma clang loop unroll(full)
    for (int j = 0; j < vectors; ++j) {
      p[r][j] = power_of_two(_mm512_fmsub_ps(p[r][j], scale, _mm512_set1_ps(m.logsumexp[row + r])));
      if (is_edge) p[r][j] = _mm512_maskz_mov_ps(g.seen(query + r, key + 16 * j), p[r][j]);
    }
  add_products<vectors>({m.grads + row * g.value_pairs(), g.value_pairs(), 1},
                        {m.values_by_width + column * g.value_pairs(), 64}, g.value_pairs(), dp);
#pragma clang loop unroll(full)
  for (int r = 0; r < 4; r += 2)
#pragma clang loop unroll(full)
    for (int j = 0; j < vectors; ++j) {
      auto slope = [&](int r) {
        return _mm512_mul_ps(p[r][j], _mm512_sub_ps(dp[r][j], _mm512_set1_ps(m.means[row + r])));
      };
      auto slopes = rounded(slope(r), slope(r + 1));
      int64_t c = column + 16 * j, pair = (row + r) / 2 * kBlock + c;
      _mm512_store_si512(m.weights + pair, interleaved(rounded(p[r][j], p[r + 1][j])));
      _mm512_store_si512(m.slopes + pair, interleaved(slopes));
      Pair *rows = m.slope_rows + ((row + r) * kBlock + c) / 2;
      _mm256_store_si256((__m256i *)rows, _mm512_castsi512_si256(slopes));
      _mm256_store_si256((__m256i *)(rows + kBlock / 2), _mm512_extracti64x4_epi64(slopes, 1));
    }
}

/// Packs the queries `query ..< query + kQueryTile` of head `h`, with zeros behind the sample's end.
inline void pack_queries(const AttentionGroup &g, const BackwardTensors &t, const BackwardMemory &m, int64_t h,
                         int64_t query) {
  int64_t count = std::min(kQueryTile, g.length - query), padded = (count + 3) / 4 * 4;
  auto x = t.query.at(query) + h * t.query_head, y = t.grad.at(query) + h * t.grad_head;
  pack_rows(x, t.query.stride, count, padded, g.width, m.queries);
  pack_row_pairs(x, t.query.stride, count, padded, g.width, m.query_pairs, g.columns());
  pack_rows(y, t.grad.stride, count, padded, g.value_width, m.grads);
  pack_row_pairs(y, t.grad.stride, count, padded, g.value_width, m.grad_pairs, g.value_columns());
  for (int64_t r = 0; r < padded; ++r) {
    // Behind the end probabilities become zero.
    m.logsumexp[r] = r < count ? t.logsumexp.at(query + r)[h] * 1.44269504f : INFINITY;
    m.means[r] = r < count ? t.means.at(query + r)[h] : 0;
  }
}

/// Weights and slopes of the tile, but not where no key is seen. Meanwhile fetches what is read next: the sums of
/// the tile's gradient and, where `goes_on`, the next tile.
inline void compute_slopes(const AttentionGroup &g, const BackwardTensors &t, const BackwardMemory &m, int64_t h,
                           int64_t query, int64_t key, bool goes_on) {
  int64_t rows = std::min(kQueryTile, g.length - query), keys = std::min(kBlock, g.length - key);
  for (int64_t r = 0; r < rows; r += 4) {
    int64_t next = query + kQueryTile + r, count = goes_on ? std::min<int64_t>(4, g.length - next) : 0;
    prefetch_rows(t.query.at(next) + h * t.query_head, t.query.stride, count, g.width);
    prefetch_rows(t.grad.at(next) + h * t.grad_head, t.grad.stride, count, g.value_width);
    if (t.dquery_sums) prefetch_rows(t.sums(g, h, query + r), 0, 1, 4 * g.columns());
    for (int64_t p = 0; p < keys; p += 64) {
      int64_t end = query + r + 4 - (key + p);  // of the keys that the four queries see
      if (end <= 0 || key + p + 63 <= query + r - g.window) continue;
      if (end > 32 && keys - p > 32) {
        slope_panel<4>(g, m, r, p, query + r, key + p);
      } else {
        slope_panel<2>(g, m, r, p, query + r, key + p);
      }
    }
  }
}

/// Adds the tile's products to the gradients of keys and values, four keys at a time.
inline void add_to_keys(const AttentionGroup &g, const BackwardMemory &m, int64_t query, int64_t key) {
  int64_t rows = (std::min(kQueryTile, g.length - query) + 3) / 4 * 4, keys = std::min(kBlock, g.length - key);
  auto each_row = [&](const Pair *left, const Pair *right, int64_t columns, float *out) {
    for (int64_t k = 0; k < keys; k += 4) {
      // Queries that see one of the four keys.
      int64_t begin = std::max<int64_t>(0, key + k - query) / 2;
      int64_t end = (std::min(rows, key + k + 3 + g.window - query) + 1) / 2;
      if (begin >= end) continue;
      update_rows({left + begin * kBlock + k, 1, kBlock}, {right + begin * columns, columns}, end - begin, columns,
                  out + k * columns, columns, [](int, const float *sums) { return _mm512_load_ps(sums); });
    }
  };
  each_row(m.weights, m.grad_pairs, g.value_columns(), m.dvalues);
  each_row(m.slopes, m.query_pairs, g.columns(), m.dkeys);
}

/// Adds the block's share to the gradient of the tile's queries when it is the block's turn; the last one rounds.
inline void add_to_queries(const AttentionGroup &g, const BackwardTensors &t, const BackwardMemory &m, int64_t h,
                           int64_t query, int64_t key) {
  int64_t count = std::min(kQueryTile, g.length - query), columns = g.columns();
  int64_t first_block = std::max<int64_t>(0, query - g.window + 1) / kBlock;
  int64_t last_block = (query + count - 1) / kBlock, block = key / kBlock;
  auto &turn = t.turns[h * ((g.length + kQueryTile - 1) / kQueryTile) + query / kQueryTile];
  float *sums = t.dquery_sums ? t.sums(g, h, query) : m.dquery;
  for (int64_t tries = 0; turn.load(std::memory_order_acquire) != block - first_block; ++tries)
    tries < 1000 ? _mm_pause() : std::this_thread::yield();
  for (int64_t r = 0; r < count; r += 4) {
    int64_t begin = std::max<int64_t>(0, query + r - g.window + 1 - key) / 2;
    int64_t end = std::min(query + r + 4 - key, kBlock) / 2;
    auto add = [&](auto &&start) {
      update_rows({m.slope_rows + r * kBlock / 2 + begin, kBlock / 2, 1}, {m.keys + begin * columns, columns},
                  std::max<int64_t>(0, end - begin), columns, sums + r * columns, columns, start);
    };
    if (block == first_block) {
      add([](int, const float *) { return _mm512_setzero_ps(); });
    } else {
      add([](int, const float *sums) { return _mm512_load_ps(sums); });
    }
  }
  if (block == last_block) {
    auto scale = _mm512_set1_ps(g.scale);
    for (int64_t r = 0; r < count; ++r)
      for (int64_t c = 0; c < columns; c += 16)
        store_rounded(t.dquery.at(query + r) + h * t.dquery_head + c,
                      _mm512_mul_ps(_mm512_load_ps(sums + r * columns + c), scale), g.width - c);
  }
  turn.store(int32_t(block - first_block + 1), std::memory_order_release);
}

/// Gradients of the keys and values `key ..< key + kBlock`, and their share of the gradients of queries.
inline void attention_block_backward(const AttentionGroup &g, const BackwardTensors &t, const BackwardMemory &m,
                                     int64_t key) {
  int64_t keys = std::min(kBlock, g.length - key);
  for (int64_t p = 0; p < keys; p += 64) {
    pack_panel(t.key.at(key + p), t.key.stride, keys - p, g.width, m.keys_by_width + p * g.pairs());
    pack_panel(t.value.at(key + p), t.value.stride, keys - p, g.value_width, m.values_by_width + p * g.value_pairs());
  }
  pack_row_pairs(t.key.at(key), t.key.stride, keys, (keys + 3) / 4 * 4, g.width, m.keys, g.columns());
  std::fill_n(m.dkeys + 0, (keys + 3) / 4 * 4 * g.columns(), 0.0f);
  std::fill_n(m.dvalues + 0, (keys + 3) / 4 * 4 * g.value_columns(), 0.0f);
  int64_t last = std::min(g.length, key + keys - 1 + g.window);
  for (int64_t h = 0; h < g.repeat; ++h)
    for (int64_t query = key / kQueryTile * kQueryTile; query < last; query += kQueryTile) {
      pack_queries(g, t, m, h, query);
      compute_slopes(g, t, m, h, query, key, query + kQueryTile < last);
      add_to_keys(g, m, query, key);
      add_to_queries(g, t, m, h, query, key);
    }
  auto narrow = [&](const float *sums, int64_t columns, int64_t width, float scale,
                    const HeadRows<c10::BFloat16> &out) {
    for (int64_t k = 0; k < keys; ++k)
      for (int64_t c = 0; c < columns; c += 16)
        store_rounded(out.at(key + k) + c, _mm512_mul_ps(_mm512_load_ps(sums + k * columns + c), _mm512_set1_ps(scale)),
                      width - c);
  };
  narrow(m.dkeys, g.columns(), g.width, g.scale, t.dkey);
  narrow(m.dvalues, g.value_columns(), g.value_width, 1, t.dvalue);
}
