// Digit-serial products: every conversion of every digit, plane and group, in whole-number arithmetic.
//
// Four elements of a plane make an index of 4 bits; for each row and digit a table of 16 bytes holds the sums
// of all subsets of its four digits. One shuffle looks up 32 columns at once. Sums go through the converter in
// registers: v = sum * gain + noise, code = clip(round(v / 2^shift)), all in 16 bits. engine/digit_serial.py
// makes the plan, states its laws and computes the same numbers in torch.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "pool.hpp"
#include "ars.hpp"
#include "scratch.hpp"
#include "digit_serial_job.hpp"

namespace ohm {
namespace OHM_ISA {
namespace serial {

constexpr int WIDTH = 64;            // columns of a block
constexpr int MOST_PAIRS = 6;        // pairs (row, digit) that share the loads of the indices
constexpr int TABLE_STEP = 16 * MOST_PAIRS;  // bytes of the tables of one quad, pair after pair
constexpr int BLOCK_ROWS = 32;       // rows whose tables lie in the cache
constexpr int NOISE_ROUNDS = 5;

// Byte of a vector of 32 at which a column lies: so that widening (unpack) gives columns in order.
inline int byte_of(int column) {
  const int c = column & 31;
  return (column & 32) + (c & 7) + (c >> 4 & 1) * 8 + (c >> 3 & 1) * 16;
}

inline int64_t group_bytes(const SerialPlan& p) {
  return static_cast<int64_t>(p.planes) * p.quads * p.switches * WIDTH;
}
inline int64_t column_blocks(int64_t columns) { return (columns + WIDTH - 1) / WIDTH; }
inline int64_t packed_bytes(const SerialPlan& p, int64_t columns) {
  return column_blocks(columns) * p.groups * group_bytes(p);
}
// Place of a quad of a plane within a group of a block of columns.
inline int64_t quad_place(const SerialPlan& p, int plane, int quad, int which) {
  const int chunk = quad / p.chunk, first = chunk * p.chunk;
  const int here = p.quads - first < p.chunk ? p.quads - first : p.chunk;
  return ((static_cast<int64_t>(plane) * p.quads + first) * p.switches + static_cast<int64_t>(which) * here + quad -
          first) * WIDTH;
}

// Switches of whole numbers x[inner, column] (strides in elements); returns whether all were in range.
inline bool pack(const SerialPlan& p, const float* x, int64_t inner_stride, int64_t column_stride, int64_t columns,
                 uint8_t* packed, int32_t* counts) {
  const int maps = p.planes * p.switches;
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
          uint8_t* to = out + quad_place(p, map / p.switches, quad, map % p.switches);
          for (int64_t n = 0; n < width; n++)
            to[byte_of(static_cast<int>(n))] = static_cast<uint8_t>(
                (closed[n][0] >> map & 1) | (closed[n][1] >> map & 1) << 1 | (closed[n][2] >> map & 1) << 2 |
                (closed[n][3] >> map & 1) << 3);
          for (int b = 0; counts && b < 4 && first + quad * 4 + b < last; b++)
            for (int64_t n = 0; n < width; n++)
              counts[static_cast<int64_t>(first + quad * 4 + b) * p.planes + map / p.switches] +=
                  static_cast<int32_t>(closed[n][b] >> map & 1);
        }
      }
    }
  return good;
}

// Sums of all subsets of four digits.
inline void make_table(const int8_t* d, uint8_t* table) {
#if defined(__AVX2__)
  int32_t four;
  std::memcpy(&four, d, 4);
  const __m128i all = _mm_set1_epi32(four);
  const auto part = [&](int b, const __m128i& mask) {
    return _mm_and_si128(_mm_shuffle_epi8(all, _mm_set1_epi8(static_cast<char>(b))), mask);
  };
  const __m128i odd = _mm_set1_epi16(static_cast<int16_t>(0xFF00));
  const __m128i two = _mm_set1_epi32(static_cast<int32_t>(0xFFFF0000));
  const __m128i four_up = _mm_set1_epi64x(static_cast<long long>(0xFFFFFFFF00000000ull));
  const __m128i eight_up = _mm_set_epi64x(-1, 0);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(table), _mm_add_epi8(_mm_add_epi8(part(0, odd), part(1, two)),
                                                                  _mm_add_epi8(part(2, four_up), part(3, eight_up))));
