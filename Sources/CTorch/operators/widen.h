// Rows of numbers as float32 (float64 for float64) and back. See each_instruction_set.h.

/// Widens `count` rows of `width` neighbouring elements, `stride` apart, into rows that are `padded` apart.
template <typename Element, typename Wide>
void widen_rows(const Element *x, int64_t stride, int64_t count, int64_t width, Wide *out, int64_t padded) {
  using V = VectorOf<Element>;
  for (int64_t r = 0; r < count; ++r)
    each_vector<V::count>(width,
                          [&](int64_t i, auto n) { store(out + r * padded + i, load(x + r * stride + i, n), n); });
}

/// The way back: rounds to nearest, ties to even.
template <typename Element, typename Wide>
void narrow_rows(const Wide *rows, int64_t padded, int64_t count, int64_t width, Element *out, int64_t stride) {
  using V = VectorOf<Element>;
  for (int64_t r = 0; r < count; ++r)
    each_vector<V::count>(width,
                          [&](int64_t i, auto n) { store(out + r * stride + i, load(rows + r * padded + i, n), n); });
}
