// Kernels of the cross-entropy of rows of logits. See each_instruction_set.h.

/// The first `count` elements, then negative infinity, whose exponential is zero.
template <typename Element>
XTUNER_INLINE auto load_logits(const Element *p, int64_t count) {
  Element padded[VectorOf<Element>::count];
  for (auto &element : padded) element = Element(-std::numeric_limits<float>::infinity());
  std::memcpy(padded, p, size_t(count) * sizeof(Element));
  return load(padded);
}
template <typename Element>
XTUNER_INLINE auto load_logits(const Element *p, Whole) {
  return load(p);
}

/// A log-sum-exp in two parts, since the small one would lose digits beside a large one.
template <typename Wide>
struct LogSumExp {
  Wide largest, rest;
};

/// The logarithm of the sum of e^x over a row, reading it once: each lane keeps the largest element so far
/// and the sum of exponentials relative to it. NaN or positive infinity in the row makes it NaN.
template <typename Element>
auto log_sum_exp(const Element *x, int64_t width) {
  using V = VectorOf<Element>;
  using Wide = typename V::Scalar;
  using Vector = typename V::Type;
  constexpr int64_t kVectors = 8;
  Vector largest = std::numeric_limits<Wide>::lowest(), sum = Wide(0);
  // A new largest element costs one exponential for all vectors of a block.
  each_vector<kVectors * V::count>(width, [&](int64_t i, auto n) {
    if constexpr (std::is_same_v<decltype(n), Whole>) {
      Vector v[kVectors], peak = largest;
      for (int64_t j = 0; j < kVectors; ++j) {
        v[j] = load(x + i + j * V::count);
        peak = v[j] > peak ? v[j] : peak;
      }
      sum *= exponential(largest - peak);
      for (int64_t j = 0; j < kVectors; ++j) sum += exponential(v[j] - peak);
      largest = peak;
    } else {
      each_vector<V::count>(n, [&](int64_t j, auto m) {
        Vector v = load_logits(x + i + j, m);
        Vector peak = v > largest ? v : largest;
        sum = sum * exponential(largest - peak) + exponential(v - peak);
        largest = peak;
      });
    }
  });
  Wide peak = largest[0];
  for (int64_t lane = 1; lane < V::count; ++lane) peak = std::max(peak, largest[lane]);
  return LogSumExp<Wide>{peak, std::log(total(sum * exponential(largest - peak)))};
}

/// Rows begin ..< end: losses and log-sum-exps. With weights, the logits become w * (softmax - onehot)
/// + w * 2 z * log-sum-exp * softmax.
template <typename Element, typename Wide>
void cross_entropy_range(Element *logits, const int64_t *targets, const float *weights, double z, Wide *losses,
                         Wide *sums, int64_t width, int64_t begin, int64_t end) {
  using V = VectorOf<Element>;
  for (int64_t r = begin; r < end; ++r) {
    Element *row = logits + r * width;
    Wide chosen = Wide(row[targets[r]]);
    auto sum = log_sum_exp(row, width);
    sums[r] = sum.largest + sum.rest;
    losses[r] = (sum.largest - chosen) + sum.rest;
    if (!weights) continue;
    Wide w = weights[r], factor = Wide(1) + Wide(2 * z) * sums[r];
    auto probability = [&](typename V::Type x) { return exponential(x - sum.largest - sum.rest); };
    each_vector<V::count>(width,
                          [&](int64_t i, auto n) { store(row + i, probability(load(row + i, n)) * (factor * w), n); });
    row[targets[r]] = Element((probability(chosen)[0] * factor - Wide(1)) * w);
  }
}
