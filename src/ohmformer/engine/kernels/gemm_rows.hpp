// The integer product where streamed codes lie row by row: AVX-512-VNNI and portable code.
//
// A panel holds PACK_COLUMNS columns; along the inner axis it goes in steps of PACK_INNER elements, each step
// [column, element] contiguous. Behind the panels lie the sums of the columns (used where streamed codes are
// stored with an offset).
#pragma once
#include <cstdint>
#include <cstring>
#include <vector>
#if defined(__AVX512VNNI__)
#include <immintrin.h>
#endif

#include "scratch.hpp"

namespace ohm {
namespace OHM_ISA {

#if defined(__AVX512VNNI__)
using Streamed = uint8_t;  // code + 128
constexpr int PACK_COLUMNS = 32, PACK_INNER = 4, OFFSET = 128, STRIP_ROWS = 12;
#else
using Streamed = int16_t;
constexpr int PACK_COLUMNS = 16, PACK_INNER = 2, OFFSET = 0, STRIP_ROWS = 4;
#endif

inline int64_t panels_of(int64_t columns) { return (columns + PACK_COLUMNS - 1) / PACK_COLUMNS; }
inline int64_t steps_of(int64_t inner) { return (inner + PACK_INNER - 1) / PACK_INNER; }
inline int64_t panel_bytes(int64_t inner) { return steps_of(inner) * PACK_INNER * PACK_COLUMNS; }
inline int64_t packed_bytes(int64_t columns, int64_t inner) {
  return panels_of(columns) * (panel_bytes(inner) + PACK_COLUMNS * 4);
}
inline int64_t place_of(int64_t n, int64_t k, int64_t inner) {
  return n / PACK_COLUMNS * panel_bytes(inner) + k / PACK_INNER * (PACK_INNER * PACK_COLUMNS) +
         n % PACK_COLUMNS * PACK_INNER + k % PACK_INNER;
}
inline const int32_t* sums_of(const int8_t* packed, int64_t columns, int64_t inner) {
  return reinterpret_cast<const int32_t*>(packed + panels_of(columns) * panel_bytes(inner));
}

// c[MR, PACK_COLUMNS] (+)= a[MR, :] x panel over `steps` steps.
#if defined(__AVX512VNNI__)
template <int MR>
inline void micro(const Streamed* a, int64_t lda, const int8_t* panel, int64_t steps, int32_t* c, int64_t ldc,
                  bool add) {
  __m512i low[MR], high[MR];
#pragma GCC unroll 12
  for (int m = 0; m < MR; m++) {
    low[m] = add ? _mm512_loadu_si512(c + m * ldc) : _mm512_setzero_si512();
    high[m] = add ? _mm512_loadu_si512(c + m * ldc + 16) : _mm512_setzero_si512();
  }
  for (int64_t s = 0; s < steps; s++) {
    const __m512i first = _mm512_loadu_si512(panel + s * 128), second = _mm512_loadu_si512(panel + s * 128 + 64);
#pragma GCC unroll 12
    for (int m = 0; m < MR; m++) {
      int32_t four;
      std::memcpy(&four, a + m * lda + s * 4, 4);
      const __m512i x = _mm512_set1_epi32(four);
      low[m] = _mm512_dpbusd_epi32(low[m], x, first);
      high[m] = _mm512_dpbusd_epi32(high[m], x, second);
    }
  }
#pragma GCC unroll 12
  for (int m = 0; m < MR; m++) {
    _mm512_storeu_si512(c + m * ldc, low[m]);
    _mm512_storeu_si512(c + m * ldc + 16, high[m]);
  }
}
#else
template <int MR>
inline void micro(const Streamed* a, int64_t lda, const int8_t* panel, int64_t steps, int32_t* c, int64_t ldc,
                  bool add) {
  for (int m = 0; m < MR; m++) {
    int32_t total[PACK_COLUMNS];
    for (int n = 0; n < PACK_COLUMNS; n++) total[n] = add ? c[m * ldc + n] : 0;
    for (int64_t s = 0; s < steps; s++) {
      const int32_t x = a[m * lda + s * 2], z = a[m * lda + s * 2 + 1];
      const int8_t* w = panel + s * 2 * PACK_COLUMNS;
      for (int n = 0; n < PACK_COLUMNS; n++) total[n] += x * w[2 * n] + z * w[2 * n + 1];
    }
    for (int n = 0; n < PACK_COLUMNS; n++) c[m * ldc + n] = total[n];
  }
}
#endif

template <int MR>
inline void micro_rows(int64_t rows, const Streamed* a, int64_t lda, const int8_t* panel, int64_t steps,
                       int32_t* c, int64_t ldc, bool add) {
  if constexpr (MR > 0) {
    if (rows == MR)
      micro<MR>(a, lda, panel, steps, c, ldc, add);
    else
      micro_rows<MR - 1>(rows, a, lda, panel, steps, c, ldc, add);
  }
}

constexpr int64_t INNER_BLOCK = 1024;

// Some rows of streamed codes as the micro kernels read them.
struct StreamedBlock {
  std::vector<Streamed> data;
  int64_t rows = 0, length = 0, lda = 0;

