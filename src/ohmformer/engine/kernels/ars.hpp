// Counter-based random numbers: ARS with seven rounds, the same bits as engine/randomness.py.
#pragma once
#include <cstdint>
#include <cstring>
#if defined(__AES__)
#include <immintrin.h>
#endif

namespace ohm {
namespace OHM_ISA {

constexpr int ARS_ROUNDS = 7;
constexpr uint64_t WEYL_LOW = 0x9E3779B97F4A7C15ull, WEYL_HIGH = 0xBB67AE8584CAA73Bull;

#if defined(__AES__)

struct Ars {
  __m128i keys[ARS_ROUNDS + 1];

  Ars(uint64_t seed, uint64_t stream) {
    for (int turn = 0; turn <= ARS_ROUNDS; turn++)
      keys[turn] = _mm_set_epi64x(static_cast<long long>(stream + turn * WEYL_HIGH),
                                  static_cast<long long>(seed + turn * WEYL_LOW));
  }
  __m128i block(uint64_t row, uint64_t number) const {
    __m128i state = _mm_xor_si128(
        _mm_set_epi64x(static_cast<long long>(number), static_cast<long long>(row)), keys[0]);
    for (int turn = 1; turn < ARS_ROUNDS; turn++) state = _mm_aesenc_si128(state, keys[turn]);
    return _mm_aesenclast_si128(state, keys[ARS_ROUNDS]);
  }
  void words(uint64_t row, uint64_t number, uint32_t* out) const {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), block(row, number));
  }
};

#else

// Plain AES rounds from tables made at first use.
struct AesTables {
  uint8_t box[256];
  uint32_t round[4][256];
  AesTables() {
    uint8_t p = 1, q = 1;
    std::memset(box, 0x63, sizeof box);
    do {
      p = static_cast<uint8_t>(p ^ (p << 1) ^ (p & 0x80 ? 0x1B : 0));
      q = static_cast<uint8_t>(q ^ (q << 1));
      q = static_cast<uint8_t>(q ^ (q << 2));
      q = static_cast<uint8_t>(q ^ (q << 4));
      if (q & 0x80) q ^= 0x09;
      uint8_t value = 0x63, turned = q;
      for (int i = 0; i < 5; i++) {
        value ^= turned;
        turned = static_cast<uint8_t>((turned << 1) | (turned >> 7));
      }
      box[p] = value;
    } while (p != 1);
    for (int i = 0; i < 256; i++) {
      uint32_t one = box[i], two = ((one << 1) ^ (one & 0x80 ? 0x11B : 0)) & 0xFF, three = two ^ one;
      round[0][i] = two | one << 8 | one << 16 | three << 24;
      round[1][i] = three | two << 8 | one << 16 | one << 24;
      round[2][i] = one | three << 8 | two << 16 | one << 24;
      round[3][i] = one | one << 8 | three << 16 | two << 24;
    }
  }
  static const AesTables& get() {
    static const AesTables only;
    return only;
  }
};

struct Ars {
  uint32_t keys[ARS_ROUNDS + 1][4];
  const AesTables& tables = AesTables::get();

  Ars(uint64_t seed, uint64_t stream) {
    for (int turn = 0; turn <= ARS_ROUNDS; turn++) {
      uint64_t low = seed + turn * WEYL_LOW, high = stream + turn * WEYL_HIGH;
      keys[turn][0] = static_cast<uint32_t>(low);
      keys[turn][1] = static_cast<uint32_t>(low >> 32);
      keys[turn][2] = static_cast<uint32_t>(high);
      keys[turn][3] = static_cast<uint32_t>(high >> 32);
    }
  }
  void words(uint64_t row, uint64_t number, uint32_t* out) const {
    uint32_t state[4] = {static_cast<uint32_t>(row), static_cast<uint32_t>(row >> 32),
                         static_cast<uint32_t>(number), static_cast<uint32_t>(number >> 32)};
    for (int c = 0; c < 4; c++) state[c] ^= keys[0][c];
    for (int turn = 1; turn <= ARS_ROUNDS; turn++) {
      uint32_t next[4];
      for (int c = 0; c < 4; c++) {
        uint32_t value = keys[turn][c];
        for (int r = 0; r < 4; r++) {
          uint8_t byte = static_cast<uint8_t>(state[(c + r) % 4] >> (8 * r));
          value ^= turn == ARS_ROUNDS ? static_cast<uint32_t>(tables.box[byte]) << (8 * r)
                                      : tables.round[r][byte];
        }
        next[c] = value;
      }
      std::memcpy(state, next, sizeof state);
    }
    std::memcpy(out, state, sizeof state);
  }
};

#endif

// Blocks first ... first + 7 of a row.
inline void eight_blocks(const Ars& ars, uint64_t row, uint64_t first, uint32_t* out) {
#if defined(__AES__)
  __m128i state[8];
  for (int i = 0; i < 8; i++)
    state[i] = _mm_xor_si128(
        _mm_set_epi64x(static_cast<long long>(first + i), static_cast<long long>(row)), ars.keys[0]);
  for (int turn = 1; turn < ARS_ROUNDS; turn++)
    for (int i = 0; i < 8; i++) state[i] = _mm_aesenc_si128(state[i], ars.keys[turn]);
  for (int i = 0; i < 8; i++)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out) + i, _mm_aesenclast_si128(state[i], ars.keys[ARS_ROUNDS]));
#else
  for (int i = 0; i < 8; i++) ars.words(row, first + i, out + 4 * i);
#endif
}

}  // namespace OHM_ISA
}  // namespace ohm
