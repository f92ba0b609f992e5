// Kernels over flat buffers: AdamW, squared sums, gradients of an embedding. See each_instruction_set.h.

/// One step of AdamW on elements begin ..< end. `copy` may be null; elements are independent.
template <typename Copy>
void adamw_range(float *master, const float *gradient, float *first, float *second, Copy *copy, const AdamWStep &step,
                 int64_t begin, int64_t end) {
  float beta1 = step.beta1, beta2 = step.beta2, keep = step.keep, rate = step.rate;
  each_vector<16>(end - begin, [&](int64_t offset, auto n) {
    int64_t i = begin + offset;
    Floats g = load(gradient + i, n) * step.gradient_scale;
    Floats m = load(first + i, n), v = load(second + i, n);
    m += (g - m) * (1.0f - beta1);
    v = v * beta2 + g * g * (1.0f - beta2);
    Floats p = load(master + i, n) * keep - rate * m / (square_root(v) * step.inverse_root + step.epsilon);
    store(first + i, m, n);
    store(second + i, v, n);
    store(master + i, p, n);
    if (copy) store(copy + i, p, n);
  });
}

/// The sum of squares of `count` elements in double precision.
template <typename Element>
double squared_sum_range(const Element *x, int64_t count) {
  if constexpr (std::is_same_v<Element, double>) {
    Doubles sum = 0.0;
    each_vector<8>(count, [&](int64_t i, auto n) {
      Doubles v = load(x + i, n);
      sum += v * v;
    });
    return total(sum);
  } else {
    Doubles low = 0.0, high = 0.0;
    each_vector<16>(count, [&](int64_t i, auto n) {
      Floats v = load(x + i, n);
      Doubles a = __builtin_convertvector(v.lo, Doubles), b = __builtin_convertvector(v.hi, Doubles);
      low += a * a;
      high += b * b;
    });
    return total(low + high);
  }
}

/// Adds columns begin ..< end of every row of `rows` to the row of `into` that its index names.
template <typename Element>
void add_rows_range(float *into, const Element *rows, const int64_t *indices, int64_t row_count, int64_t width,
                    int64_t begin, int64_t end) {
  for (int64_t r = 0; r < row_count; ++r) {
    float *out = into + indices[r] * width + begin;
    const Element *in = rows + r * width + begin;
    each_vector<16>(end - begin, [&](int64_t i, auto n) { store(out + i, load(out + i, n) + load(in + i, n), n); });
  }
}
