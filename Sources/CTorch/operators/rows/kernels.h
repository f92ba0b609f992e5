// Kernels of activation, and those that gather and sum the rows of tokens' experts. See each_instruction_set.h.

/// Rows begin ..< end of silu(gate) * up.
template <typename Element>
void swiglu_range(const Element *gate_up, Element *y, int64_t width, int64_t begin, int64_t end) {
  using V = VectorOf<Element>;
  for (int64_t r = begin; r < end; ++r) {
    const Element *gate = gate_up + r * 2 * width, *up = gate + width;
    Element *out = y + r * width;
    each_vector<V::count>(width, [&](int64_t i, auto n) {
      auto g = load(gate + i, n);
      store(out + i, g / (exponential(-g) + 1) * load(up + i, n), n);
    });
  }
}

/// Rows begin ..< end of the gradient of silu(gate) * up.
template <typename Element>
void swiglu_backward_range(const Element *grad, const Element *gate_up, Element *dgate_up, int64_t width, int64_t begin,
                           int64_t end) {
  using V = VectorOf<Element>;
  for (int64_t r = begin; r < end; ++r) {
    const Element *gate = gate_up + r * 2 * width, *up = gate + width, *g = grad + r * width;
    Element *dgate = dgate_up + r * 2 * width, *dup = dgate + width;
    each_vector<V::count>(width, [&](int64_t i, auto n) {
      auto x = load(gate + i, n), d = load(g + i, n);
      auto s = 1 / (exponential(-x) + 1);
      store(dgate + i, d * load(up + i, n) * s * (x * (1 - s) + 1), n);
      store(dup + i, d * x * s, n);
    });
  }
}

/// Tokens begin ..< end of y[t] = sum over k of weights[t, k] * rows[slots[t, k]]; without weights, the sum.
template <typename Element>
void sum_slots_range(const Element *rows, const float *weights, const int64_t *slots, Element *y, int64_t slot_count,
                     int64_t width, int64_t begin, int64_t end) {
  using V = VectorOf<Element>;
  using Wide = typename V::Scalar;
  for (int64_t t = begin; t < end; ++t) {
    const int64_t *of_token = slots + t * slot_count;
    const float *w = weights ? weights + t * slot_count : nullptr;
    auto sum_at = [&](int64_t i, auto n) {
      typename V::Type sum = Wide(0);
      for (int64_t k = 0; k < slot_count; ++k) {
        auto v = load(rows + of_token[k] * width + i, n);
        sum += w ? v * Wide(w[k]) : v;
      }
      return sum;
    };
    each_vector<V::count>(width, [&](int64_t i, auto n) { store(y + t * width + i, sum_at(i, n), n); });
  }
}

/// Gradients of the weighted sum for tokens begin ..< end.
template <typename Element>
void unpermute_backward_range(const Element *grad, const Element *rows, const float *weights, const int64_t *slots,
                              Element *drows, float *dweights, int64_t slot_count, int64_t width, int64_t begin,
                              int64_t end) {
  using V = VectorOf<Element>;
  using Wide = typename V::Scalar;
  for (int64_t t = begin; t < end; ++t) {
    const Element *g = grad + t * width;
    for (int64_t k = 0; k < slot_count; ++k) {
      int64_t slot = t * slot_count + k;
      const Element *row = rows + slots[slot] * width;
      Element *out = drows + slots[slot] * width;
      Wide w = weights[slot];
      typename V::Type sum = Wide(0);
      each_vector<V::count>(width, [&](int64_t i, auto n) {
        auto v = load(g + i, n);
        sum += v * load(row + i, n);
        store(out + i, v * w, n);
      });
      dweights[slot] = float(total(sum));
    }
  }
}
