// Sixteen floats or eight doubles at once, loaded from and stored to any floating-point dtype.
//
// Compiled once for each instruction set, see each_instruction_set.h: no guard, no includes. The width
// does not depend on the instruction set, so that sums are taken in the same order everywhere.

#define XTUNER_INLINE inline __attribute__((always_inline))

typedef float Floats __attribute__((ext_vector_type(16)));
typedef double Doubles __attribute__((ext_vector_type(8)));
typedef int32_t Int32s __attribute__((ext_vector_type(16)));
typedef uint32_t UInt32s __attribute__((ext_vector_type(16)));
typedef uint16_t UInt16s __attribute__((ext_vector_type(16)));
typedef _Float16 Halves __attribute__((ext_vector_type(16)));

/// The vector that computes with elements of a dtype: doubles for double, floats for the others.
template <typename Element>
struct VectorOf {
  using Type = Floats;
  using Scalar = float;
  static constexpr int64_t count = 16;
};
template <>
struct VectorOf<double> {
  using Type = Doubles;
  using Scalar = double;
  static constexpr int64_t count = 8;
};

template <typename Target, typename Source>
XTUNER_INLINE Target bits_as(Source source) {
  static_assert(sizeof(Target) == sizeof(Source));
  return __builtin_bit_cast(Target, source);
}

// ---- Whole vectors

XTUNER_INLINE Floats load(const float *p) {
  Floats v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
XTUNER_INLINE Doubles load(const double *p) {
  Doubles v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
XTUNER_INLINE Floats load(const c10::BFloat16 *p) {
  UInt16s v;
  std::memcpy(&v, p, sizeof v);
  return bits_as<Floats>(__builtin_convertvector(v, UInt32s) << 16);
}
XTUNER_INLINE Floats load(const c10::Half *p) {
  Halves v;
  std::memcpy(&v, p, sizeof v);
  return __builtin_convertvector(v, Floats);
}

XTUNER_INLINE void store(float *p, Floats v) { std::memcpy(p, &v, sizeof v); }
XTUNER_INLINE void store(double *p, Doubles v) { std::memcpy(p, &v, sizeof v); }
/// Rounds to nearest, ties to even; NaN stays NaN.
XTUNER_INLINE void store(c10::BFloat16 *p, Floats v) {
  UInt32s bits = bits_as<UInt32s>(v);
  UInt32s rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  UInt32s is_nan = bits_as<UInt32s>(Int32s(v != v));
  UInt16s out = __builtin_convertvector((rounded & ~is_nan) | (is_nan & 0x7fc0), UInt16s);
  std::memcpy(p, &out, sizeof out);
}
XTUNER_INLINE void store(c10::Half *p, Floats v) {
  Halves out = __builtin_convertvector(v, Halves);
  std::memcpy(p, &out, sizeof out);
}

// ---- The last elements of a row

/// Says that a whole vector is there.
struct Whole {};

template <typename Element>
XTUNER_INLINE auto load(const Element *p, Whole) {
  return load(p);
}
/// The first `count` elements, then zeros.
template <typename Element>
XTUNER_INLINE auto load(const Element *p, int64_t count) {
  Element padded[VectorOf<Element>::count] = {};
  std::memcpy(padded, p, size_t(count) * sizeof(Element));
  return load(padded);
}
template <typename Element, typename Vector>
XTUNER_INLINE void store(Element *p, Vector v, Whole) {
  store(p, v);
}
template <typename Element, typename Vector>
XTUNER_INLINE void store(Element *p, Vector v, int64_t count) {
  Element padded[VectorOf<Element>::count];
  store(padded, v);
  std::memcpy(p, padded, size_t(count) * sizeof(Element));
}

/// Calls `body(index, Whole{})` for every whole vector of 0..<width and `body(index, rest)` for what is left.
template <int64_t count, typename Body>
XTUNER_INLINE void each_vector(int64_t width, Body &&body) {
  int64_t i = 0;
  for (; i + count <= width; i += count) body(i, Whole{});
  if (i < width) body(i, width - i);
}

/// The sum of the lanes, in a fixed order.
XTUNER_INLINE float total(Floats v) {
  auto a = v.lo + v.hi;
  auto b = a.lo + a.hi;
  auto c = b.lo + b.hi;
  return c.x + c.y;
}
XTUNER_INLINE double total(Doubles v) {
  auto a = v.lo + v.hi;
  auto b = a.lo + a.hi;
  return b.x + b.y;
}

XTUNER_INLINE Floats square_root(Floats v) { return __builtin_elementwise_sqrt(v); }
XTUNER_INLINE Doubles square_root(Doubles v) { return __builtin_elementwise_sqrt(v); }

/// The value after rounding to `Element`, widened again.
template <typename Element, typename Vector>
XTUNER_INLINE Vector rounded(Vector v) {
  if constexpr (std::is_same_v<Element, float> || std::is_same_v<Element, double>) {
    return v;
  } else {
    Element narrow[VectorOf<Element>::count];
    store(narrow, v);
    return load(narrow);
  }
}

/// e^x with a relative error below 2e-7; infinity above 88.4, zero below -87.4, NaN for NaN.
XTUNER_INLINE Floats exponential(Floats x) {
  x = x > 89.0f ? Floats(89.0f) : x;
  x = x < -88.0f ? Floats(-88.0f) : x;
  // x = n ln 2 + r with |r| <= ln 2 / 2; adding 1.5 * 2^23 rounds to an integer. ln 2 in two parts is exact.
  Floats shifted = x * 1.44269504f + 12582912.0f;
  Floats n = shifted - 12582912.0f;
  Floats r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  // Taylor's terms, the last two adjusted for the interval.
  Floats p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  // Times 2^n, put into the exponent bits.
  Int32s exponent = (bits_as<Int32s>(shifted) - 0x4b400000 + 127) << 23;
  return p * bits_as<Floats>(exponent);
}
XTUNER_INLINE Doubles exponential(Doubles x) {
  for (int lane = 0; lane < 8; ++lane) x[lane] = std::exp(x[lane]);
  return x;
}
