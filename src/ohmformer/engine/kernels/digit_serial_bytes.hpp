// Digit-serial products whose codes are the sums themselves, clipped: conversions in 8 bits, 32 at once.
//
// Noise that moves a sum by whole numbers is what sums start from. With wires, a conversion whose sum is small keeps
// its code; the few that may not are found by two comparisons and looked at alone.
#pragma once
#include <cstdint>

#include "digit_serial_block.hpp"

namespace ohm {
namespace OHM_ISA {
namespace serial {

#if defined(__AVX2__)

// Column of a byte of 64, the inverse of byte_of.
inline int column_of(int byte) { return (byte & 32) + (byte & 7) + (byte >> 3 & 1) * 16 + (byte >> 4 & 1) * 8; }

template <int P, int NOISE, bool LIMITED>
struct ByteBlock {
  const SerialJob& job;
  const Noise& noise;
  const Ars& alone;
  const Pairs& pairs;
  const int64_t cb;
  const uint8_t* const group;  // switches
  alignas(32) int16_t total[P][WIDTH];
  __m256i codes[P][2];
  alignas(32) uint8_t classes[LIMITED ? P : 1][WIDTH], nearer[LIMITED ? P : 1][2 * WIDTH];  // the latter twice

  ByteBlock(const SerialJob& given, const Noise& random, const Ars& of_alone, const Pairs& of, int64_t block,
            const uint8_t* switches)
      : job(given), noise(random), alone(of_alone), pairs(of), cb(block), group(switches) {}

  // total += weights of two planes times their codes; `first` null for a plane that stands alone.
  inline void add(int p, const __m256i* before, const __m256i* codes_now, __m256i weights) {
    __m256i* to = reinterpret_cast<__m256i*>(total[p]);
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++) {
      const __m256i low = _mm256_unpacklo_epi8(before[half], codes_now[half]),
                    high = _mm256_unpackhi_epi8(before[half], codes_now[half]);
      to[2 * half] = _mm256_add_epi16(to[2 * half], _mm256_maddubs_epi16(weights, low));
      to[2 * half + 1] = _mm256_add_epi16(to[2 * half + 1], _mm256_maddubs_epi16(weights, high));
    }
  }

  // Conversions that wires may change: their codes are put right in the sums of the row.
  __attribute__((noinline)) void look(int p, int plane, const __m256i* low, const __m256i* high, uint64_t marked) {
    const SerialPlan& plan = *job.plan;
    const int8_t *const a = reinterpret_cast<const int8_t*>(low), *const b = reinterpret_cast<const int8_t*>(high);
    const uint64_t slot = (pairs.slot[p] + static_cast<uint64_t>(plane)) << 32;
    const int most = plan.max_code < 127 ? plan.max_code : 127;
    for (; marked; marked &= marked - 1) {
      const int byte = __builtin_ctzll(marked);
      const Conversion at{group, pairs.tables + p * 16, plane, cb * WIDTH + column_of(byte)};
      const double z = deviate(job, alone, pairs.key[p], slot | static_cast<uint64_t>(at.column),
                               classes[p][(byte + turn_of(plane)) & (WIDTH - 1)]);
      pairs.sums[p][column_of(byte)] +=
          change(job, at, a[byte] + b[byte], z, most) * plan.full_weight[plane] * pairs.weight[p];
    }
  }

  // Size classes of the noise of a pair, and what they take off its limits.
  inline void classify(int p) {
    const __m256i steps = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(job.nearer)));
    const __m256i own =
        Noise::counter(pairs.key[p], SERIAL_SHARED | pairs.slot[p] << 32 | static_cast<uint64_t>(cb * 4));
    for (int half = 0; half < 2; half++) {
      const __m256i found = _mm256_min_epu8(noise.bytes(own, half), _mm256_set1_epi8(SERIAL_CLASSES - 1));
      const __m256i step = _mm256_shuffle_epi8(steps, found);
      _mm256_store_si256(reinterpret_cast<__m256i*>(classes[p] + 32 * half), found);
      _mm256_store_si256(reinterpret_cast<__m256i*>(nearer[p] + 32 * half), step);
      _mm256_store_si256(reinterpret_cast<__m256i*>(nearer[p] + 32 * half + WIDTH), step);
    }
  }

