// Matrix kernels for shapes that libraries are slow at. See each_instruction_set.h.

/// dweight[n, k] = sum over r of grad[r, n] * x[r, k] for few rows, of contiguous matrices.
///
/// `columns` is scratch memory for `rows` x `outputs` numbers.
template <typename Element>
void outer_products(const Element *grad, const Element *x, Element *dweight,
                    typename VectorOf<Element>::Scalar *columns, int64_t rows, int64_t outputs, int64_t inputs) {
  using V = VectorOf<Element>;
  using Wide = typename V::Scalar;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t n = 0; n < outputs; ++n) columns[n * rows + r] = Wide(grad[r * outputs + n]);
  int64_t n = 0;
  for (; n + 4 <= outputs; n += 4) {  // four outputs share the loads of x
    const Wide *c0 = columns + n * rows, *c1 = c0 + rows, *c2 = c1 + rows, *c3 = c2 + rows;
    Element *out = dweight + n * inputs;
    each_vector<V::count>(inputs, [&](int64_t i, auto count) {
      typename V::Type s0 = Wide(0), s1 = Wide(0), s2 = Wide(0), s3 = Wide(0);
      for (int64_t r = 0; r < rows; ++r) {
        auto v = load(x + r * inputs + i, count);
        s0 += v * c0[r];
        s1 += v * c1[r];
        s2 += v * c2[r];
        s3 += v * c3[r];
      }
      store(out + i, s0, count);
      store(out + inputs + i, s1, count);
      store(out + 2 * inputs + i, s2, count);
      store(out + 3 * inputs + i, s3, count);
    });
  }
  for (; n < outputs; ++n) {
    const Wide *c = columns + n * rows;
    each_vector<V::count>(inputs, [&](int64_t i, auto count) {
      typename V::Type sum = Wide(0);
      for (int64_t r = 0; r < rows; ++r) sum += load(x + r * inputs + i, count) * c[r];
      store(dweight + n * inputs + i, sum, count);
    });
  }
}