#else
  for (int i = 0; i < 16; i++)
    table[i] = static_cast<uint8_t>((i & 1 ? d[0] : 0) + (i & 2 ? d[1] : 0) + (i & 4 ? d[2] : 0) + (i & 8 ? d[3] : 0));
#endif
}

// What a block of up to MOST_PAIRS pairs (row, digit) needs.
struct Pairs {
  const uint8_t* tables;              // [quad][pair][16]
  uint64_t key[MOST_PAIRS];
  uint64_t slot[MOST_PAIRS];          // number of (group, digit, plane 0)
  const int16_t* factor[MOST_PAIRS];  // noise of each plane
  int32_t* sums[MOST_PAIRS];          // [WIDTH] of the row
  int32_t weight[MOST_PAIRS];         // radix^i * step
};

#if defined(__AVX2__)

// Five rounds of ARS for 64 columns, eight blocks of one row, and the deviates made of them. All steps are taken
// four vectors at a time: one after the other they would wait for each other.
struct Noise {
  __m256i first[4];                 // first key and the last bits of the counters
  __m256i keys[NOISE_ROUNDS + 1];   // the same in either lane
  __m256i low, high;                // points

  Noise(const SerialJob& job) {
    for (int turn = 0; turn <= NOISE_ROUNDS; turn++)
      keys[turn] = _mm256_broadcastsi128_si256(
          _mm_set_epi64x(static_cast<long long>(job.stream + turn * WEYL_HIGH),
                         static_cast<long long>(job.seed + turn * WEYL_LOW)));
    for (int part = 0; part < 4; part++)
      first[part] = _mm256_xor_si256(keys[0], _mm256_set_epi64x(2 * part + 1, 0, 2 * part, 0));
    low = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(job.points)));
    high = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(job.points + 16)));
  }
  // Counters of eight blocks: key of the row, and number of the first of them (a multiple of 8).
  static inline __m256i counter(uint64_t row, uint64_t number) {
    return _mm256_broadcastsi128_si256(
        _mm_set_epi64x(static_cast<long long>(number), static_cast<long long>(row)));
  }
  static inline __attribute__((always_inline)) __m256i round(__m256i state, __m256i key, bool last) {
#if defined(__VAES__)
    return last ? _mm256_aesenclast_epi128(state, key) : _mm256_aesenc_epi128(state, key);
#else
    const __m128i a = _mm256_castsi256_si128(state), b = _mm256_extracti128_si256(state, 1);
    const __m128i k = _mm256_castsi256_si128(key);
    return last ? _mm256_set_m128i(_mm_aesenclast_si128(b, k), _mm_aesenclast_si128(a, k))
                : _mm256_set_m128i(_mm_aesenc_si128(b, k), _mm_aesenc_si128(a, k));
#endif
  }
  inline __attribute__((always_inline)) void deviates(__m256i counters, __m256i (&z)[4]) const {
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) z[i] = _mm256_xor_si256(counters, first[i]);
#pragma GCC unroll 5
    for (int turn = 1; turn <= NOISE_ROUNDS; turn++) {
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) z[i] = round(z[i], keys[turn], turn == NOISE_ROUNDS);
    }
    const __m256i mask = _mm256_set1_epi8(15), weights = _mm256_set1_epi16(SERIAL_BYTE0 | SERIAL_BYTE1 << 8);
    __m256i other[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      other[i] = _mm256_and_si256(_mm256_srli_epi16(z[i], 4), mask);
      z[i] = _mm256_and_si256(z[i], mask);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      z[i] = _mm256_shuffle_epi8(low, z[i]);
      other[i] = _mm256_shuffle_epi8(high, other[i]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) z[i] = _mm256_maddubs_epi16(weights, _mm256_add_epi8(z[i], other[i]));
  }
};

// sums[pair][2] += table entries of `count` quads (or minus them).
template <int P, bool MINUS>
inline __attribute__((always_inline)) void look_up(const uint8_t* idx, const uint8_t* tables, int count,
                                                   __m256i (&sums)[P][2]) {
  for (int q = 0; q < count; q++) {
    const __m256i left = _mm256_load_si256(reinterpret_cast<const __m256i*>(idx + q * WIDTH));
    const __m256i right = _mm256_load_si256(reinterpret_cast<const __m256i*>(idx + q * WIDTH + 32));
#pragma GCC unroll 6
    for (int p = 0; p < P; p++) {
      const __m256i table = _mm256_broadcastsi128_si256(
          _mm_load_si128(reinterpret_cast<const __m128i*>(tables + q * TABLE_STEP + p * 16)));
      const __m256i a = _mm256_shuffle_epi8(table, left), b = _mm256_shuffle_epi8(table, right);
      sums[p][0] = MINUS ? _mm256_sub_epi8(sums[p][0], a) : _mm256_add_epi8(sums[p][0], a);
      sums[p][1] = MINUS ? _mm256_sub_epi8(sums[p][1], b) : _mm256_add_epi8(sums[p][1], b);
    }
  }
}

