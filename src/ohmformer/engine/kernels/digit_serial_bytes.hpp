// Digit-serial products whose codes are the sums themselves, clipped: conversions in 8 bits, 32 at once.
//
// REST: not codes are added up, but what clipping takes from sums (digit_serial_rest.hpp).
// Whole noise is added to sums. With wires, a conversion whose sum is small keeps
// its code; the few that may not are found by two comparisons and looked at alone.
#pragma once
#include <cstdint>

#include "digit_serial_block.hpp"
#include "digit_serial_planes.hpp"
#include "digit_serial_rest_block.hpp"

namespace ohm {
namespace OHM_ISA {
namespace serial {

#if defined(__AVX2__)

// Column of a byte of 64, the inverse of byte_of.
inline int column_of(int byte) { return (byte & 32) + (byte & 7) + (byte >> 3 & 1) * 16 + (byte >> 4 & 1) * 8; }

// FITS: no sum leaves 8 bits, so that one sum in 8 bits serves, whatever its parts do; else two parts are added with
// saturation.
template <int P, int NOISE, bool LIMITED, bool FITS, bool REST = false>
struct ByteBlock {
  const SerialJob& job;
  const Noise& noise;
  const Ars& alone;
  const Pairs& pairs;
  const int64_t cb;
  const uint8_t* const group;  // switches
  alignas(32) int8_t codes[MOST_PLANES][MOST_PAIRS][WIDTH];  // of the planes of a run, not yet clipped
  alignas(32) int8_t parts[REST ? 2 : 1][REST ? MOST_PLANES : 1][MOST_PAIRS][WIDTH];  // which codes are sums of
  alignas(32) int8_t signs[FITS ? 1 : 2][P][WIDTH];  // of the chunks
  uint64_t marks[LIMITED ? MOST_PLANES : 1][P];
  alignas(32) uint8_t classes[LIMITED ? P : 1][WIDTH], nearer[LIMITED ? P : 1][2 * WIDTH];  // the latter twice

  ByteBlock(const SerialJob& given, const Random& random, const Pairs& of, int64_t block, const uint8_t* switches)
      : job(given), noise(random.noise), alone(random.alone), pairs(of), cb(block), group(switches) {}

  template <bool CLIPS>
  inline void finish(const int8_t (*from)[MOST_PAIRS][WIDTH], int first, int count, int32_t times = 1) const {
    const SerialPlan& plan = *job.plan;
    add_planes<CLIPS>(pairs, from, count, plan.plane_weight + first, plan.run_factor[first + count - 1] * times,
                      most_byte(plan));
  }

