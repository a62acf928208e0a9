// Whole noise: numbers that are added to sums before these are converted, a byte of random bits for each.
#pragma once
#include <cstdint>

#include "digit_serial_noise.hpp"
#include "digit_serial_pack.hpp"

namespace ohm {
namespace OHM_ISA {
namespace serial {

#if defined(__AVX2__)

// Kinds of laws, from the one that is drawn fastest: noise of -1, 0 or 1 that is the same law for all conversions;
// laws that differ; any.
enum { SAME = 0, OWN = 1, ANY = 2 };

inline int kind_of(const WholeLaws& laws) { return laws.levels > 1 || !laws.centre ? ANY : laws.several ? OWN : SAME; }

// Random bytes of the conversions of a pair, and the law that makes them numbers.
struct PairNoise {
  const Noise* noise;
  const int16_t* law;  // [plane]
  __m256i counter;     // of plane 0
  __m256i shared[2], above[SERIAL_LEVELS][2], below[SERIAL_LEVELS][2];

  // same: the bytes that conversions of a group have in common are those of the pair before
  inline __attribute__((always_inline)) void start(const Noise& random, const Pairs& pairs, int p, int64_t cb,
                                                   bool same = false) {
    noise = &random;
    law = pairs.factor[p];
    counter = Noise::counter(pairs.key[p], pairs.slot[p] << 32 | static_cast<uint64_t>(cb * 4));
    if (same) return;
    const __m256i own =
        Noise::counter(pairs.key[p], SERIAL_SHARED | pairs.group_slot << 32 | static_cast<uint64_t>(cb * 4));
    for (int half = 0; half < 2; half++) shared[half] = random.bytes(own, half);
    if (random.laws.several) return;
    for (int k = 0; k < random.laws.levels; k++)
      for (int half = 0; half < 2; half++) {
        above[k][half] = bound(random.laws.bounds[static_cast<size_t>(k)], half);
        below[k][half] = _mm256_xor_si256(above[k][half], _mm256_set1_epi8(-1));
      }
  }
  // Whether the pair before is of the same row.
  static inline bool same(const Pairs& pairs, int p) { return p > 0 && pairs.key[p] == pairs.key[p - 1]; }

  // Of COUNT planes, both halves of the columns; the counter is that of the first of them.
  template <int COUNT>
  inline __attribute__((always_inline)) void bytes(__m256i first, __m256i (&random)[COUNT][2]) const {
    const __m256i step = _mm256_set_epi64x(1ll << 32, 0, 1ll << 32, 0);
#pragma GCC unroll 8
    for (int i = 0; i < COUNT; i++) {
      for (int half = 0; half < 2; half++) random[i][half] = _mm256_xor_si256(first, noise->first[half]);
      first = _mm256_add_epi64(first, step);
    }
#pragma GCC unroll 5
    for (int turn = 1; turn <= NOISE_ROUNDS; turn++)
#pragma GCC unroll 8
      for (int i = 0; i < COUNT; i++)
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++)
          random[i][half] = Noise::round(random[i][half], noise->keys[turn], turn == NOISE_ROUNDS);
  }
  // sums + the numbers of a plane
  template <int KIND>
  inline __attribute__((always_inline)) __m256i added(int half, int plane, __m256i sums) const {
    const __m256i here = _mm256_add_epi64(counter, Noise::counter(0, static_cast<uint64_t>(plane) << 32));
    return _mm256_add_epi8(sums, number<KIND>(half, plane, noise->bytes(here, half)));
  }
  // The numbers that random bytes stand for.
  template <int KIND>
  inline __attribute__((always_inline)) __m256i number(int half, int plane, __m256i random) const {
    const __m256i ones = _mm256_set1_epi8(-1);
    const bool own = KIND == OWN || (KIND == ANY && noise->laws.several);
    __m256i sum = _mm256_setzero_si256();
    if (KIND == ANY && !noise->laws.centre) sum = _mm256_cmpgt_epi8(sum, random);
    for (int k = 0; k < (KIND == ANY ? noise->laws.levels : 1); k++) {
      const __m256i high =
          own ? bound(noise->laws.bounds[static_cast<size_t>(law[plane] * noise->laws.levels + k)], half) : above[k][half];
      const __m256i low = own ? _mm256_xor_si256(high, ones) : below[k][half];
      const __m256i one = _mm256_sub_epi8(_mm256_cmpgt_epi8(low, random), _mm256_cmpgt_epi8(random, high));
      sum = KIND == ANY ? _mm256_add_epi8(sum, one) : one;
    }
    return sum;
  }

 private:
  inline __attribute__((always_inline)) __m256i bound(WholeLaws::Bound of_law, int half) const {
    return _mm256_add_epi8(_mm256_set1_epi8(of_law.most),
                           _mm256_cmpgt_epi8(_mm256_set1_epi8(of_law.part), shared[half]));
  }
};

#else

// Whole noise of 64 columns of one plane, in the order of bytes; shared: bytes that all conversions of a group have in common.
inline void whole_noise(const SerialJob& job, int number, const int8_t* bytes, const int8_t* shared, int32_t* sums) {
  for (int n = 0; n < WIDTH; n++) {
    if (!job.plan->centre && bytes[n] < 0) sums[n]--;
    for (int k = 0; k < job.plan->levels; k++) {
      const int32_t bound = job.whole[number * job.plan->levels + k];
      const int above = 127 - (bound >> 8) - (shared[n] < (bound & 255) - 128);
      sums[n] += (bytes[n] > above) - (bytes[n] < -1 - above);
    }
  }
}

#endif

}  // namespace serial
}  // namespace OHM_ISA
}  // namespace ohm
