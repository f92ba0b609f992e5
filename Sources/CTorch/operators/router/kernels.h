// Kernels of a router: scores of experts and the choice among them. See each_instruction_set.h.

template <typename Vector>
XTUNER_INLINE auto largest_lane(Vector v) {
  auto largest = v[0];
  for (size_t lane = 1; lane < sizeof(v) / sizeof(v[0]); ++lane) largest = v[lane] > largest ? v[lane] : largest;
  return largest;
}

/// Rows begin ..< end of the softmax; `sums` gets the log-sum-exp of every row.
template <typename Element>
void softmax_range(const Element *x, Element *y, Element *sums, int64_t width, int64_t begin, int64_t end) {
  using V = VectorOf<Element>;
  for (int64_t r = begin; r < end; ++r) {
    const Element *in = x + r * width;
    Element *out = y + r * width;
    typename V::Type peaks = in[0], sum = Element(0);
    each_vector<V::count>(width, [&](int64_t i, auto n) {
      auto v = load(in + i, n);
      if constexpr (!std::is_same_v<decltype(n), Whole>)  // the zeros beyond the row do not count
        for (int64_t lane = n; lane < V::count; ++lane) v[lane] = in[i];
      peaks = v > peaks ? v : peaks;
    });
    Element largest = largest_lane(peaks);
    each_vector<V::count>(width, [&](int64_t i, auto n) {
      auto e = exponential(load(in + i, n) - largest);
      if constexpr (!std::is_same_v<decltype(n), Whole>)
        for (int64_t lane = n; lane < V::count; ++lane) e[lane] = 0;
      sum += e;
      store(out + i, e, n);
    });
    Element divisor = total(sum);
    sums[r] = largest + std::log(divisor);
    each_vector<V::count>(width, [&](int64_t i, auto n) { store(out + i, load(out + i, n) / divisor, n); });
  }
}

/// Rows begin ..< end of the gradient of softmax and log-sum-exp; one of the two gradients may be null.
template <typename Element>
void softmax_backward_range(const Element *grad, const Element *sum_grad, const Element *y, Element *dx, int64_t width,
                            int64_t begin, int64_t end) {
  using V = VectorOf<Element>;
  for (int64_t r = begin; r < end; ++r) {
    const Element *g = grad ? grad + r * width : nullptr, *scores = y + r * width;
    Element offset = sum_grad ? sum_grad[r] : Element(0);
    typename V::Type products = Element(0);
    if (g) each_vector<V::count>(width, [&](int64_t i, auto n) { products += load(g + i, n) * load(scores + i, n); });
    offset -= total(products);
    each_vector<V::count>(width, [&](int64_t i, auto n) {
      typename V::Type d = offset;
      if (g) d += load(g + i, n);
      store(dx + r * width + i, d * load(scores + i, n), n);
    });
  }
}

/// Whether a score is before another one in descending order; NaN is before all numbers, as in libtorch.
template <typename Element>
XTUNER_INLINE bool is_before(Element a, Element b) {
  return a > b || (a != a && b == b);
}

/// Rows begin ..< end of the indices of the `k` largest scores, largest first; of equal ones the first.
template <typename Element>
void route_top_k_range(const Element *scores, int64_t *chosen, int64_t width, int64_t k, int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; ++r) {
    const Element *row = scores + r * width;
    int64_t *best = chosen + r * k;
    for (int64_t e = 0; e < width; ++e) {
      if (e >= k && !is_before(row[e], row[best[k - 1]])) continue;
      int64_t place = e < k ? e : k - 1;
      for (; place > 0 && is_before(row[e], row[best[place - 1]]); --place) best[place] = best[place - 1];
      best[place] = e;
    }
  }
}