template <int P, bool NOISY, bool PLAIN>
inline void block(const SerialJob& job, const Noise& noise, const uint8_t* idx, const Pairs& pairs, int64_t cb) {
  const SerialPlan& plan = *job.plan;
  alignas(32) int16_t total[P][WIDTH];
  for (int p = 0; p < P; p++)
    for (int n = 0; n < WIDTH; n += 16)
      _mm256_store_si256(reinterpret_cast<__m256i*>(total[p] + n), _mm256_setzero_si256());
  const __m256i gain = _mm256_set1_epi8(static_cast<char>(plan.gain));
  const __m256i scale = _mm256_set1_epi16(static_cast<int16_t>(plan.scale)),
                offset = _mm256_set1_epi16(static_cast<int16_t>(plan.offset));
  const __m256i most = _mm256_set1_epi16(static_cast<int16_t>(plan.max_code)),
                least = _mm256_set1_epi16(static_cast<int16_t>(-plan.max_code));
  const __m128i noise_shift = _mm_cvtsi32_si128(job.noise_shift);
  const __m128i fraction = _mm_cvtsi32_si128(plan.fraction), reciprocal = _mm_cvtsi32_si128(plan.divide - 1);
  const bool divide = !PLAIN && plan.divide != 0, wired = !PLAIN && job.keep, ties = !PLAIN && plan.ties;
  const __m256i floor = _mm256_set1_epi16(static_cast<int16_t>(plan.least)),
                base = _mm256_set1_epi16(static_cast<int16_t>(plan.code_base));
  const auto convert = [&](__m256i v) {
    if (PLAIN) return _mm256_mulhrs_epi16(v, scale);
    if (!divide) return _mm256_mulhrs_epi16(_mm256_adds_epi16(v, offset), scale);
    // floor((v + offset) / step) by an exact reciprocal
    const __m256i u = _mm256_srl_epi16(_mm256_add_epi16(_mm256_max_epi16(v, floor), offset), fraction);
    return _mm256_sub_epi16(_mm256_srl_epi16(_mm256_mulhi_epu16(u, scale), reciprocal), base);
  };
  const int couples = PLAIN ? 1 : (plan.chunks + 1) / 2;
  const int64_t wide = column_blocks(job.columns);
  __m256i counters[P];
  const __m256i next_plane = _mm256_set_epi64x(1ll << 32, 0, 1ll << 32, 0);
  for (int p = 0; p < P; p++)
    counters[p] = Noise::counter(pairs.key[p], pairs.slot[p] << 32 | static_cast<uint64_t>(cb * 8));
  for (int plane = 0; plane < plan.planes; plane++) {
    __m256i halves[2][P][2], level[PLAIN ? 1 : P][4];
    if (!PLAIN)
      for (auto& of_pair : level)
        for (__m256i& v : of_pair) v = _mm256_setzero_si256();
    for (int couple = 0; couple < couples; couple++) {
      for (int half = 0; half < 2; half++) {
        const int chunk = 2 * couple + half;
        __m256i sums[P][2];
#pragma GCC unroll 6
        for (int p = 0; p < P; p++) sums[p][0] = sums[p][1] = _mm256_setzero_si256();
        if (chunk < plan.chunks) {
          const int first = chunk * plan.chunk;
          const int count = plan.quads - first < plan.chunk ? plan.quads - first : plan.chunk;
          look_up<P, false>(idx, pairs.tables + first * TABLE_STEP, count, sums);
          idx += count * WIDTH;
          if (plan.switches == 2) {
            look_up<P, true>(idx, pairs.tables + first * TABLE_STEP, count, sums);
            idx += count * WIDTH;
          }
        }
#pragma GCC unroll 6
        for (int p = 0; p < P; p++) {
          halves[half][p][0] = sums[p][0];
          halves[half][p][1] = sums[p][1];
        }
      }
      if (!PLAIN && couples > 1)
        for (int p = 0; p < P; p++)
          for (int side = 0; side < 2; side++) {
            const __m256i a = halves[0][p][side], b = halves[1][p][side];
            const __m256i low = _mm256_maddubs_epi16(gain, _mm256_unpacklo_epi8(a, b));
            const __m256i high = _mm256_maddubs_epi16(gain, _mm256_unpackhi_epi8(a, b));
            level[p][2 * side] = _mm256_adds_epi16(level[p][2 * side], low);
            level[p][2 * side + 1] = _mm256_adds_epi16(level[p][2 * side + 1], high);
          }
    }
    const __m256i weight = _mm256_set1_epi16(plan.plane_weight[plane]);
    const bool flush = plan.run_factor[plane] != 0;
    for (int p = 0; p < P; p++) {
      __m256i v[4], z[4];
      if (NOISY) {
        noise.deviates(counters[p], z);
        counters[p] = _mm256_add_epi64(counters[p], next_plane);
        const __m256i factor = _mm256_set1_epi16(pairs.factor[p][plane]);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) z[i] = _mm256_mulhi_epi16(z[i], factor);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) z[i] = _mm256_sra_epi16(z[i], noise_shift);
      }
      if (!PLAIN && couples > 1) {
        for (int i = 0; i < 4; i++) v[i] = level[p][i];
      } else {
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
          const __m256i a = halves[0][p][i / 2], b = halves[1][p][i / 2];
          v[i] = _mm256_maddubs_epi16(gain, i % 2 ? _mm256_unpackhi_epi8(a, b) : _mm256_unpacklo_epi8(a, b));
        }
      }
      if (wired) {
        const __m256i* keep = reinterpret_cast<const __m256i*>(job.keep + (plane * wide + cb) * WIDTH);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) v[i] = _mm256_mulhrs_epi16(v[i], _mm256_loadu_si256(keep + i));
      }
      if (NOISY)
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) v[i] = _mm256_adds_epi16(v[i], z[i]);
      if (!NOISY && ties) {  // half to even: one less where a tie was rounded up to an odd code
        for (int i = 0; i < 4; i++) {
          const __m256i code = convert(v[i]);
          const __m256i below = convert(_mm256_adds_epi16(v[i], _mm256_set1_epi16(-1)));
          v[i] = _mm256_andnot_si256(_mm256_sub_epi16(code, below), code);
        }
      } else {
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) v[i] = convert(v[i]);
      }
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) v[i] = _mm256_max_epi16(_mm256_min_epi16(v[i], most), least);
      __m256i* to = reinterpret_cast<__m256i*>(total[p]);
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++)
        _mm256_store_si256(to + i, _mm256_add_epi16(_mm256_load_si256(to + i), _mm256_mullo_epi16(v[i], weight)));
    }
    if (flush)
      for (int p = 0; p < P; p++) {
        const __m256i times = _mm256_set1_epi32(pairs.weight[p] * plan.run_factor[plane]);
        for (int n = 0; n < WIDTH; n += 8) {
          __m256i* sum = reinterpret_cast<__m256i*>(pairs.sums[p] + n);
          const __m256i wide =
              _mm256_cvtepi16_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(total[p] + n)));
          _mm256_store_si256(sum, _mm256_add_epi32(_mm256_load_si256(sum), _mm256_mullo_epi32(wide, times)));
          _mm_store_si128(reinterpret_cast<__m128i*>(total[p] + n), _mm_setzero_si128());
        }
      }
  }
}

