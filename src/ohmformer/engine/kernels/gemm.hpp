// The integer product: panels of packed resident codes times rows of streamed codes, exact in 32 bits.
//
// A panel holds PACK_COLUMNS columns; along the inner axis it goes in steps of PACK_INNER elements, each step
// [column, element] contiguous. Behind the panels lie the sums of the columns (used where streamed codes are
// stored with an offset).
#pragma once
#include <cstdint>
#include <cstring>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "scratch.hpp"

namespace ohm {
namespace OHM_ISA {

#if defined(__AVX512VNNI__)
using Streamed = uint8_t;  // code + 128
constexpr int PACK_COLUMNS = 32, PACK_INNER = 4, OFFSET = 128, MOST_ROWS = 12;
#elif defined(__AVX2__)
using Streamed = int16_t;
constexpr int PACK_COLUMNS = 16, PACK_INNER = 2, OFFSET = 0, MOST_ROWS = 6;
#else
using Streamed = int16_t;
constexpr int PACK_COLUMNS = 16, PACK_INNER = 2, OFFSET = 0, MOST_ROWS = 4;
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
#elif defined(__AVX2__)
template <int MR>
inline void micro(const Streamed* a, int64_t lda, const int8_t* panel, int64_t steps, int32_t* c, int64_t ldc,
                  bool add) {
  __m256i low[MR], high[MR];
#pragma GCC unroll 6
  for (int m = 0; m < MR; m++) {
    low[m] = add ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(c + m * ldc)) : _mm256_setzero_si256();
    high[m] =
        add ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(c + m * ldc + 8)) : _mm256_setzero_si256();
  }
  for (int64_t s = 0; s < steps; s++) {
    const __m256i first =
        _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(panel + s * 32)));
    const __m256i second =
        _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(panel + s * 32 + 16)));
#pragma GCC unroll 6
    for (int m = 0; m < MR; m++) {
      int32_t two;
      std::memcpy(&two, a + m * lda + s * 2, 4);
      const __m256i x = _mm256_set1_epi32(two);
      low[m] = _mm256_add_epi32(low[m], _mm256_madd_epi16(x, first));
      high[m] = _mm256_add_epi32(high[m], _mm256_madd_epi16(x, second));
    }
  }
#pragma GCC unroll 6
  for (int m = 0; m < MR; m++) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(c + m * ldc), low[m]);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(c + m * ldc + 8), high[m]);
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

// c[rows, panels * PACK_COLUMNS] = a[rows, inner] x panels; c has row length ldc.
inline void panel_products(const Streamed* a, int64_t lda, int64_t rows, const int8_t* panels, int64_t count,
                           int64_t inner, int32_t* c, int64_t ldc) {
  const int64_t steps = steps_of(inner), block = INNER_BLOCK / PACK_INNER, bytes = panel_bytes(inner);
  for (int64_t s = 0; s < steps; s += block) {
    const int64_t here = smaller(block, steps - s);
    for (int64_t p = 0; p < count; p++) {
      const int8_t* panel = panels + p * bytes + s * PACK_INNER * PACK_COLUMNS;
      for (int64_t m = 0; m < rows; m += MOST_ROWS)
        micro_rows<MOST_ROWS>(smaller(MOST_ROWS, rows - m), a + m * lda + s * PACK_INNER, lda, panel, here,
                              c + m * ldc + p * PACK_COLUMNS, ldc, s > 0);
    }
  }
}

// Takes the offset of the streamed codes off again: c[m, n] -= OFFSET * (sum of column n).
inline void take_offset_off(int32_t* c, int64_t ldc, int64_t rows, int64_t columns, const int32_t* sums) {
  if (OFFSET == 0) return;
  for (int64_t m = 0; m < rows; m++)
    for (int64_t n = 0; n < columns; n++) c[m * ldc + n] -= OFFSET * sums[n];
}

inline void pack(const int8_t* codes, int64_t columns, int64_t inner, int8_t* packed) {
  std::memset(packed, 0, packed_bytes(columns, inner));
  int32_t* sums = const_cast<int32_t*>(sums_of(packed, columns, inner));
  for (int64_t n = 0; n < columns; n++)
    for (int64_t k = 0; k < inner; k++) {
      packed[place_of(n, k, inner)] = codes[n * inner + k];
      sums[n] += codes[n * inner + k];
    }
}

inline void unpack(const int8_t* packed, int64_t columns, int64_t inner, const int64_t* ids, int64_t count,
                   int8_t* codes) {
  (void)columns;
  for (int64_t i = 0; i < count; i++)
    for (int64_t k = 0; k < inner; k++) codes[i * inner + k] = packed[place_of(ids[i], k, inner)];
}

}  // namespace OHM_ISA
}  // namespace ohm
