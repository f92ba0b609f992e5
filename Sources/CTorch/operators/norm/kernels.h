// Kernels of normalisation and rotation, row by row. See each_instruction_set.h.

/// 1 / rms of a row.
template <typename Element, typename Wide>
XTUNER_INLINE Wide inverse_rms(const Element *x, int64_t width, double epsilon) {
  using V = VectorOf<Element>;
  typename V::Type sum = Wide(0);
  each_vector<V::count>(width, [&](int64_t i, auto n) {
    auto v = load(x + i, n);
    sum += v * v;
  });
  return Wide(1) / std::sqrt(total(sum) / Wide(width) + Wide(epsilon));
}

/// Some elements of y = weight * x / rms(x). The product is in the storage dtype, as in the published models.
template <typename Element, typename Wide, typename Count>
XTUNER_INLINE auto normalized(const Element *x, const Element *weight, Wide scale, Count n) {
  return load(weight, n) * rounded<Element>(load(x, n) * scale);
}

/// One row of y = weight * x / rms(x).
template <typename Element, typename Wide>
XTUNER_INLINE void rms_norm_row(const Element *x, const Element *weight, Wide scale, Element *y, int64_t width) {
  each_vector<VectorOf<Element>::count>(
      width, [&](int64_t i, auto n) { store(y + i, normalized(x + i, weight + i, scale, n), n); });
}

/// One row of the gradient of x, plus `direct` unless it is null; adds the row's share of the weight's gradient
/// to `dweight`.
template <typename Element, typename Wide>
XTUNER_INLINE void rms_norm_backward_row(const Element *g, const Element *x, const Element *weight, Wide s,
                                         const Element *direct, Element *dx, Wide *dweight, int64_t width) {
  using V = VectorOf<Element>;
  typename V::Type sum = Wide(0);
  each_vector<V::count>(width, [&](int64_t i, auto n) {
    auto product = load(g + i, n) * load(x + i, n);
    sum += product * load(weight + i, n);
    store(dweight + i, load(dweight + i, n) + product * s, n);
  });
  Wide c = total(sum) * s * s / Wide(width);
  each_vector<V::count>(width, [&](int64_t i, auto n) {
    auto d = (load(g + i, n) * load(weight + i, n) - load(x + i, n) * c) * s;
    store(dx + i, direct ? d + load(direct + i, n) : d, n);
  });
}

/// Rows begin ..< end of y = weight * x / rms(x); `scales` gets 1 / rms of every row.
template <typename Element, typename Wide>
void rms_norm_range(const Element *x, const Element *weight, Element *y, Wide *scales, int64_t width, double epsilon,
                    int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; ++r) {
    scales[r] = inverse_rms<Element, Wide>(x + r * width, width, epsilon);
    rms_norm_row(x + r * width, weight, scales[r], y + r * width, width);
  }
}

/// Rows begin ..< end of sum = x + residual and y = weight * sum / rms(sum).
template <typename Element, typename Wide>
void add_rms_norm_range(const Element *x, const Element *residual, const Element *weight, Element *sum, Element *y,
                        Wide *scales, int64_t width, double epsilon, int64_t begin, int64_t end) {
  using V = VectorOf<Element>;
  for (int64_t r = begin; r < end; ++r) {
    int64_t at = r * width;
    each_vector<V::count>(
        width, [&](int64_t i, auto n) { store(sum + at + i, load(x + at + i, n) + load(residual + at + i, n), n); });
    scales[r] = inverse_rms<Element, Wide>(sum + at, width, epsilon);
    rms_norm_row(sum + at, weight, scales[r], y + at, width);
  }
}

/// Rows begin ..< end of the gradient of x, plus `direct` unless it is null; adds those rows' share of the weight's
/// gradient to `dweight`.
template <typename Element, typename Wide>
void rms_norm_backward_range(const Element *grad, const Element *x, const Element *weight, const Wide *scales,
                             const Element *direct, Element *dx, Wide *dweight, int64_t width, int64_t begin,
                             int64_t end) {
  for (int64_t r = begin; r < end; ++r)
    rms_norm_backward_row(grad + r * width, x + r * width, weight, scales[r], direct ? direct + r * width : nullptr,
                          dx + r * width, dweight, width);
}

/// Eight floats as doubles, or sixteen as they are.
template <typename Element, typename Count>
XTUNER_INLINE auto load_angles(const float *p, Count n) {
  if constexpr (!std::is_same_v<Element, double>) {
    return load(p, n);
  } else {
    constexpr bool is_whole = std::is_same_v<Count, Whole>;
    float padded[16] = {};
    if constexpr (is_whole)
      std::memcpy(padded, p, 8 * sizeof(float));
    else
      std::memcpy(padded, p, size_t(n) * sizeof(float));
    return __builtin_convertvector(load(padded).lo, Doubles);
  }
}