#else

inline int32_t limited(int32_t value) { return value > 32767 ? 32767 : value < -32768 ? -32768 : value; }

// The same bits, one block after the other.
struct Noise {
  uint32_t keys[NOISE_ROUNDS + 1][4];
  const AesTables& tables = AesTables::get();
  const int8_t* points;

  Noise(const SerialJob& job) : points(job.points) {
    for (int turn = 0; turn <= NOISE_ROUNDS; turn++) {
      const uint64_t low = job.seed + turn * WEYL_LOW, high = job.stream + turn * WEYL_HIGH;
      const uint32_t words[4] = {static_cast<uint32_t>(low), static_cast<uint32_t>(low >> 32),
                                 static_cast<uint32_t>(high), static_cast<uint32_t>(high >> 32)};
      std::memcpy(keys[turn], words, 16);
    }
  }
  void deviates(uint64_t row, uint64_t number, int32_t* z) const {
    uint32_t state[4] = {static_cast<uint32_t>(row), static_cast<uint32_t>(row >> 32), static_cast<uint32_t>(number),
                         static_cast<uint32_t>(number >> 32)};
    for (int c = 0; c < 4; c++) state[c] ^= keys[0][c];
    for (int turn = 1; turn <= NOISE_ROUNDS; turn++) {
      uint32_t next[4];
      for (int c = 0; c < 4; c++) {
        uint32_t value = keys[turn][c];
        for (int r = 0; r < 4; r++) {
          const uint8_t byte = static_cast<uint8_t>(state[(c + r) % 4] >> (8 * r));
          value ^= turn == NOISE_ROUNDS ? static_cast<uint32_t>(tables.box[byte]) << (8 * r) : tables.round[r][byte];
        }
        next[c] = value;
      }
      std::memcpy(state, next, sizeof state);
    }
    for (int i = 0; i < 8; i++) {
      const uint32_t two = state[i / 2] >> (16 * (i % 2));
      z[i] = SERIAL_BYTE0 * (points[two & 15] + points[16 + (two >> 4 & 15)]) +
             SERIAL_BYTE1 * (points[two >> 8 & 15] + points[16 + (two >> 12 & 15)]);
    }
  }
};

