// Conversions of which only what clipping takes is wanted, beside the integer product (digit_serial_rest.hpp).
#pragma once
#include <cstdint>
#include <cstring>

#include "digit_serial_block.hpp"
#include "digit_serial_planes.hpp"
#include "digit_serial_streamed.hpp"

namespace ohm {
namespace OHM_ISA {
namespace serial {

#if defined(__AVX2__)

// Sums of 8 bits. Their noise is drawn first and goes to its totals. Then a plane is looked up to the point where the
// rest of its sums seldom matters; only where it may is it looked up to the end, clipped, and what that takes weighed.
template <int P, bool NOISY>
struct RestBlock {
  const SerialJob& job;
  const Random& random;
  const Pairs& pairs;
  const int64_t cb;
  const uint8_t* const group;  // switches
  alignas(32) int8_t noise[NOISY ? MOST_PLANES : 1][MOST_PAIRS][WIDTH];
  alignas(32) int8_t taken[MOST_PLANES][MOST_PAIRS][WIDTH];  // of the planes of a run
  alignas(32) int8_t signs[P][WIDTH];                        // what signs take from the sums of the planes of a digit

  RestBlock(const SerialJob& given, const Random& of_all, const Pairs& of, int64_t block, const uint8_t* switches)
      : job(given), random(of_all), pairs(of), cb(block), group(switches) {}

  inline void run() {
    const SerialPlan& plan = *job.plan;
    if (NOISY) NoiseBlock{random.noise, random.units, pairs}.run(cb, noise);
    int first = 0;         // plane of the run
    uint64_t clipped = 0;  // its planes
    for (int plane = 0; plane < plan.planes; plane++) {
      if (plan.sharing && plane % plan.sharing == 0) take_signs(plane);
      clipped |= static_cast<uint64_t>(clip(plane, taken[plane - first])) << (plane - first);
      if (!plan.run_factor[plane]) continue;
      const int count = plane + 1 - first;
      if (clipped) {
        for (int i = 0; i < count; i++)
          if (!(clipped >> i & 1)) std::memset(taken[i], 0, sizeof *taken);
        add_planes<false>(pairs, taken, count, plan.plane_weight + first, -plan.run_factor[plane], 0);
      }
      first = plane + 1;
      clipped = 0;
    }
  }

 private:
  static inline __attribute__((always_inline)) __m256i* vector(int8_t* bytes, int half) {
    return reinterpret_cast<__m256i*>(bytes + 32 * half);
  }
  template <bool MINUS>
  inline __attribute__((always_inline)) void look(int map, int from, int to, __m256i (&sums)[P][2]) const {
    look_up<P, MINUS>(group + quad_place(*job.plan, map, from), pairs.tables + from * TABLE_STEP, to - from, sums);
  }
  inline __attribute__((always_inline)) void take_signs(int plane) {
    __m256i sums[P][2];
#pragma GCC unroll 6
    for (int p = 0; p < P; p++) sums[p][0] = sums[p][1] = _mm256_setzero_si256();
    look<true>(sign_map(*job.plan, plane), 0, pairs.stop, sums);
#pragma GCC unroll 6
    for (int p = 0; p < P; p++)
      for (int half = 0; half < 2; half++) _mm256_store_si256(vector(signs[p], half), sums[p][half]);
  }
  // What the sums of a plane start from.
  inline __attribute__((always_inline)) __m256i start(int plane, int p, int half) {
    const __m256i zero = _mm256_setzero_si256(), own = NOISY ? _mm256_load_si256(vector(noise[plane][p], half)) : zero;
    return job.plan->sharing ? _mm256_add_epi8(own, _mm256_load_si256(vector(signs[p], half))) : own;
  }
  // Whether a conversion of a plane is clipped; if so, what that takes.
  inline __attribute__((always_inline)) bool clip(int plane, int8_t (*to)[WIDTH]) {
    const SerialPlan& plan = *job.plan;
    const __m256i zero = _mm256_setzero_si256();
    __m256i sums[P][2];
#pragma GCC unroll 6
    for (int p = 0; p < P; p++)
      for (int half = 0; half < 2; half++) sums[p][half] = start(plane, p, half);
    look<false>(map_of(plan, plane), 0, pairs.stop, sums);
    if (pairs.stop < plan.quads) {
      __m256i outside = zero;
#pragma GCC unroll 6
      for (int p = 0; p < P; p++) {
        const __m256i high = _mm256_set1_epi32(pairs.high[p]), low = _mm256_set1_epi32(pairs.low[p]);
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++) {
          const __m256i sum = sums[p][half];
          outside = _mm256_or_si256(outside, _mm256_or_si256(_mm256_cmpgt_epi8(sum, high), _mm256_cmpgt_epi8(low, sum)));
        }
      }
      if (__builtin_expect(_mm256_testz_si256(outside, outside), 1)) return false;
      if (plan.sharing) look<true>(sign_map(plan, plane), pairs.stop, plan.quads, sums);
      look<false>(map_of(plan, plane), pairs.stop, plan.quads, sums);
    }
    const __m256i most = _mm256_set1_epi8(static_cast<char>(most_byte(plan))), least = _mm256_sub_epi8(zero, most);
    __m256i any = zero;
#pragma GCC unroll 6
    for (int p = 0; p < P; p++)
#pragma GCC unroll 2
      for (int half = 0; half < 2; half++) {
        const __m256i sum = sums[p][half];
        const __m256i over = _mm256_sub_epi8(sum, _mm256_max_epi8(_mm256_min_epi8(sum, most), least));
        any = _mm256_or_si256(any, over);
        _mm256_store_si256(vector(to[p], half), over);
      }
    return !_mm256_testz_si256(any, any);
  }
};

#endif

}  // namespace serial
}  // namespace OHM_ISA
}  // namespace ohm
