// Quantisation to float8_e4m3fn and back. See each_instruction_set.h; the rule is in rule.h.

typedef uint8_t Bytes __attribute__((ext_vector_type(16)));

/// |x| as bits: integers in the order of the numbers, NaN above infinity, so that a maximum keeps it.
XTUNER_INLINE UInt32s magnitudes(Floats v) { return bits_as<UInt32s>(v) & 0x7fffffffu; }

XTUNER_INLINE uint32_t largest_of(UInt32s v) {
  uint32_t largest = 0;
  for (int lane = 0; lane < 16; ++lane) largest = v[lane] > largest ? v[lane] : largest;
  return largest;
}

/// The scale of a tile whose largest magnitude has these bits.
XTUNER_INLINE float tile_scale(uint32_t largest) {
  if (largest == 0) return 1;
  float scale = bits_as<float>(largest) / kFp8Largest;
  return scale < kFp8SmallestScale ? kFp8SmallestScale : scale;
}

/// Rounds to nearest, ties to even, as c10's conversion; NaN for NaN and what is out of range.
XTUNER_INLINE Bytes to_e4m3(Floats v) {
  UInt32s all = bits_as<UInt32s>(v), bits = all & 0x7fffffffu;
  // Below 2^-6: adding 2^14 leaves the subnormal's digits in the last bits.
  UInt32s low = bits_as<UInt32s>(bits_as<Floats>(bits) + 16384.0f) - 0x46800000u;
  UInt32s high = (bits - (120u << 23) + 0x7ffffu + ((bits >> 20) & 1)) >> 20;
  UInt32s digits = bits < (121u << 23) ? low : high;
  digits = bits >= (1087u << 20) ? UInt32s(0x7fu) : digits;
  return __builtin_convertvector(digits | ((all >> 24) & 0x80u), Bytes);
}

template <typename Count>
XTUNER_INLINE void store_bytes(uint8_t *p, Bytes v, Count count) {
  if constexpr (std::is_same_v<Count, Whole>)
    std::memcpy(p, &v, sizeof v);
  else
    std::memcpy(p, &v, size_t(count));
}

/// One block of `rows` x `columns` with one scale, which is returned; rows are `stride` elements apart in both.
template <typename Element>
XTUNER_INLINE float quantize_block(const Element *x, uint8_t *values, int64_t rows, int64_t columns, int64_t stride) {
  UInt32s largest = 0u;
  for (int64_t r = 0; r < rows; ++r)
    each_vector<16>(columns, [&](int64_t i, auto count) {
      largest = __builtin_elementwise_max(largest, magnitudes(load(x + r * stride + i, count)));
    });
  float scale = tile_scale(largest_of(largest)), inverse = 1.0f / scale;
  for (int64_t r = 0; r < rows; ++r)
    each_vector<16>(columns, [&](int64_t i, auto count) {
      store_bytes(values + r * stride + i, to_e4m3(load(x + r * stride + i, count) * inverse), count);
    });
  return scale;
}

/// Bands begin ..< end of blocks of `height` rows of a matrix [rows, width]. The scale of block (band, tile) goes to
/// scales[band * band_step + tile * tile_step].
template <typename Element>
void quantize_bands(const Element *x, uint8_t *values, float *scales, int64_t rows, int64_t width, int64_t height,
                    int64_t band_step, int64_t tile_step, int64_t begin, int64_t end) {
  for (int64_t band = begin; band < end; ++band) {
    int64_t first = band * height, count = std::min(height, rows - first);
    for (int64_t i = 0, tile = 0; i < width; i += kFp8Tile, ++tile) {
      int64_t place = first * width + i;
      scales[band * band_step + tile * tile_step] =
          quantize_block(x + place, values + place, count, std::min(kFp8Tile, width - i), width);
    }
  }
}

