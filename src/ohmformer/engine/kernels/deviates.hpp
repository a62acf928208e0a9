// A Gaussian for every output, rounded to whole numbers, and what outputs become of.
#pragma once
#include <cstdint>

#include "ars.hpp"
#include "gemm.hpp"
#include "pool.hpp"
#include "scratch.hpp"

namespace ohm {
namespace OHM_ISA {

constexpr int64_t NOISY_OUTPUTS = 32;    // eight blocks of random words
constexpr int64_t NOISY_ROWS = 16;       // at a time
constexpr int64_t CODES_TOGETHER = 4096;

// noise[m, n] = round(sd[m] * z), z the sum of four entries of the table; added to y, or, where whole numbers
// `values` are given, y = (values + noise) * row_scale * column_scale + bias (null: none).
inline void deviates(uint64_t seed, uint64_t stream, const int64_t* keys, int64_t rows, int64_t columns,
                     const float* table, const float* sd, float* y, const int32_t* values, const float* row_scale,
                     const float* column_scale, const float* bias, int threads) {
  const Ars ars(seed, stream);
  parallel(static_cast<long>((rows + NOISY_ROWS - 1) / NOISY_ROWS), threads, [&](long part) {
    alignas(32) uint32_t words[NOISY_OUTPUTS];
    alignas(32) float noise[NOISY_OUTPUTS];
    const int64_t last = smaller(rows, (part + 1) * NOISY_ROWS);
    for (int64_t m = part * NOISY_ROWS; m < last; m++)
      for (int64_t n = 0; n < columns; n += NOISY_OUTPUTS) {
        const int64_t here = smaller(NOISY_OUTPUTS, columns - n), place = m * columns + n;
        eight_blocks(ars, static_cast<uint64_t>(keys[m]), static_cast<uint64_t>(n / 4), words);
        for (int64_t i = 0; i < NOISY_OUTPUTS; i++) {
          const uint32_t w = words[i];
          noise[i] = table[w & 255] + table[w >> 8 & 255] + table[w >> 16 & 255] + table[w >> 24];
        }
        for (int64_t i = 0; i < NOISY_OUTPUTS; i++) noise[i] = __builtin_rintf(noise[i] * sd[m]);
        if (!values) {
          for (int64_t i = 0; i < here; i++) y[place + i] += noise[i];
          continue;
        }
        const float scale = row_scale[m];
        for (int64_t i = 0; i < here; i++)
          y[place + i] = (static_cast<float>(values[place + i]) + noise[i]) * scale * column_scale[n + i];
        if (bias)
          for (int64_t i = 0; i < here; i++) y[place + i] += bias[n + i];
      }
  });
}

// Codes of a packed operand at flat positions column * inner + element.
inline void codes_at(const int8_t* packed, int64_t inner, const int64_t* positions, int64_t count, int8_t* codes,
                     int threads) {
  parallel(static_cast<long>((count + CODES_TOGETHER - 1) / CODES_TOGETHER), threads, [&](long part) {
    const int64_t last = smaller(count, (part + 1) * CODES_TOGETHER);
    for (int64_t i = part * CODES_TOGETHER; i < last; i++) {
      const int64_t column = positions[i] / inner;
      codes[i] = code_at(packed, column, positions[i] - column * inner, inner);
    }
  });
}

}  // namespace OHM_ISA
}  // namespace ohm
