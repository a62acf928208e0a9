// Digit-serial products whose codes are the sums themselves, clipped: conversions in 8 bits, 32 at once.
//
// REST: not codes are added up, but what clipping takes from them (digit_serial_rest.hpp).
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

inline int most_code(const SerialJob& job) { return job.plan->max_code < 127 ? job.plan->max_code : 127; }

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
  alignas(32) int8_t codes[MOST_PLANES][P][WIDTH];  // of the planes of a run, not yet clipped
  alignas(32) int8_t parts[REST && !FITS ? 2 : 1][REST && !FITS ? MOST_PLANES : 1][P][WIDTH];  // which codes are sums of
  alignas(32) int8_t signs[FITS ? 1 : 2][P][WIDTH];  // of the chunks
  uint64_t marks[LIMITED ? MOST_PLANES : 1][P];
  alignas(32) uint8_t classes[LIMITED ? P : 1][WIDTH], nearer[LIMITED ? P : 1][2 * WIDTH];  // the latter twice

  ByteBlock(const SerialJob& given, const Noise& random, const Ars& of_alone, const Pairs& of, int64_t block,
            const uint8_t* switches)
      : job(given), noise(random), alone(of_alone), pairs(of), cb(block), group(switches) {}

  // Sums of 16 bits of the COUNT planes of a run (0: of count), half of the columns of a pair.
  template <bool CLIPS, int COUNT>
  inline __attribute__((always_inline)) void weigh(const int8_t (*from)[P][WIDTH], int p, int half, const __m256i* weights,
                                                   uint64_t negative, int count, __m256i most,
                                                   __m256i (&total)[2]) const {
    const __m256i zero = _mm256_setzero_si256(), least = _mm256_sub_epi8(zero, most);
    const auto code = [&](int plane) {
      __m256i sum = _mm256_load_si256(reinterpret_cast<const __m256i*>(from[plane][p] + 32 * half));
      const __m256i whole = sum;
      if (CLIPS) sum = _mm256_max_epi8(_mm256_min_epi8(sum, most), least);
      if (REST && FITS) sum = _mm256_sub_epi8(sum, whole);
      return __builtin_expect(negative >> plane & 1, 0) ? _mm256_sub_epi8(zero, sum) : sum;
    };
    total[0] = total[1] = zero;
    if (COUNT) count = COUNT;
#pragma GCC unroll 4
    for (int plane = 0; plane < count; plane += 2) {
      const __m256i a = code(plane), b = plane + 1 < count ? code(plane + 1) : zero;
      total[0] = _mm256_add_epi16(total[0], _mm256_maddubs_epi16(weights[plane / 2], _mm256_unpacklo_epi8(a, b)));
      total[1] = _mm256_add_epi16(total[1], _mm256_maddubs_epi16(weights[plane / 2], _mm256_unpackhi_epi8(a, b)));
    }
  }

  // Weighted codes of planes first ... first + count - 1 go to the sums of the rows, `times` times.
  template <bool CLIPS, int COUNT>
  inline void finish_run(const int8_t (*from)[P][WIDTH], int first, int count, int32_t times) const {
    const int16_t* weight = job.plan->plane_weight + first;
    const int32_t factor = job.plan->run_factor[first + count - 1] * times;
    const __m256i most = _mm256_set1_epi8(static_cast<char>(most_code(job)));
    __m256i weights[(MOST_PLANES + 1) / 2];
    uint64_t negative = 0;
    for (int plane = 0; plane < count; plane += 2) {
      const int here = weight[plane], next = plane + 1 < count ? weight[plane + 1] : 0;
      weights[plane / 2] =
          _mm256_set1_epi16(static_cast<int16_t>((here < 0 ? -here : here) | (next < 0 ? -next : next) << 8));
      negative |= static_cast<uint64_t>((here < 0) | (next < 0) << 1) << plane;
    }
    for (int p = 0; p < P;) {
      const bool two = p + 1 < P && pairs.sums[p] == pairs.sums[p + 1];
      const int32_t one = pairs.weight[p] * factor, other = two ? pairs.weight[p + 1] * factor : 0;
      for (int half = 0; half < 2; half++) {
        __m256i total[2], next[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
        weigh<CLIPS, COUNT>(from, p, half, weights, negative, count, most, total);
        if (two) weigh<CLIPS, COUNT>(from, p + 1, half, weights, negative, count, most, next);
        for (int i = 0; i < 2; i++)
          add_weighted(total[i], one, next[i], other, pairs.sums[p] + 32 * half + 16 * i);
      }
      p += two ? 2 : 1;
    }
  }
  template <bool CLIPS>
  inline void finish(const int8_t (*from)[P][WIDTH], int first, int count, int32_t times = 1) const {
    switch (P == MOST_PAIRS ? count : 0) {
      case 6: return finish_run<CLIPS, 6>(from, first, count, times);
      case 8: return finish_run<CLIPS, 8>(from, first, count, times);
      default: return finish_run<CLIPS, 0>(from, first, count, times);
    }
  }

  // Conversions of a run that wires may change: their codes are put right in the sums of the row.
  __attribute__((noinline)) void look(int first, int count) const {
    const SerialPlan& plan = *job.plan;
    const int most = most_code(job);
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

  inline void run() {
    const SerialPlan& plan = *job.plan;
    const uint8_t* idx = group;
    WholeNoise<P> whole(job, noise, pairs, cb, NOISE == WHOLE);
    if (LIMITED)
      for (int p = 0; p < P; p++) classify(p);
    int waiting = 0;  // planes of the run
    for (int plane = 0; plane < plan.planes; plane++) {
      __m256i low[P][2], sums[P][2];
      if (plan.sharing && plane % plan.sharing == 0) {
        take_signs(idx);
        idx += plan.quads * WIDTH;
      }
      start(0, sums);
      if (!FITS)
        for (int p = 0; p < P; p++) low[p][0] = low[p][1] = _mm256_setzero_si256();
      if (NOISE == WHOLE) whole.draw(plane, sums);
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
          const __m256i code = FITS ? sums[p][half] : _mm256_adds_epi8(low[p][half], sums[p][half]);
          if (LIMITED) {
            const __m256i step = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(nearer[p] + turn + 32 * half));
            const __m256i over = _mm256_adds_epu8(_mm256_adds_epu8(_mm256_abs_epi8(code), step), room[half]);
            marked |= static_cast<uint64_t>(static_cast<uint32_t>(_mm256_movemask_epi8(over))) << (32 * half);
          }
          _mm256_store_si256(reinterpret_cast<__m256i*>(codes[waiting][p] + 32 * half), code);
          if (REST && !FITS) {
            _mm256_store_si256(reinterpret_cast<__m256i*>(parts[0][waiting][p] + 32 * half), low[p][half]);
            _mm256_store_si256(reinterpret_cast<__m256i*>(parts[1][waiting][p] + 32 * half), sums[p][half]);
          }
        }
        if (LIMITED) marks[waiting][p] = marked;
      }
      waiting++;
      if (plan.run_factor[plane]) {
        if (REST || pairs.reach > most_code(job))
          finish<true>(codes, plane + 1 - waiting, waiting);
        else
          finish<false>(codes, plane + 1 - waiting, waiting);
        if (REST && !FITS)
          for (const auto& part : parts) finish<false>(part, plane + 1 - waiting, waiting, -1);
        if (LIMITED) look(plane + 1 - waiting, waiting);
        waiting = 0;
      }
    }
  }
};

template <int P, bool FITS>
inline void in_bytes_of(const SerialJob& job, const Noise& noise, const Ars& alone, const uint8_t* idx,
                        const Pairs& pairs, int64_t cb) {
  if (pairs.rest) return ByteBlock<P, QUIET, false, FITS, true>(job, noise, alone, pairs, cb, idx).run();
  if (job.limits) return ByteBlock<P, QUIET, true, FITS>(job, noise, alone, pairs, cb, idx).run();
  if (job.noise == WHOLE) return ByteBlock<P, WHOLE, false, FITS>(job, noise, alone, pairs, cb, idx).run();
  ByteBlock<P, QUIET, false, FITS>(job, noise, alone, pairs, cb, idx).run();
}

template <int P>
inline void in_bytes(const SerialJob& job, const Noise& noise, const Ars& alone, const uint8_t* idx,
                     const Pairs& pairs, int64_t cb) {
  if (pairs.reach <= 127)
    in_bytes_of<P, true>(job, noise, alone, idx, pairs, cb);
  else
    in_bytes_of<P, false>(job, noise, alone, idx, pairs, cb);
}

#endif

}  // namespace serial
}  // namespace OHM_ISA
}  // namespace ohm
