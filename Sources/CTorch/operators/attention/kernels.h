// Attention of one sample's query heads that share a key head. See each_instruction_set.h.
//
// Works in float32 (float64 for float64) on four queries at a time. Keys and values are widened once
// a sample, padded with zeros to whole vectors; `T` in a name says transposed, [width, keys].

#include "../widen.h"

constexpr int64_t kQueries = 4;

/// Rows of `x` as numbers, transposed [width, padded].
template <typename Element, typename Wide>
void widen_rows_transposed(const HeadRows<Element> &x, int64_t count, int64_t width, Wide *out, int64_t padded) {
  for (int64_t i = 0; i < width; ++i) std::fill(out + i * padded + count, out + (i + 1) * padded, Wide(0));
  for (int64_t r = 0; r < count; ++r)
    for (int64_t i = 0; i < width; ++i) out[i * padded + r] = Wide(x.at(r)[i]);
}

/// out[q][j] = sum over i of x[q][i] * matrixT[i][j], for j in first ..< end by whole vectors.
template <typename V>
XTUNER_INLINE void rows_times_transposed(const typename V::Scalar *x, int64_t x_padded, int64_t width,
                                         const typename V::Scalar *matrixT, int64_t padded, int64_t first, int64_t end,
                                         typename V::Scalar *out) {
  for (int64_t j = first; j < end; j += V::count) {
    typename V::Type s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    for (int64_t i = 0; i < width; ++i) {
      auto v = load(matrixT + i * padded + j);
      s0 += v * x[i];
      s1 += v * x[x_padded + i];
      s2 += v * x[2 * x_padded + i];
      s3 += v * x[3 * x_padded + i];
    }
    store(out + j, s0);
    store(out + padded + j, s1);
    store(out + 2 * padded + j, s2);
    store(out + 3 * padded + j, s3);
  }
}

/// out[q][i] = factor[q] * sum over keys j in first ..< end of weights[q][j] * matrix[j][i], for `count` queries.
template <typename V, typename Element>
XTUNER_INLINE void weighted_rows(const typename V::Scalar *weights, int64_t padded, int64_t first, int64_t end,
                                 const typename V::Scalar *matrix, int64_t matrix_padded, int64_t width,
                                 const typename V::Scalar *factor, const HeadRows<Element> &out, int64_t count) {
  each_vector<V::count>(width, [&](int64_t i, auto n) {
    typename V::Type sums[kQueries] = {};
    for (int64_t j = first; j < end; ++j) {
      auto v = load(matrix + j * matrix_padded + i);
      for (int q = 0; q < kQueries; ++q) sums[q] += v * weights[q * padded + j];
    }
    for (int64_t q = 0; q < count; ++q) store(out.at(q) + i, sums[q] * factor[q], n);
  });
}

/// matrix[j][i] += sum over the queries of weights[q][j] * x[q][i], for keys first ..< end.
template <typename V>
XTUNER_INLINE void add_outer_products(const typename V::Scalar *weights, int64_t padded, int64_t first, int64_t end,
                                      const typename V::Scalar *x, int64_t x_padded, typename V::Scalar *matrix) {
  for (int64_t i = 0; i < x_padded; i += V::count) {
    auto x0 = load(x + i), x1 = load(x + x_padded + i), x2 = load(x + 2 * x_padded + i),
         x3 = load(x + 3 * x_padded + i);
    for (int64_t j = first; j < end; ++j) {
      auto *out = matrix + j * x_padded + i;
      const auto *w = weights + j;
      store(out, load(out) + x0 * w[0] + x1 * w[padded] + x2 * w[2 * padded] + x3 * w[3 * padded]);
    }
  }
}

/// Which keys the query sees, as a vector of a comparison's outcome; `lanes` are 0, 1, 2, ...
template <typename V>
XTUNER_INLINE auto sees(int64_t query, int64_t key, int64_t window, typename V::Type lanes) {
  using Wide = typename V::Scalar;
  auto distance = Wide(query - key) - lanes;
  return distance >= Wide(0) & distance < Wide(window > 0 ? window : query + 1);
}

template <typename V>
XTUNER_INLINE typename V::Type lane_numbers() {
  typename V::Type lanes;
  for (int lane = 0; lane < V::count; ++lane) lanes[lane] = typename V::Scalar(lane);
  return lanes;
}