  inline void run() {
    const SerialPlan& plan = *job.plan;
    const uint8_t* idx = group;
    WholeNoise<P> whole(job, noise, pairs, cb, NOISE == WHOLE);
    for (int p = 0; p < P; p++) {
      for (int n = 0; n < WIDTH; n += 16)
        _mm256_store_si256(reinterpret_cast<__m256i*>(total[p] + n), _mm256_setzero_si256());
      if (LIMITED) classify(p);
    }
    const __m256i most = _mm256_set1_epi8(static_cast<char>(plan.max_code < 127 ? plan.max_code : 127)),
                  least = _mm256_sub_epi8(_mm256_setzero_si256(), most);
    int waiting = 0;  // weight of a plane whose codes wait for the next one
    for (int plane = 0; plane < plan.planes; plane++) {
      __m256i low[P][2], sums[P][2];
#pragma GCC unroll 6
      for (int p = 0; p < P; p++) sums[p][0] = sums[p][1] = _mm256_setzero_si256();
      for (int p = 0; p < P; p++) low[p][0] = low[p][1] = sums[p][0];
      if (NOISE == WHOLE) whole.draw(plane, sums);
      for (int chunk = 0; chunk < plan.chunks; chunk++) {
        const int first = chunk * plan.chunk;
        const int count = plan.quads - first < plan.chunk ? plan.quads - first : plan.chunk;
        if (chunk)
#pragma GCC unroll 6
          for (int p = 0; p < P; p++) sums[p][0] = sums[p][1] = _mm256_setzero_si256();
        look_up<P, false>(idx, pairs.tables + first * TABLE_STEP, count, sums);
        idx += count * WIDTH;
        if (plan.switches == 2) {
          look_up<P, true>(idx, pairs.tables + first * TABLE_STEP, count, sums);
          idx += count * WIDTH;
        }
        if (chunk + 1 < plan.chunks)
#pragma GCC unroll 6
          for (int p = 0; p < P; p++) {
            low[p][0] = sums[p][0];
            low[p][1] = sums[p][1];
          }
      }
      const int weight = plan.plane_weight[plane];
      const bool flush = plan.run_factor[plane] != 0;
      const int size = weight < 0 ? -weight : weight;
      const bool keep = !waiting && !flush;
      const __m256i weights = _mm256_set1_epi16(static_cast<int16_t>(waiting | size << 8));
      __m256i marked[LIMITED ? P : 1][2], high[LIMITED ? P : 1][2], any = _mm256_setzero_si256(), limits[2];
      if (LIMITED)
        for (int half = 0; half < 2; half++)
          limits[half] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(limits_of(job, plane, cb)) + half);
      const int turn = turn_of(plane);
#pragma GCC unroll 6
      for (int p = 0; p < P; p++) {
        __m256i code[2];
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++) {
          code[half] = _mm256_adds_epi8(low[p][half], sums[p][half]);
          if (LIMITED) {
            const __m256i step = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(nearer[p] + turn + 32 * half));
            const __m256i over = _mm256_subs_epu8(_mm256_adds_epu8(_mm256_abs_epi8(code[half]), step), limits[half]);
            marked[p][half] = over;
            high[p][half] = sums[p][half];
            any = _mm256_or_si256(any, over);
          }
          code[half] = _mm256_max_epi8(_mm256_min_epi8(code[half], most), least);
          if (weight < 0) code[half] = _mm256_sub_epi8(_mm256_setzero_si256(), code[half]);
        }
        if (keep) {
          codes[p][0] = code[0];
          codes[p][1] = code[1];
        } else {
          add(p, codes[p], code, weights);
        }
      }
      if (LIMITED && __builtin_expect(!_mm256_testz_si256(any, any), 0))
        for (int p = 0; p < P; p++) {
          uint64_t kept = 0;
          for (int half = 0; half < 2; half++)
            kept |= static_cast<uint64_t>(static_cast<uint32_t>(_mm256_movemask_epi8(
                        _mm256_cmpeq_epi8(marked[p][half], _mm256_setzero_si256()))))
                    << (32 * half);
          if (~kept) look(p, plane, low[p], high[p], ~kept);
        }
      waiting = keep ? size : 0;
      if (flush)
        for (int p = 0; p < P; p++) {
          const __m256i times = _mm256_set1_epi32(pairs.weight[p] * plan.run_factor[plane]);
          int32_t* const sums_of = pairs.sums[p];
#pragma GCC unroll 8
          for (int n = 0; n < WIDTH; n += 8) {
            __m256i* sum = reinterpret_cast<__m256i*>(sums_of + n);
            const __m256i wide =
                _mm256_cvtepi16_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(total[p] + n)));
            _mm256_store_si256(sum, _mm256_add_epi32(_mm256_load_si256(sum), _mm256_mullo_epi32(wide, times)));
            _mm_store_si128(reinterpret_cast<__m128i*>(total[p] + n), _mm_setzero_si128());
          }
        }
    }
  }
};

template <int P>
inline void in_bytes(const SerialJob& job, const Noise& noise, const Ars& alone, const uint8_t* idx,
                     const Pairs& pairs, int64_t cb) {
  if (job.limits) return ByteBlock<P, QUIET, true>(job, noise, alone, pairs, cb, idx).run();
  if (job.noise == WHOLE) return ByteBlock<P, WHOLE, false>(job, noise, alone, pairs, cb, idx).run();
  ByteBlock<P, QUIET, false>(job, noise, alone, pairs, cb, idx).run();
}

#endif

}  // namespace serial
}  // namespace OHM_ISA
}  // namespace ohm
