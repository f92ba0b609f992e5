// Kernels over flat buffers: AdamW, squared sums, gradients of an embedding. See each_instruction_set.h.

/// Moments and weights of one vector after a step, in float32.
XTUNER_INLINE void adamw_step(const AdamWStep &step, Floats gradient, Floats &p, Floats &m, Floats &v) {
  Floats g = gradient * step.gradient_scale;
  m += (g - m) * (1.0f - step.beta1);
  v = v * step.beta2 + g * g * (1.0f - step.beta2);
  p = p * step.keep - step.rate * m / (square_root(v) * step.inverse_root + step.epsilon);
}

/// One step of AdamW on elements begin ..< end. `copy` may be null; elements are independent.
template <typename Gradient, typename Copy>
void adamw_range(float *master, const Gradient *gradient, float *first, float *second, Copy *copy,
                 const AdamWStep &step, int64_t begin, int64_t end) {
  each_vector<16>(end - begin, [&](int64_t offset, auto n) {
    int64_t i = begin + offset;
    Floats p = load(master + i, n), m = load(first + i, n), v = load(second + i, n);
    adamw_step(step, load(gradient + i, n), p, m, v);
    store(first + i, m, n);
    store(second + i, v, n);
    store(master + i, p, n);
    if (copy) store(copy + i, p, n);
  });
}

/// A hash of 32 bits, "lowbias32" (Wellons, Hash Prospector), of numbers or of vectors.
template <typename Bits>
XTUNER_INLINE Bits hashed(Bits x) {
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  x ^= x >> 16;
  return x;
}

/// Sixteen numbers of 32 random bits, a function of the seed and the index of the first. The seed is hashed first: near
/// seeds would give the same numbers in another order.
XTUNER_INLINE UInt32s random_bits(uint32_t seed, uint64_t first) {
  UInt32s lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return hashed<UInt32s>((lane + uint32_t(first)) ^ hashed<uint32_t>(seed + uint32_t(first >> 32) * 0x9e3779b9u));
}

/// Rounds up with the probability of the distance from the lower neighbour; the low 16 of `bits` decide. Infinity and NaN
/// stay.
XTUNER_INLINE Floats stochastically_rounded(Floats v, UInt32s bits) {
  UInt32s raw = bits_as<UInt32s>(v);
  UInt32s special = bits_as<UInt32s>(Int32s((raw & 0x7f800000u) == 0x7f800000u));
  UInt32s moved = (raw + (bits & 0xffffu)) & 0xffff0000u;
  return bits_as<Floats>((moved & ~special) | (raw & special));
}

/// One step of AdamW on elements begin ..< end whose weights and moments are bfloat16. Weights and second moments are
/// rounded stochastically, since their changes are often below half of the last digit. `shift` is the index of an
/// element in its parameter less its place here.
template <typename Gradient>
void adamw_rounded_range(c10::BFloat16 *weights, const Gradient *gradient, c10::BFloat16 *first, c10::BFloat16 *second,
                         const AdamWStep &step, uint32_t seed, uint64_t shift, int64_t begin, int64_t end) {
  each_vector<16>(end - begin, [&](int64_t offset, auto n) {
    int64_t i = begin + offset;
    Floats p = load(weights + i, n), m = load(first + i, n), v = load(second + i, n);
    adamw_step(step, load(gradient + i, n), p, m, v);
    UInt32s bits = random_bits(seed, shift + uint64_t(i));
    store(first + i, m, n);
    store(second + i, stochastically_rounded(v, bits), n);
    store(weights + i, stochastically_rounded(p, bits >> 16), n);
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
