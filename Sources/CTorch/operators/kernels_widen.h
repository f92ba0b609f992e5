// Rows of bfloat16 as float32 and back. See each_instruction_set.h.

inline void widen(const c10::BFloat16 *x, float *into, int64_t count) {
  each_vector<VectorOf<float>::count>(count, [&](int64_t i, auto rest) { store(into + i, load(x + i, rest), rest); });
}

/// Rounds to nearest, ties to even.
inline void narrow(const float *x, c10::BFloat16 *into, int64_t count) {
  each_vector<VectorOf<float>::count>(count, [&](int64_t i, auto rest) { store(into + i, load(x + i, rest), rest); });
}
