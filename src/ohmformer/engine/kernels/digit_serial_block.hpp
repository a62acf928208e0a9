// Digit-serial products of any plan: conversions in 16 bits, see digit_serial.hpp.
#pragma once
#include <cstdint>
#include <cstring>

#include "digit_serial_alone.hpp"
#include "digit_serial_noise.hpp"
#include "digit_serial_whole.hpp"
#include "digit_serial_streamed.hpp"

namespace ohm {
namespace OHM_ISA {
namespace serial {

#if defined(__AVX2__)

// sums[pair][2] += table entries of a quad (or minus them).
template <int P, bool MINUS>
inline __attribute__((always_inline)) void look_up_quad(const uint8_t* idx, const uint8_t* tables,
                                                        __m256i (&sums)[P][2]) {
  const __m256i left = _mm256_load_si256(reinterpret_cast<const __m256i*>(idx));
  const __m256i right = _mm256_load_si256(reinterpret_cast<const __m256i*>(idx + 32));
#pragma GCC unroll 6
  for (int p = 0; p < P; p++) {
    const __m256i table =
        _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(tables + p * 16)));
    const __m256i a = _mm256_shuffle_epi8(table, left), b = _mm256_shuffle_epi8(table, right);
    sums[p][0] = MINUS ? _mm256_sub_epi8(sums[p][0], a) : _mm256_add_epi8(sums[p][0], a);
    sums[p][1] = MINUS ? _mm256_sub_epi8(sums[p][1], b) : _mm256_add_epi8(sums[p][1], b);
#if defined(__GNUC__)
    asm volatile("" : "+x"(sums[p][0]), "+x"(sums[p][1]));  // in another order the sums would be spilled
#endif
  }
}

// The same of `count` quads: eight at a time without a branch.
template <int P, bool MINUS>
inline __attribute__((always_inline)) void look_up(const uint8_t* idx, const uint8_t* tables, int count,
                                                   __m256i (&sums)[P][2]) {
  int q = 0;
  if (P == MOST_PAIRS)
    for (; q + 8 <= count; q += 8) {
#pragma GCC unroll 8
      for (int i = 0; i < 8; i++)
        look_up_quad<P, MINUS>(idx + (q + i) * WIDTH, tables + (q + i) * TABLE_STEP, sums);
    }
  for (; q < count; q++) look_up_quad<P, MINUS>(idx + q * WIDTH, tables + q * TABLE_STEP, sums);
}

template <int P, int NOISE, bool PLAIN>
inline void block(const SerialJob& job, const Noise& noise, const uint8_t* idx, const Pairs& pairs, int64_t cb) {
  constexpr bool NOISY = NOISE == DENSE;
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
  PairNoise whole[NOISE == WHOLE ? P : 1];
  if (NOISE == WHOLE)
    for (int p = 0; p < P; p++) whole[p].start(noise, pairs, p, cb);
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
          const uint8_t* tables = pairs.tables + first * TABLE_STEP;
          look_up<P, false>(idx + quad_place(plan, map_of(plan, plane), first), tables, count, sums);
          if (plan.sharing) look_up<P, true>(idx + quad_place(plan, sign_map(plan, plane), first), tables, count, sums);
        }
        if (NOISE == WHOLE && chunk == 0)
          for (int p = 0; p < P; p++)
            for (int side = 0; side < 2; side++) sums[p][side] = whole[p].template added<ANY>(side, plane, sums[p][side]);
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
      if (NOISE == QUIET && ties) {  // half to even: one less where a tie was rounded up to an odd code
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
        const int32_t times = pairs.weight[p] * plan.run_factor[plane];
        __m256i* const of_pair = reinterpret_cast<__m256i*>(total[p]);
        for (int i = 0; i < 4; i++) {
          add_weighted(_mm256_load_si256(of_pair + i), times, _mm256_setzero_si256(), 0, pairs.sums[p] + 16 * i);
          _mm256_store_si256(of_pair + i, _mm256_setzero_si256());
        }
      }
  }
}

