// Symmetric quantisation, the same numbers as numerals/quantise.py in float32.
#pragma once
#include <cstdint>
#include <cstring>

#include "scratch.hpp"

namespace ohm {
namespace OHM_ISA {

constexpr float TINY = 1.1754943508222875e-38f;  // smallest normal number

inline float rounded(float value) { return __builtin_rintf(value); }  // half to even

// Largest magnitude of a row, by its bit patterns (they order like the numbers); NaN comes out as NaN.
inline float largest_magnitude(const float* x, int64_t count, int64_t step) {
  int32_t most = 0;
  if (step == 1) {
    for (int64_t i = 0; i < count; i++) {
      int32_t bits;
      std::memcpy(&bits, x + i, 4);
      bits &= 0x7fffffff;
      most = bits > most ? bits : most;
    }
  } else {
    for (int64_t i = 0; i < count; i++) {
      int32_t bits;
      std::memcpy(&bits, x + i * step, 4);
      bits &= 0x7fffffff;
      most = bits > most ? bits : most;
    }
  }
  float found;
  std::memcpy(&found, &most, 4);
  return found;
}

inline float scale_of(float largest, int highest) {
  if (largest == 0.0f) return 1.0f;
  float scale = largest / static_cast<float>(highest);
  return scale < TINY ? TINY : scale;
}

// code = round(x / scale) of contiguous numbers, into any integer type, plus an offset; `clip` > 0 limits it.
template <typename T>
inline void codes_of(const float* __restrict x, int64_t count, float scale, T* __restrict codes, int offset,
                     float clip) {
  if (clip > 0) {
    for (int64_t i = 0; i < count; i++) {
      float code = x[i] / scale;
      code = code > clip ? clip : code;
      code = code < -clip ? -clip : code;
      codes[i] = static_cast<T>(static_cast<int32_t>(rounded(code)) + offset);
    }
  } else {
    for (int64_t i = 0; i < count; i++)
      codes[i] = static_cast<T>(static_cast<int32_t>(rounded(x[i] / scale)) + offset);
  }
}

}  // namespace OHM_ISA
}  // namespace ohm