template <int P, bool NOISY, bool PLAIN>
inline void block(const SerialJob& job, const Noise& noise, const uint8_t* idx, const Pairs& pairs, int64_t cb) {
  const SerialPlan& plan = *job.plan;
  const auto convert = [&](int32_t v) -> int32_t {
    if (!plan.divide) return (limited(v + plan.offset) * plan.scale + (1 << 14)) >> 15;
    const uint32_t u = static_cast<uint32_t>((v < plan.least ? plan.least : v) + plan.offset) >> plan.fraction;
    return static_cast<int32_t>(u * static_cast<uint32_t>(plan.scale) >> 16 >> (plan.divide - 1)) - plan.code_base;
  };
  for (int p = 0; p < P; p++) {
    int32_t total[WIDTH] = {};
    for (int plane = 0; plane < plan.planes; plane++) {
      int32_t sums[WIDTH] = {}, v[WIDTH], z[WIDTH] = {};
      for (int which = 0; which < plan.switches; which++)
        for (int q = 0; q < plan.quads; q++) {
          const uint8_t* here = idx + quad_place(plan, plane, q, which);
          const int8_t* table = reinterpret_cast<const int8_t*>(pairs.tables + q * TABLE_STEP + p * 16);
          for (int n = 0; n < WIDTH; n++) sums[n] += which ? -table[here[n]] : table[here[n]];
        }
      if (NOISY)
        for (int n = 0; n < WIDTH; n += 8)
          noise.deviates(pairs.key[p], (pairs.slot[p] + static_cast<uint64_t>(plane)) << 32 |
                                           static_cast<uint64_t>(cb * 8 + n / 8), z + n);
      for (int n = 0; n < WIDTH; n++) {
        v[n] = limited(sums[byte_of(n)] * plan.gain);
        if (job.keep) v[n] = (v[n] * job.keep[(plane * column_blocks(job.columns) + cb) * WIDTH + n] + (1 << 14)) >> 15;
        if (NOISY) v[n] = limited(v[n] + ((z[n] * pairs.factor[p][plane]) >> 16 >> job.noise_shift));
        int32_t code = convert(v[n]);
        if (!NOISY && plan.ties) code &= ~(code - convert(limited(v[n] - 1)));
        code = code > plan.max_code ? plan.max_code : code < -plan.max_code ? -plan.max_code : code;
        total[n] += code * plan.plane_weight[plane];
      }
      if (plan.run_factor[plane])
        for (int n = 0; n < WIDTH; n++) {
          pairs.sums[p][n] += total[n] * pairs.weight[p] * plan.run_factor[plane];
          total[n] = 0;
        }
    }
  }
}

#endif

template <bool NOISY>
inline void blocks(int count, const SerialJob& job, const Noise& noise, const uint8_t* idx, const Pairs& pairs,
                   int64_t cb) {
  const SerialPlan& plan = *job.plan;
  // the usual case without what it does not need
  if (count == MOST_PAIRS && plan.chunks <= 2 && !plan.divide && !plan.offset && !job.keep && (NOISY || !plan.ties))
    return block<MOST_PAIRS, NOISY, true>(job, noise, idx, pairs, cb);
  switch (count) {
    case 1: return block<1, NOISY, false>(job, noise, idx, pairs, cb);
    case 2: return block<2, NOISY, false>(job, noise, idx, pairs, cb);
    case 3: return block<3, NOISY, false>(job, noise, idx, pairs, cb);
    case 4: return block<4, NOISY, false>(job, noise, idx, pairs, cb);
    case 5: return block<5, NOISY, false>(job, noise, idx, pairs, cb);
    default: return block<6, NOISY, false>(job, noise, idx, pairs, cb);
  }
}