/// Output and logarithm of the sum of exponentials of every query of one head and sample.
template <typename Element, typename Wide>
void attention_forward(const AttentionShape &shape, const HeadRows<Element> &query, const HeadRows<Element> &out,
                       const HeadRows<Wide> &logsumexp, const float *sink, const Wide *keysT, const Wide *values,
                       Wide *scratch) {
  using V = VectorOf<Element>;
  const auto lanes = lane_numbers<V>();
  const Wide infinity = std::numeric_limits<Wide>::infinity();
  const int64_t n = shape.length, padded = shape.padded_length;
  Wide *q = scratch, *scores = q + kQueries * shape.padded_width;
  std::fill(q, q + kQueries * shape.padded_width, Wide(0));
  for (int64_t i = 0; i < n; i += kQueries) {
    int64_t count = std::min(kQueries, n - i), end = i + count;
    int64_t first = shape.window > 0 ? std::max<int64_t>(0, i - shape.window + 1) / V::count * V::count : 0;
    widen_rows(query.at(i), query.stride, count, shape.width, q, shape.padded_width);
    rows_times_transposed<V>(q, shape.padded_width, shape.width, keysT, padded, first, end, scores);
    Wide factor[kQueries] = {};
    for (int64_t r = 0; r < count; ++r) {
      Wide *row = scores + r * padded;
      typename V::Type largest = -infinity;
      for (int64_t j = first; j < end; j += V::count) {
        typename V::Type s = load(row + j) * Wide(shape.scale);
        s = sees<V>(i + r, j, shape.window, lanes) ? s : typename V::Type(-infinity);
        largest = largest > s ? largest : s;
        store(row + j, s);
      }
      Wide top = sink ? Wide(*sink) : -infinity;
      for (int lane = 0; lane < V::count; ++lane) top = std::max<Wide>(top, largest[lane]);
      typename V::Type sum = 0;
      for (int64_t j = first; j < end; j += V::count) {
        typename V::Type p = exponential(load(row + j) - top);
        sum += p;
        store(row + j, p);
      }
      Wide all = total(sum) + (sink ? std::exp(Wide(*sink) - top) : Wide(0));
      factor[r] = 1 / all;
      *logsumexp.at(i + r) = top + std::log(all);
    }
    for (int64_t r = count; r < kQueries; ++r)
      std::fill(scores + r * padded + first, scores + r * padded + end, Wide(0));
    weighted_rows<V>(scores, padded, first, end, values, shape.padded_value_width, shape.value_width, factor,
                     out.from(i), count);
  }
}

/// Gradients of one head and sample: writes `dquery`, adds to `dkeys` and `dvalues`; returns the sink's.
template <typename Element, typename Wide>
Wide attention_backward(const AttentionShape &shape, const HeadRows<Element> &grad, const HeadRows<Element> &query,
                        const HeadRows<Element> &out, const HeadRows<Wide> &logsumexp, const float *sink,
                        const Wide *keys, const Wide *keysT, const Wide *valuesT, const HeadRows<Element> &dquery,
                        Wide *dkeys, Wide *dvalues, Wide *scratch) {
  using V = VectorOf<Element>;
  const auto lanes = lane_numbers<V>();
  const int64_t n = shape.length, padded = shape.padded_length;
  Wide *q = scratch, *g = q + kQueries * shape.padded_width, *weights = g + kQueries * shape.padded_value_width;
  Wide *slopes = weights + kQueries * padded;
  std::fill(q, weights, Wide(0));
  Wide dsink = 0;
  for (int64_t i = 0; i < n; i += kQueries) {
    int64_t count = std::min(kQueries, n - i), end = i + count;
    int64_t first = shape.window > 0 ? std::max<int64_t>(0, i - shape.window + 1) / V::count * V::count : 0;
    widen_rows(query.at(i), query.stride, count, shape.width, q, shape.padded_width);
    widen_rows(grad.at(i), grad.stride, count, shape.value_width, g, shape.padded_value_width);
    rows_times_transposed<V>(q, shape.padded_width, shape.width, keysT, padded, first, end, weights);
    rows_times_transposed<V>(g, shape.padded_value_width, shape.value_width, valuesT, padded, first, end, slopes);
    Wide factor[kQueries] = {};
    for (int64_t r = 0; r < kQueries; ++r) {
      Wide *p = weights + r * padded, *ds = slopes + r * padded;
      if (r >= count) {
        std::fill(p + first, p + end, Wide(0));
        std::fill(ds + first, ds + end, Wide(0));
        continue;
      }
      typename V::Type product = 0;
      each_vector<V::count>(shape.value_width, [&](int64_t c, auto k) {
        product += load(grad.at(i + r) + c, k) * load(out.at(i + r) + c, k);
      });
      Wide mean = total(product), lse = *logsumexp.at(i + r);
      for (int64_t j = first; j < end; j += V::count) {
        typename V::Type w = exponential(load(p + j) * Wide(shape.scale) - lse);
        w = sees<V>(i + r, j, shape.window, lanes) ? w : typename V::Type(0);
        store(p + j, w);
        store(ds + j, w * (load(ds + j) - mean) * Wide(shape.scale));
      }
      factor[r] = 1;
      if (sink) dsink -= std::exp(Wide(*sink) - lse) * mean;
    }
    weighted_rows<V>(slopes, padded, first, end, keys, shape.padded_width, shape.width, factor, dquery.from(i), count);
    add_outer_products<V>(slopes, padded, first, end, q, shape.padded_width, dkeys);
    add_outer_products<V>(weights, padded, first, end, g, shape.padded_value_width, dvalues);
  }
  return dsink;
}