/// Rotates the pairs (i, i + half) of one head by `sign` times their angles.
template <typename Element>
XTUNER_INLINE void rotate_halves(const Element *in, const float *cosine, const float *sine, Element *out, int64_t half,
                                 float sign) {
  using V = VectorOf<Element>;
  each_vector<V::count>(half, [&](int64_t i, auto n) {
    auto a = load(in + i, n), b = load(in + half + i, n);
    auto c = load_angles<Element>(cosine + i, n), s = load_angles<Element>(sine + i, n) * sign;
    store(out + i, a * c - b * s, n);
    store(out + half + i, b * c + a * s, n);
  });
}

/// Rotates the pairs (2 i, 2 i + 1) of one head by `sign` times their angles.
template <typename Element>
XTUNER_INLINE void rotate_neighbours(const Element *in, const float *cosine, const float *sine, Element *out,
                                     int64_t half, float sign) {
  using Wide = typename VectorOf<Element>::Scalar;
  int64_t i = 0;
  if constexpr (!std::is_same_v<Element, double>) {
    for (; i + 16 <= half; i += 16) {
      Floats low = load(in + 2 * i), high = load(in + 2 * i + 16);
      Floats a = __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
      Floats b = __builtin_shufflevector(low, high, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
      Floats c = load(cosine + i), s = load(sine + i) * sign;
      Floats p = a * c - b * s, q = b * c + a * s;
      store(out + 2 * i, __builtin_shufflevector(p, q, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23));
      store(out + 2 * i + 16,
            __builtin_shufflevector(p, q, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31));
    }
  }
  for (; i < half; ++i) {
    Wide a = Wide(in[2 * i]), b = Wide(in[2 * i + 1]), c = cosine[i], s = sign * sine[i];
    out[2 * i] = Element(a * c - b * s);
    out[2 * i + 1] = Element(b * c + a * s);
  }
}

/// Rotates all heads of tokens begin ..< end by `sign` times their angles.
template <typename Element, bool is_interleaved>
void rotate_range(const Element *x, const float *cosine, const float *sine, Element *y, int64_t heads, int64_t half,
                  float sign, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t)
    for (int64_t h = 0; h < heads; ++h) {
      int64_t at = (t * heads + h) * 2 * half;
      if constexpr (is_interleaved)
        rotate_neighbours(x + at, cosine + t * half, sine + t * half, y + at, half, sign);
      else
        rotate_halves(x + at, cosine + t * half, sine + t * half, y + at, half, sign);
    }
}

/// Tokens begin ..< end of heads normalised and then rotated; `scales` gets 1 / rms of every head. Between the two
/// is a rounding, as where they are two operators; `row` has space for a head.
template <typename Element, typename Wide, bool is_interleaved>
void norm_rotary_range(const Element *x, int64_t token_stride, int64_t head_stride, int64_t heads, int64_t width,
                       const Element *weight, const float *cosine, const float *sine, Element *y, Wide *scales,
                       Element *row, double epsilon, int64_t begin, int64_t end) {
  using V = VectorOf<Element>;
  int64_t half = width / 2;
  for (int64_t t = begin; t < end; ++t) {
    const float *ct = cosine + t * half, *st = sine + t * half;
    const Element *in = x + t * token_stride;
    Wide *scale = scales + t * heads;
    // All heads' roots first: they take long, and do not wait for one another.
    for (int64_t h = 0; h < heads; ++h) scale[h] = inverse_rms<Element, Wide>(in + h * head_stride, width, epsilon);
    for (int64_t h = 0; h < heads; ++h, in += head_stride) {
      Element *out = y + (t * heads + h) * width;
      if constexpr (is_interleaved) {
        rms_norm_row(in, weight, scale[h], row, width);
        rotate_neighbours(row, ct, st, out, half, 1.0f);
      } else {
        each_vector<V::count>(half, [&](int64_t i, auto n) {
          auto a = rounded<Element>(normalized(in + i, weight + i, scale[h], n));
          auto b = rounded<Element>(normalized(in + half + i, weight + half + i, scale[h], n));
          auto c = load_angles<Element>(ct + i, n), s = load_angles<Element>(st + i, n);
          store(out + i, a * c - b * s, n);
          store(out + half + i, b * c + a * s, n);
        });
      }
    }
  }
}

/// Tokens begin ..< end of the gradient of x, dense; adds their share of the weight's gradient to `dweight`.
template <typename Element, typename Wide, bool is_interleaved>
void norm_rotary_backward_range(const Element *grad, const Element *x, int64_t token_stride, int64_t head_stride,
                                int64_t heads, int64_t width, const Element *weight, const Wide *scales,
                                const float *cosine, const float *sine, Element *dx, Wide *dweight, Element *row,
                                int64_t begin, int64_t end) {
  int64_t half = width / 2;
  for (int64_t t = begin; t < end; ++t)
    for (int64_t h = 0; h < heads; ++h) {
      int64_t at = t * heads + h;
      const Element *in = x + t * token_stride + h * head_stride;
      if constexpr (is_interleaved)
        rotate_neighbours(grad + at * width, cosine + t * half, sine + t * half, row, half, -1.0f);
      else
        rotate_halves(grad + at * width, cosine + t * half, sine + t * half, row, half, -1.0f);
      rms_norm_backward_row<Element, Wide>(row, in, weight, scales[at], nullptr, dx + at * width, dweight, width);
    }
}