// One wrong conversion: its change of the output.
inline int32_t change(const SerialJob& job, const uint8_t* tables, const SerialEvent& event) {
  const SerialPlan& plan = *job.plan;
  const int64_t n = event.place % job.columns, slot = event.place / job.columns;
  const int plane = static_cast<int>(slot % plan.planes), digit = static_cast<int>(slot / plan.planes % plan.digits);
  const int g = static_cast<int>(slot / plan.planes / plan.digits);
  const uint8_t* idx = job.packed + (n / WIDTH * plan.groups + g) * group_bytes(plan) + byte_of(n % WIDTH);
  int32_t sum = 0;
  int64_t branches = 0;
  for (int q = 0; q < plan.quads; q++) {
    const int8_t* table = reinterpret_cast<const int8_t*>(tables + q * TABLE_STEP);
    const uint8_t plus = idx[quad_place(plan, plane, q, 0)];
    const uint8_t minus = plan.switches == 2 ? idx[quad_place(plan, plane, q, 1)] : 0;
    sum += table[plus] - table[minus];
    for (int b = 0; b < 4; b++)
      if ((plus | minus) >> b & 1) branches += plan.power[table[1 << b] + plan.max_digit];
  }
  const double sd = std::sqrt(job.additive + job.mismatch * static_cast<double>(branches));
  const auto code = [&](double s) {
    const double level = __builtin_rint(s / plan.step);
    return level > plan.max_code ? plan.max_code : level < -plan.max_code ? -plan.max_code : static_cast<int>(level);
  };
  return (code(sum + sd * event.z) - code(sum)) * plan.full_weight[plane] * plan.digit_weight[digit] * plan.step;
}