/// At most 128 rows of x [..., width] as a tile of each column: values[c * stride + r] and scales[c], zeros beyond
/// the last row, which a NaN in the tile makes NaN too.
template <typename Element>
void quantize_columns(const Element *x, uint8_t *values, float *scales, int64_t rows, int64_t width, int64_t stride) {
  constexpr int64_t kColumns = 64;
  uint8_t buffer[kFp8Tile * kColumns];
  float inverses[kColumns];
  for (int64_t first = 0; first < width; first += kColumns) {
    int64_t columns = std::min(kColumns, width - first);
    each_vector<16>(columns, [&](int64_t i, auto count) {
      UInt32s largest = 0u;
      for (int64_t r = 0; r < rows; ++r)
        largest = __builtin_elementwise_max(largest, magnitudes(load(x + r * width + first + i, count)));
      for (int64_t lane = 0; lane < std::min<int64_t>(16, columns - i); ++lane) {
        scales[first + i + lane] = tile_scale(largest[lane]);
        inverses[i + lane] = 1.0f / scales[first + i + lane];
      }
    });
    for (int64_t r = 0; r < rows; ++r)
      each_vector<16>(columns, [&](int64_t i, auto count) {
        store_bytes(buffer + r * kColumns + i,
                    to_e4m3(load(x + r * width + first + i, count) * load(inverses + i, count)), count);
      });
    for (int64_t c = 0; c < columns; ++c) {
      uint8_t *to = values + (first + c) * stride;
      for (int64_t r = 0; r < rows; ++r) to[r] = buffer[r * kColumns + c];
      std::memset(to + rows, std::isnan(scales[first + c]) ? 0x7f : 0, size_t(kFp8Tile - rows));
    }
  }
}

/// Rows begin ..< end of a matrix whose row has `width` values; `numbers` are those of all bytes, and the scale of
/// (row, i) is scales[row / height * band_step + i / 128 * tile_step].
template <typename Element>
void dequantize_rows(const uint8_t *values, const float *numbers, const float *scales, Element *out, int64_t width,
                     int64_t height, int64_t band_step, int64_t tile_step, int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; ++r)
    for (int64_t first = 0, tile = 0; first < width; first += kFp8Tile, ++tile) {
      float scale = scales[r / height * band_step + tile * tile_step];
      const uint8_t *from = values + r * width + first;
      each_vector<16>(std::min(kFp8Tile, width - first), [&](int64_t i, auto count) {
        Floats v = 0.0f;
        int64_t lanes = 16;
        if constexpr (!std::is_same_v<decltype(count), Whole>) lanes = count;
        for (int64_t lane = 0; lane < lanes; ++lane) v[lane] = numbers[from[i + lane]];
        store(out + r * width + first + i, v * scale, count);
      });
    }
}

/// The pieces of the blocks of one band that lie in elements start ..< start + count of row-major matrices of
/// rows x width, one matrix after another; bands count through all matrices. `body` gets where a piece starts in the
/// part, its tile and its length.
template <typename Body>
XTUNER_INLINE void each_piece_of_band(int64_t band, int64_t start, int64_t count, int64_t rows, int64_t width,
                                      Body &&body) {
  int64_t bands = (rows + kFp8Tile - 1) / kFp8Tile, matrix = band / bands, first_row = band % bands * kFp8Tile;
  int64_t first = (matrix * rows + first_row) * width;
  int64_t end = std::min(first + std::min(kFp8Tile, rows - first_row) * width, start + count);
  for (int64_t i = std::max(first, start); i < end;) {
    int64_t column = (i - first) % width;
    int64_t length = std::min({end - i, kFp8Tile - column % kFp8Tile, width - column});
    body(i - start, column / kFp8Tile, length);
    i += length;
  }
}

/// Bands begin ..< end: the largest magnitude, as bits, of what a part of a tensor has of each of their blocks.
template <typename Element>
void part_magnitudes(const Element *x, uint32_t *largest, int64_t start, int64_t count, int64_t rows, int64_t width,
                     int64_t begin, int64_t end) {
  int64_t tiles = (width + kFp8Tile - 1) / kFp8Tile;
  for (int64_t band = begin; band < end; ++band) {
    uint32_t *to = largest + band * tiles;
    std::fill(to, to + tiles, 0u);
    each_piece_of_band(band, start, count, rows, width, [&](int64_t place, int64_t tile, int64_t length) {
      UInt32s found = 0u;
      each_vector<16>(length, [&](int64_t i, auto lanes) {
        found = __builtin_elementwise_max(found, magnitudes(load(x + place + i, lanes)));
      });
      to[tile] = std::max(to[tile], largest_of(found));
    });
  }
}

/// Bands begin ..< end of a part of a tensor, by the scales of whole blocks.
template <typename Element>
void quantize_part(const Element *x, uint8_t *values, const float *scales, int64_t start, int64_t count, int64_t rows,
                   int64_t width, int64_t begin, int64_t end) {
  int64_t tiles = (width + kFp8Tile - 1) / kFp8Tile;
  for (int64_t band = begin; band < end; ++band)
    each_piece_of_band(band, start, count, rows, width, [&](int64_t place, int64_t tile, int64_t length) {
      float inverse = 1.0f / scales[band * tiles + tile];
      each_vector<16>(length, [&](int64_t i, auto lanes) {
        store_bytes(values + place + i, to_e4m3(load(x + place + i, lanes) * inverse), lanes);
      });
    });
}