#else

template <int P, int NOISE, bool PLAIN>
inline void block(const SerialJob& job, const Noise& noise, const uint8_t* idx, const Pairs& pairs, int64_t cb) {
  constexpr bool NOISY = NOISE == DENSE;
  const SerialPlan& plan = *job.plan;
  const Ars alone(job.seed, job.alone);
  const auto convert = [&](int32_t v) -> int32_t {
    if (!plan.divide) return (limited(v + plan.offset) * plan.scale + (1 << 14)) >> 15;
    const uint32_t u = static_cast<uint32_t>((v < plan.least ? plan.least : v) + plan.offset) >> plan.fraction;
    return static_cast<int32_t>(u * static_cast<uint32_t>(plan.scale) >> 16 >> (plan.divide - 1)) - plan.code_base;
  };
  for (int p = 0; p < P; p++) {
    int32_t total[WIDTH] = {};
    int8_t bytes[WIDTH], shared[WIDTH];
    if (NOISE == WHOLE || job.limits)
      noise.bytes(pairs.key[p], SERIAL_SHARED | (NOISE == WHOLE ? pairs.group_slot : pairs.slot[p]) << 32 | static_cast<uint64_t>(cb * 4), shared);
    for (int plane = 0; plane < plan.planes; plane++) {
      int32_t sums[WIDTH] = {}, v[WIDTH], z[WIDTH] = {};
      for (int q = 0; q < plan.quads; q++) {
        const uint8_t* mine = idx + quad_place(plan, map_of(plan, plane), q);
        const uint8_t* sign = plan.sharing ? idx + quad_place(plan, sign_map(plan, plane), q) : nullptr;
        const int8_t* table = reinterpret_cast<const int8_t*>(pairs.tables + q * TABLE_STEP + p * 16);
        for (int n = 0; n < WIDTH; n++) sums[n] += table[mine[n]] - (sign ? table[sign[n]] : 0);
      }
      const uint64_t slot = (pairs.slot[p] + static_cast<uint64_t>(plane)) << 32;
      if (NOISE == WHOLE) {
        noise.bytes(pairs.key[p], slot | static_cast<uint64_t>(cb * 4), bytes);
        whole_noise(job, pairs.factor[p][plane], bytes, shared, sums);
      }
      if (NOISY)
        for (int n = 0; n < WIDTH; n += 8)
          noise.deviates(pairs.key[p], slot | static_cast<uint64_t>(cb * 8 + n / 8), z + n);
      for (int n = 0; n < WIDTH; n++) {
        v[n] = limited(sums[byte_of(n)] * plan.gain);
        if (job.keep && !job.limits) v[n] = (v[n] * job.keep[(plane * column_blocks(job.columns) + cb) * WIDTH + n] + (1 << 14)) >> 15;
        if (NOISY) v[n] = limited(v[n] + ((z[n] * pairs.factor[p][plane]) >> 16 >> job.noise_shift));
        int32_t code = convert(v[n]);
        if (NOISE == QUIET && plan.ties) code &= ~(code - convert(limited(v[n] - 1)));
        code = code > plan.max_code ? plan.max_code : code < -plan.max_code ? -plan.max_code : code;
        if (job.limits) {
          const int32_t sum = sums[byte_of(n)], size = sum < 0 ? -sum : sum;
          const int own = class_of(static_cast<uint8_t>(shared[(byte_of(n) + turn_of(plane)) & (WIDTH - 1)]));
          const Conversion at{idx, pairs.tables + p * 16, plane, cb * WIDTH + n};
          if (size + job.nearer[own] > limits_of(job, plane, cb)[byte_of(n)])
            code += change(job, at, sum, deviate(job, alone, pairs.key[p], slot | static_cast<uint64_t>(at.column), own),
                           plan.max_code);
        }
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

}  // namespace serial
}  // namespace OHM_ISA
}  // namespace ohm