  // Room for the strips of `count` rows.
  void begin(int64_t count, int64_t inner) {
    rows = count;
    length = inner;
    lda = rounded_up(inner, PACK_INNER);
    data.resize(static_cast<size_t>(rows * lda));
  }

  // The strip at row `top`. codes: [count, inner], rows `stride` apart
  void lay_strip(const int8_t* codes, int64_t stride, int64_t top, int64_t count) {
    for (int64_t m = 0; m < count; m++) {
      Streamed* to = data.data() + (top + m) * lda;
      for (int64_t k = 0; k < length; k++) to[k] = static_cast<Streamed>(codes[m * stride + k] + OFFSET);
      for (int64_t k = length; k < lda; k++) to[k] = static_cast<Streamed>(OFFSET);
    }
  }
};

// c[row, n - first] = streamed rows x columns first ... last - 1; `first` is the first column of a panel.
inline void block_products(const StreamedBlock& a, const int8_t* packed, int64_t columns, int64_t inner,
                           int64_t first, int64_t last, int32_t* c, int64_t ldc) {
  const int64_t steps = steps_of(inner), block = INNER_BLOCK / PACK_INNER, bytes = panel_bytes(inner);
  const int8_t* panels = packed + first / PACK_COLUMNS * bytes;
  for (int64_t s = 0; s < steps; s += block) {
    const int64_t here = smaller(block, steps - s);
    for (int64_t p = 0; p < panels_of(last - first); p++) {
      const int8_t* panel = panels + p * bytes + s * PACK_INNER * PACK_COLUMNS;
      for (int64_t m = 0; m < a.rows; m += STRIP_ROWS)
        micro_rows<STRIP_ROWS>(smaller(STRIP_ROWS, a.rows - m), a.data.data() + m * a.lda + s * PACK_INNER, a.lda,
                              panel, here, c + m * ldc + p * PACK_COLUMNS, ldc, s > 0);
    }
  }
  if (OFFSET == 0) return;
  const int32_t* sums = sums_of(packed, columns, inner) + first;
  for (int64_t m = 0; m < a.rows; m++)
    for (int64_t n = 0; n < last - first; n++) c[m * ldc + n] -= OFFSET * sums[n];
}

inline int8_t code_at(const int8_t* packed, int64_t n, int64_t k, int64_t inner) {
  return packed[place_of(n, k, inner)];
}

inline void start_packing(int8_t* packed, int64_t columns, int64_t inner) {
  std::memset(packed, 0, static_cast<size_t>(packed_bytes(columns, inner)));
}

inline void pack_column(const int8_t* codes, int64_t n, int64_t columns, int64_t inner, int8_t* packed) {
  int8_t* to = packed + place_of(n, 0, inner);
  int32_t sum = 0;
  for (int64_t k = 0; k < inner; k++) {
    to[k / PACK_INNER * (PACK_INNER * PACK_COLUMNS) + k % PACK_INNER] = codes[k];
    sum += codes[k];
  }
  const_cast<int32_t*>(sums_of(packed, columns, inner))[n] = sum;
}

inline void finish_packing(int8_t*, int64_t, int64_t) {}

inline void patch(int8_t* packed, int64_t columns, int64_t inner, const int64_t* places, const int32_t* deltas,
                  int64_t count) {
  int32_t* sums = const_cast<int32_t*>(sums_of(packed, columns, inner));
  for (int64_t i = 0; i < count; i++) {
    const int64_t n = places[i] / inner, k = places[i] % inner;
    packed[place_of(n, k, inner)] = static_cast<int8_t>(packed[place_of(n, k, inner)] + deltas[i]);
    sums[n] += deltas[i];
  }
}

}  // namespace OHM_ISA
}  // namespace ohm