  // Conversions of a run that wires may change: their codes are put right in the sums of the row.
  __attribute__((noinline)) void look(int first, int count) const {
    const SerialPlan& plan = *job.plan;
    const int most = most_byte(*job.plan);
    for (int plane = first; plane < first + count; plane++)
      for (int p = 0; p < P; p++) {
        const uint64_t slot = (pairs.slot[p] + static_cast<uint64_t>(plane)) << 32;
        for (uint64_t marked = marks[plane - first][p]; marked; marked &= marked - 1) {
          const int byte = __builtin_ctzll(marked);
          const Conversion at{group, pairs.tables + p * 16, plane, cb * WIDTH + column_of(byte)};
          const int32_t sum = FITS ? codes[plane - first][p][byte] : sum_of(plan, at);
          const double z = deviate(job, alone, pairs.key[p], slot | static_cast<uint64_t>(at.column),
                                   classes[p][(byte + turn_of(plane)) & (WIDTH - 1)]);
          pairs.sums[p][place_of_sum(column_of(byte))] +=
              change(job, at, sum, z, most) * plan.full_weight[plane] * pairs.weight[p];
        }
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

  // What the signs of a digit take from the sums of its planes: of each chunk, or of all together.
  inline void take_signs(const uint8_t* idx) {
    const SerialPlan& plan = *job.plan;
    const int step = FITS ? plan.quads : plan.chunk;
    for (int first = 0, chunk = 0; first < plan.quads; first += step, chunk++) {
      const int count = plan.quads - first < step ? plan.quads - first : step;
      __m256i sums[P][2];
#pragma GCC unroll 6
      for (int p = 0; p < P; p++) sums[p][0] = sums[p][1] = _mm256_setzero_si256();
      look_up<P, true>(idx + first * WIDTH, pairs.tables + first * TABLE_STEP, count, sums);
#pragma GCC unroll 6
      for (int p = 0; p < P; p++)
        for (int half = 0; half < 2; half++)
          _mm256_store_si256(reinterpret_cast<__m256i*>(signs[chunk][p] + 32 * half), sums[p][half]);
    }
  }

  // What the sums of a chunk start from.
  inline __attribute__((always_inline)) void start(int chunk, __m256i (&sums)[P][2]) const {
    if (job.plan->sharing) {
#pragma GCC unroll 6
      for (int p = 0; p < P; p++)
        for (int half = 0; half < 2; half++)
          sums[p][half] = _mm256_load_si256(reinterpret_cast<const __m256i*>(signs[chunk][p] + 32 * half));
    } else {
#pragma GCC unroll 6
      for (int p = 0; p < P; p++) sums[p][0] = sums[p][1] = _mm256_setzero_si256();
    }
  }

  // Codes of a plane, from sums of two parts (FITS: of the second alone). KIND: of the laws of noise
  template <int KIND>
  inline __attribute__((always_inline)) void convert(int plane, int at, const PairNoise* whole,
                                                     const __m256i (&low)[P][2], const __m256i (&sums)[P][2]) {
    __m256i room[2];  // 127 less the limits
    if (LIMITED)
      for (int half = 0; half < 2; half++)
        room[half] = _mm256_sub_epi8(
            _mm256_set1_epi8(127), _mm256_loadu_si256(reinterpret_cast<const __m256i*>(limits_of(job, plane, cb)) + half));
    const int turn = turn_of(plane);
#pragma GCC unroll 6
    for (int p = 0; p < P; p++) {
      uint64_t marked = 0;
#pragma GCC unroll 2
      for (int half = 0; half < 2; half++) {
        __m256i code = FITS ? sums[p][half] : low[p][half];
        if (NOISE == WHOLE) code = whole[p].template added<KIND>(half, plane, code);
        if (!FITS) code = _mm256_adds_epi8(code, sums[p][half]);
        if (LIMITED) {
          const __m256i step = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(nearer[p] + turn + 32 * half));
          const __m256i over = _mm256_adds_epu8(_mm256_adds_epu8(_mm256_abs_epi8(code), step), room[half]);
          marked |= static_cast<uint64_t>(static_cast<uint32_t>(_mm256_movemask_epi8(over))) << (32 * half);
        }
        _mm256_store_si256(reinterpret_cast<__m256i*>(codes[at][p] + 32 * half), code);
        if (REST) {
          _mm256_store_si256(reinterpret_cast<__m256i*>(parts[0][at][p] + 32 * half), low[p][half]);
          _mm256_store_si256(reinterpret_cast<__m256i*>(parts[1][at][p] + 32 * half), sums[p][half]);
        }
      }
      if (LIMITED) marks[at][p] = marked;
    }
  }

  inline void run() {
    const SerialPlan& plan = *job.plan;
    const uint8_t* idx = group;
    PairNoise whole[NOISE == WHOLE ? P : 1];
    if (NOISE == WHOLE)
      for (int p = 0; p < P; p++) whole[p].start(noise, pairs, p, cb);
    if (LIMITED)
      for (int p = 0; p < P; p++) classify(p);
    int waiting = 0;  // planes of the run
    for (int plane = 0; plane < plan.planes; plane++) {
      __m256i low[P][2], sums[P][2];
#pragma GCC unroll 6
      for (int p = 0; p < P; p++) low[p][0] = low[p][1] = sums[p][0] = sums[p][1] = _mm256_setzero_si256();
      if (plan.sharing && plane % plan.sharing == 0) {
        take_signs(idx);
        idx += plan.quads * WIDTH;
      }
      start(0, sums);
      for (int chunk = 0; chunk < plan.chunks; chunk++) {
        const int first = chunk * plan.chunk;
        const int count = plan.quads - first < plan.chunk ? plan.quads - first : plan.chunk;
        if (!FITS && chunk) start(chunk, sums);
        look_up<P, false>(idx, pairs.tables + first * TABLE_STEP, count, sums);
        idx += count * WIDTH;
        if (!FITS && chunk + 1 < plan.chunks)
#pragma GCC unroll 6
          for (int p = 0; p < P; p++) {
            low[p][0] = sums[p][0];
            low[p][1] = sums[p][1];
          }
      }
      switch (NOISE == WHOLE ? kind_of(noise.laws) : SAME) {
        case SAME: convert<SAME>(plane, waiting, whole, low, sums); break;
        case OWN: convert<OWN>(plane, waiting, whole, low, sums); break;
        default: convert<ANY>(plane, waiting, whole, low, sums);
      }
      waiting++;
      if (plan.run_factor[plane]) {
        if (pairs.reach > most_byte(*job.plan))
          finish<true>(codes, plane + 1 - waiting, waiting);
        else
          finish<false>(codes, plane + 1 - waiting, waiting);
        if (REST)
          for (const auto& part : parts) finish<false>(part, plane + 1 - waiting, waiting, -1);
        if (LIMITED) look(plane + 1 - waiting, waiting);
        waiting = 0;
      }
    }
  }
};

template <int P, bool FITS>
inline void in_bytes_of(const SerialJob& job, const Random& random, const uint8_t* idx, const Pairs& pairs,
                        int64_t cb) {
  const auto run = [&](auto block) { block.run(); };
  if (pairs.rest && FITS)
    return job.noise == WHOLE ? run(RestBlock<P, true>(job, random, pairs, cb, idx))
                              : run(RestBlock<P, false>(job, random, pairs, cb, idx));
  if (pairs.rest)
    return job.noise == WHOLE ? run(ByteBlock<P, WHOLE, false, false, true>(job, random, pairs, cb, idx))
                              : run(ByteBlock<P, QUIET, false, false, true>(job, random, pairs, cb, idx));
  if (job.limits) return run(ByteBlock<P, QUIET, true, FITS>(job, random, pairs, cb, idx));
  if (job.noise == WHOLE) return run(ByteBlock<P, WHOLE, false, FITS>(job, random, pairs, cb, idx));
  run(ByteBlock<P, QUIET, false, FITS>(job, random, pairs, cb, idx));
}

template <int P>
inline void in_bytes(const SerialJob& job, const Random& random, const uint8_t* idx, const Pairs& pairs, int64_t cb) {
  if (pairs.reach <= 127)
    in_bytes_of<P, true>(job, random, idx, pairs, cb);
  else
    in_bytes_of<P, false>(job, random, idx, pairs, cb);
}

#endif

}  // namespace serial
}  // namespace OHM_ISA
}  // namespace ohm