inline void rows(const SerialJob& job, const Noise& noise, int64_t top, int count, int64_t first_block,
                 int64_t last_block) {
  const SerialPlan& plan = *job.plan;
  const int pair_count = count * plan.digits;
  const int64_t table_bytes = static_cast<int64_t>(plan.quads) * TABLE_STEP;  // of a block of pairs
  const int64_t pair_blocks = (pair_count + MOST_PAIRS - 1) / MOST_PAIRS;
  Scratch<uint8_t> tables(plan.groups * pair_blocks * table_bytes);
  const auto tables_of = [&](int64_t g, int64_t pair) {
    return tables.data + (g * pair_blocks + pair / MOST_PAIRS) * table_bytes + pair % MOST_PAIRS * 16;
  };
  Scratch<int16_t> factors(job.noisy ? static_cast<int64_t>(plan.groups) * pair_count * plan.planes : 1);
  Scratch<int8_t> digits(static_cast<int64_t>(plan.digits) * plan.quads * 4);
  Scratch<int64_t> branches(plan.planes);
  // copies: what is written through a pointer to bytes might otherwise change them
  const int8_t* const digits_of = plan.digits_of;
  const int lowest = plan.lowest, digit_count = plan.digits, stride = plan.quads * 4;
  const float low = static_cast<float>(lowest), high = static_cast<float>(plan.highest);
  for (int m = 0; m < count; m++)
    for (int g = 0; g < plan.groups; g++) {
      const int first = plan.bounds[2 * g], last = plan.bounds[2 * g + 1];
      std::memset(digits.data, 0, static_cast<size_t>(plan.digits) * plan.quads * 4);
      for (int k = first; k < last; k++) {
        const float value = job.x[(top + m) * job.inner + k];
        if (!(value >= low && value <= high)) {
          __atomic_store_n(job.bad, 1, __ATOMIC_RELAXED);
          continue;
        }
        const int8_t* from = digits_of + (static_cast<int>(value) - lowest) * MOST_DIGITS;
        int8_t* to = digits.data + k - first;
        for (int i = 0; i < digit_count; i++, to += stride) *to = from[i];
      }
      for (int i = 0; i < plan.digits; i++) {
        const int64_t place = static_cast<int64_t>(g) * pair_count + m * plan.digits + i;
        const int8_t* mine = digits.data + i * plan.quads * 4;
        uint8_t* table = tables_of(g, m * plan.digits + i);
        for (int q = 0; q < plan.quads; q++) make_table(mine + q * 4, table + q * TABLE_STEP);
        if (!job.noisy) continue;
        for (int j = 0; j < plan.planes; j++) branches.data[j] = 0;
        if (job.mismatch > 0)
          for (int k = first; k < last; k++) {
            const int32_t power = plan.power[mine[k - first] + plan.max_digit];
            for (int j = 0; j < plan.planes; j++)
              branches.data[j] += static_cast<int64_t>(power) * job.closed_count[static_cast<int64_t>(k) * plan.planes + j];
          }
        for (int j = 0; j < plan.planes; j++)
          factors.data[place * plan.planes + j] = static_cast<int16_t>(__builtin_rint(
              std::sqrt(job.additive + job.mean_mismatch * static_cast<double>(branches.data[j])) * job.per_sd));
      }
    }
  Scratch<int32_t> sums(static_cast<int64_t>(count) * WIDTH);
  for (int64_t cb = first_block; cb < last_block; cb++) {
    std::memset(sums.data, 0, static_cast<size_t>(count) * WIDTH * 4);
    for (int g = 0; g < plan.groups; g++) {
      const uint8_t* idx = job.packed + (cb * plan.groups + g) * group_bytes(plan);
      for (int from = 0; from < pair_count; from += MOST_PAIRS) {
        Pairs pairs;
        pairs.tables = tables_of(g, from);
        const int here = pair_count - from < MOST_PAIRS ? pair_count - from : MOST_PAIRS;
        for (int p = 0; p < here; p++) {
          const int m = (from + p) / plan.digits, i = (from + p) % plan.digits;
          const int64_t place = static_cast<int64_t>(g) * pair_count + from + p;
          pairs.key[p] = job.noisy ? static_cast<uint64_t>(job.keys[top + m]) : 0;
          pairs.slot[p] = (static_cast<uint64_t>(g) * plan.digits + i) * plan.planes;
          pairs.factor[p] = factors.data + (job.noisy ? place * plan.planes : 0);
          pairs.sums[p] = sums.data + static_cast<int64_t>(m) * WIDTH;
          pairs.weight[p] = plan.digit_weight[i] * plan.step;
        }
        if (job.noisy)
          blocks<true>(here, job, noise, idx, pairs, cb);
        else
          blocks<false>(here, job, noise, idx, pairs, cb);
      }
    }
    const int64_t width = smaller(WIDTH, job.columns - cb * WIDTH);
    for (int m = 0; m < count; m++)
      std::memcpy(job.y + (top + m) * job.columns + cb * WIDTH, sums.data + static_cast<int64_t>(m) * WIDTH,
                  static_cast<size_t>(width) * 4);
  }
  int64_t e = 0, end = job.event_count;
  while (e < end) {  // first event of these rows
    const int64_t middle = (e + end) / 2;
    if (job.events[middle].row < top) e = middle + 1; else end = middle;
  }
  for (; e < job.event_count && job.events[e].row < top + count; e++) {
    const SerialEvent& event = job.events[e];
    const int64_t n = event.place % job.columns, slot = event.place / job.columns;
    if (n / WIDTH < first_block || n / WIDTH >= last_block) continue;
    const int64_t i = slot / plan.planes % plan.digits, g = slot / plan.planes / plan.digits;
    job.y[event.row * job.columns + n] += change(job, tables_of(g, (event.row - top) * plan.digits + i), event);
  }
}

inline void product(const SerialJob& job) {
  const Noise noise(job);
  const int64_t wide = column_blocks(job.columns);
  const int64_t row_blocks = (job.rows + BLOCK_ROWS - 1) / BLOCK_ROWS;
  const int64_t cuts = row_blocks >= 2 * job.threads ? 1 : smaller(wide, 2 * job.threads);
  parallel(static_cast<long>(row_blocks * cuts), job.threads, [&](long part) {
    const int64_t top = part / cuts * BLOCK_ROWS, cut = part % cuts;
    rows(job, noise, top, static_cast<int>(smaller(BLOCK_ROWS, job.rows - top)), wide * cut / cuts,
         wide * (cut + 1) / cuts);
  });
}

}  // namespace serial
}  // namespace OHM_ISA
}  // namespace ohm
