// Switches as the digit-serial kernels read them, tables of digits, and what a block of pairs needs.
#pragma once
#include <cstdint>
#include <cstring>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "digit_serial_job.hpp"
#include "scratch.hpp"

namespace ohm {
namespace OHM_ISA {
namespace serial {

constexpr int WIDTH = 64;            // columns of a block
constexpr int MOST_PAIRS = 6;        // pairs (row, digit) that share the loads of the indices
constexpr int TABLE_STEP = 16 * MOST_PAIRS;  // bytes of the tables of one quad, pair after pair
constexpr int BLOCK_ROWS = 32;       // rows whose tables lie in the cache
constexpr int NOISE_ROUNDS = 5;
enum { QUIET = 0, DENSE = 1, WHOLE = 2 };  // noise

// Byte of a vector of 32 at which a column lies: so that widening (unpack) gives columns in order.
inline int byte_of(int column) {
  const int c = column & 31;
  return (column & 32) + (c & 7) + (c >> 4 & 1) * 8 + (c >> 3 & 1) * 16;
}

// Maps of switches. Where switches have a sign, e = b - s for maps b of the plane and s of the signs that the planes
// of a digit share: s = 1 and b = 1 - |e| for negative digits, s = 0 and b = e for others.
inline int maps_of(const SerialPlan& p) { return p.sharing ? p.planes + p.planes / p.sharing : p.planes; }
inline int sign_map(const SerialPlan& p, int plane) { return plane / p.sharing * (p.sharing + 1); }
inline int map_of(const SerialPlan& p, int plane) {
  return p.sharing ? sign_map(p, plane) + 1 + plane % p.sharing : plane;
}

// Largest size of the whole noise of a conversion.
inline int32_t most_noise(const SerialJob& job) { return job.noise == WHOLE ? job.plan->levels + 1 : 0; }

inline int64_t group_bytes(const SerialPlan& p) { return static_cast<int64_t>(maps_of(p)) * p.quads * WIDTH; }
inline int64_t column_blocks(int64_t columns) { return (columns + WIDTH - 1) / WIDTH; }
inline int64_t packed_bytes(const SerialPlan& p, int64_t columns) {
  return column_blocks(columns) * p.groups * group_bytes(p);
}
// Place of a quad of a map within a group of a block of columns.
inline int64_t quad_place(const SerialPlan& p, int map, int quad) {
  return (static_cast<int64_t>(map) * p.quads + quad) * WIDTH;
}

// Switches of whole numbers x[inner, column] (strides in elements); returns whether all were in range.
inline bool pack(const SerialPlan& p, const float* x, int64_t inner_stride, int64_t column_stride, int64_t columns,
                 uint8_t* packed, int32_t* counts) {
  const int maps = maps_of(p);
  bool good = true;
  std::memset(packed, 0, static_cast<size_t>(packed_bytes(p, columns)));
  if (counts) std::memset(counts, 0, sizeof(int32_t) * static_cast<size_t>(p.bounds[2 * p.groups - 1]) * p.planes);
  for (int64_t cb = 0; cb < column_blocks(columns); cb++)
    for (int g = 0; g < p.groups; g++) {
      uint8_t* out = packed + (cb * p.groups + g) * group_bytes(p);
      const int first = p.bounds[2 * g], last = p.bounds[2 * g + 1];
      const int64_t width = smaller(WIDTH, columns - cb * WIDTH);
      for (int quad = 0; quad * 4 < last - first; quad++) {
        uint64_t closed[WIDTH][4];
        std::memset(closed, 0, sizeof closed);
        for (int b = 0; b < 4 && first + quad * 4 + b < last; b++)
          for (int64_t n = 0; n < width; n++) {
            const float value = x[(first + quad * 4 + b) * inner_stride + (cb * WIDTH + n) * column_stride];
            const bool fits = value >= p.resident_lowest && value <= p.resident_highest;
            good &= fits;
            closed[n][b] = fits ? p.closed[static_cast<int>(value) - p.resident_lowest] : 0;
          }
        for (int map = 0; map < maps; map++) {
          uint8_t* to = out + quad_place(p, map, quad);
          for (int64_t n = 0; n < width; n++)
            to[byte_of(static_cast<int>(n))] = static_cast<uint8_t>(
                (closed[n][0] >> map & 1) | (closed[n][1] >> map & 1) << 1 | (closed[n][2] >> map & 1) << 2 |
                (closed[n][3] >> map & 1) << 3);
        }
        for (int plane = 0; counts && plane < p.planes; plane++) {
          const int map = map_of(p, plane), sign = p.sharing ? sign_map(p, plane) : 63;  // bit 63 is no map's
          for (int b = 0; b < 4 && first + quad * 4 + b < last; b++)
            for (int64_t n = 0; n < width; n++)
              counts[static_cast<int64_t>(first + quad * 4 + b) * p.planes + plane] +=
                  static_cast<int32_t>((closed[n][b] >> map ^ closed[n][b] >> sign) & 1);
        }
      }
    }
  return good;
}

// Where the sum of a column of a block lies: as ``add_weighted`` leaves it.
inline int place_of_sum(int column) {
#if defined(__AVX2__)
  return (column & ~15) + (column & 3) + (column >> 3 & 1) * 4 + (column >> 2 & 1) * 8;
#else
  return column;
#endif
}

#if defined(__AVX2__)

// sums[16] += weight * total + other * next, in the order of ``place_of_sum``.
inline __attribute__((always_inline)) void add_weighted(__m256i total, int32_t weight, __m256i next, int32_t other,
                                                        int32_t* sums) {
  __m256i* to = reinterpret_cast<__m256i*>(sums);
  __m256i low = _mm256_unpacklo_epi16(total, next), high = _mm256_unpackhi_epi16(total, next);
  if (__builtin_expect(weight == static_cast<int16_t>(weight) && other == static_cast<int16_t>(other), 1)) {
    const __m256i both = _mm256_set1_epi32(static_cast<int32_t>((static_cast<uint32_t>(weight) & 0xffff) |
                                                                static_cast<uint32_t>(other) << 16));
    low = _mm256_madd_epi16(low, both);
    high = _mm256_madd_epi16(high, both);
  } else {
    const __m256i one = _mm256_set1_epi32(weight), two = _mm256_set1_epi32(other);
    const auto weighted = [&](__m256i v) {
      return _mm256_add_epi32(_mm256_mullo_epi32(_mm256_srai_epi32(_mm256_slli_epi32(v, 16), 16), one),
                              _mm256_mullo_epi32(_mm256_srai_epi32(v, 16), two));
    };
    low = weighted(low);
    high = weighted(high);
  }
  _mm256_store_si256(to, _mm256_add_epi32(_mm256_load_si256(to), low));
  _mm256_store_si256(to + 1, _mm256_add_epi32(_mm256_load_si256(to + 1), high));
}

#endif

// Sums of a block, column after column.
inline void ordered_sums(const int32_t* sums, int32_t* columns) {
#if defined(__AVX2__)
  for (int n = 0; n < WIDTH; n += 16) {
    const __m256i low = _mm256_load_si256(reinterpret_cast<const __m256i*>(sums + n)),
                  high = _mm256_load_si256(reinterpret_cast<const __m256i*>(sums + n + 8));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(columns + n), _mm256_permute2x128_si256(low, high, 0x20));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(columns + n + 8), _mm256_permute2x128_si256(low, high, 0x31));
  }
#else
  std::memcpy(columns, sums, WIDTH * sizeof *sums);
#endif
}

// What a block of up to MOST_PAIRS pairs (row, digit) needs.
struct Pairs {
  const uint8_t* tables;              // [quad][pair][16]
  uint64_t key[MOST_PAIRS];
  uint64_t slot[MOST_PAIRS];          // number of (group, digit, plane 0)
  uint64_t group_slot;                // the same of digit 0: all pairs are of one group
  int8_t* totals[MOST_PAIRS];         // where whole noise is added up (digit_serial_planes.hpp)
  const int16_t* factor[MOST_PAIRS];  // noise of each plane: its factor, or the number of its law
  int32_t* sums[MOST_PAIRS];          // [WIDTH] of the row
  int32_t weight[MOST_PAIRS];         // radix^i * step
  int32_t reach;                      // of any sum
  int32_t stop;                       // quads after which sums in low ... high need not be computed further
  int32_t low[MOST_PAIRS], high[MOST_PAIRS];  // in each byte
  int count;
  bool rest;                          // sums of what clipping takes
};

}  // namespace serial
}  // namespace OHM_ISA
}  // namespace ohm
