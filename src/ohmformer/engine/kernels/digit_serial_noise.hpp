// Random bits of digit-serial products, five rounds of ARS, and the deviates made of them.
#pragma once
#include <cstdint>
#include <cstring>
#include <vector>

#include "ars.hpp"
#include "digit_serial_pack.hpp"

namespace ohm {
namespace OHM_ISA {
namespace serial {

#if defined(__AVX2__)

// Thresholds of every law and level in bytes: a random byte beyond `most` is beyond the threshold, or, where the byte
// that all planes share is below `part`, one beyond `most - 1`.
struct WholeLaws {
  struct Bound {
    int8_t most, part;
  };
  std::vector<Bound> bounds;  // [law, level]
  int levels = 0;
  bool several = false;  // laws
  bool centre = true;    // whether noise rounds to nearest

  explicit WholeLaws(const SerialJob& job) {
    if (job.noise != WHOLE) return;
    levels = job.plan->levels;
    several = job.mismatch > 0;
    centre = job.plan->centre;
    for (int64_t i = 0; i < static_cast<int64_t>(several ? SERIAL_LAWS : 1) * levels; i++)
      bounds.push_back({static_cast<int8_t>(127 - (job.whole[i] >> 8)), static_cast<int8_t>((job.whole[i] & 255) - 128)});
  }
};

// Five rounds of ARS for 64 columns, eight blocks of one row, and the deviates made of them. All steps are taken
// four vectors at a time: one after the other they would wait for each other.
struct Noise {
  __m256i first[4];                 // first key and the last bits of the counters
  __m256i keys[NOISE_ROUNDS + 1];   // the same in either lane
  __m256i low, high;                // points
  const WholeLaws laws;

  Noise(const SerialJob& job) : laws(job) {
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
  // 32 random bytes, half of those of 64 columns; the counter is that of four blocks.
  inline __attribute__((always_inline)) __m256i bytes(__m256i counters, int half) const {
    __m256i state = _mm256_xor_si256(counters, first[half]);
#pragma GCC unroll 5
    for (int turn = 1; turn <= NOISE_ROUNDS; turn++) state = round(state, keys[turn], turn == NOISE_ROUNDS);
    return state;
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
  void block(uint64_t row, uint64_t number, uint32_t (&state)[4]) const {
    const uint32_t counter[4] = {static_cast<uint32_t>(row), static_cast<uint32_t>(row >> 32),
                                 static_cast<uint32_t>(number), static_cast<uint32_t>(number >> 32)};
    std::memcpy(state, counter, 16);
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
  }
  // 64 random bytes of four blocks.
  void bytes(uint64_t row, uint64_t number, int8_t* out) const {
    for (int i = 0; i < 4; i++) {
      uint32_t state[4];
      block(row, number + static_cast<uint64_t>(i), state);
      for (int n = 0; n < 16; n++) out[16 * i + n] = static_cast<int8_t>(state[n / 4] >> (8 * (n % 4)));
    }
  }
  void deviates(uint64_t row, uint64_t number, int32_t* z) const {
    uint32_t state[4];
    block(row, number, state);
    for (int i = 0; i < 8; i++) {
      const uint32_t two = state[i / 2] >> (16 * (i % 2));
      z[i] = SERIAL_BYTE0 * (points[two & 15] + points[16 + (two >> 4 & 15)]) +
             SERIAL_BYTE1 * (points[two >> 8 & 15] + points[16 + (two >> 12 & 15)]);
    }
  }
};

#endif

}  // namespace serial
}  // namespace OHM_ISA
}  // namespace ohm
