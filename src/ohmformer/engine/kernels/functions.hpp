// The function unit, softmax and norms; the same arithmetic, step by step, as the room `functions`.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "pool.hpp"
#include "quantise.hpp"
#include "table.hpp"

namespace ohm {
namespace OHM_ISA {

enum Kind { EXP, RECIPROCAL, RSQRT, RECTIFIER_MINUS_TABLE, SIGMOID, TANH };

constexpr int64_t STRIP = 256;
constexpr float LOG2_E = 1.4426950408889634f;

// Interpolated values of `count` <= STRIP reduced arguments, in place.
inline void interpolate(const Curve& curve, float* __restrict u, int64_t count) {
  int32_t index[STRIP];
  float value[STRIP], rise[STRIP];
  const float low = curve.low, per_unit = curve.per_unit, most = static_cast<float>(curve.segments);
  const int32_t segments = curve.segments;
  for (int64_t i = 0; i < count; i++) {
    float position = (u[i] - low) * per_unit;
    position = position > most ? most : position;
    int32_t at = static_cast<int32_t>(position);
    at = at < 0 ? 0 : at;
    at = at > segments ? segments : at;
    u[i] = position;
    index[i] = at;
  }
  for (int64_t i = 0; i < count; i++) {
    value[i] = curve.values[index[i]];
    rise[i] = curve.rises[index[i]];
  }
  for (int64_t i = 0; i < count; i++) u[i] = (u[i] - static_cast<float>(index[i])) * rise[i] + value[i];
}

inline float to_grid(float value, const Curve& curve) { return __builtin_rintf(value * curve.up) * curve.down; }

// 2^k * T(f) of x / ln 2 = k + f, in place.
inline void exponential(const Curve& curve, float* __restrict x, int64_t count) {
  float power[STRIP];
  for (int64_t i = 0; i < count; i++) {
    float scaled = x[i] * LOG2_E;
    scaled = scaled < curve.floor ? curve.floor : scaled;
    scaled = scaled > 100.0f ? 100.0f : scaled;
    const float whole = __builtin_floorf(scaled);
    const int32_t bits = (static_cast<int32_t>(whole) + 127) * (1 << 23);
    std::memcpy(power + i, &bits, 4);
    x[i] = scaled - whole;
  }
  interpolate(curve, x, count);
  for (int64_t i = 0; i < count; i++) x[i] = to_grid(x[i] * power[i], curve);
}

inline float reciprocal_of(const Curve& curve, float x) {
  int exponent;
  float u = std::frexp(std::fabs(x), &exponent) * 2;
  interpolate(curve, &u, 1);
  float result = std::ldexp(to_grid(u, curve), 1 - exponent);
  if (x == 0) result = INFINITY;
  if (std::isinf(x)) result = 0.0f;
  return std::copysign(result, x);
}

inline float rsqrt_of(const Curve& curve, float x) {
  if (x < 0 || x != x) return NAN;
  if (x == 0) return INFINITY;
  if (std::isinf(x)) return 0.0f;
  int exponent;
  const float mantissa = std::frexp(x, &exponent);
  const int odd = exponent & 1;
  float u = mantissa * static_cast<float>(4 - 2 * odd);
  interpolate(curve, &u, 1);
  return std::ldexp(to_grid(u, curve), 1 - (exponent + odd) / 2);
}

inline void function_strip(const Curve& curve, const float* __restrict x, float* __restrict y, int64_t count) {
  if (curve.kind == EXP) {
    std::memcpy(y, x, count * sizeof(float));
    exponential(curve, y, count);
    return;
  }
  for (int64_t i = 0; i < count; i++) y[i] = __builtin_fabsf(x[i]);
  interpolate(curve, y, count);
  if (curve.kind == RECTIFIER_MINUS_TABLE) {
    for (int64_t i = 0; i < count; i++) y[i] = (x[i] < 0 ? 0.0f : x[i]) - to_grid(y[i], curve);
  } else if (curve.kind == SIGMOID) {
    for (int64_t i = 0; i < count; i++) {
      const float tail = to_grid(y[i], curve);
      y[i] = x[i] > 0 ? 1.0f - tail : tail;
    }
  } else {
    for (int64_t i = 0; i < count; i++) y[i] = __builtin_copysignf(to_grid(y[i], curve), x[i]);
  }
}

inline void function(const Curve& curve, const float* x, float* y, int64_t count, int threads) {
  constexpr int64_t BLOCK = 1 << 14;
  parallel((count + BLOCK - 1) / BLOCK, threads, [&](long part) {
    const int64_t end = smaller((part + 1) * BLOCK, count);
    for (int64_t i = part * BLOCK; i < end; i += STRIP) function_strip(curve, x + i, y + i, smaller(STRIP, end - i));
  });
}

// Largest number of a row; NaN where there is a (positive) NaN.
inline float largest_of(const float* x, int64_t count) {
  int32_t most = INT32_MIN;
  for (int64_t i = 0; i < count; i++) {
    int32_t bits;
    std::memcpy(&bits, x + i, 4);
    bits ^= (bits >> 31) & 0x7fffffff;
    most = bits > most ? bits : most;
  }
  most ^= (most >> 31) & 0x7fffffff;
  float found;
  std::memcpy(&found, &most, 4);
  return found;
}

// Sum of the codes of a row, scaled back: a product with ones.
inline float row_sum(const float* x, int64_t count, int highest) {
  const float scale = scale_of(largest_magnitude(x, count, 1), highest);
  int64_t total = 0;
  for (int64_t start = 0; start < count; start += 1 << 16) {
    const int64_t end = smaller(start + (1 << 16), count);
    int32_t part = 0;
    for (int64_t i = start; i < end; i++) part += static_cast<int32_t>(rounded(x[i] / scale));
    total += part;
  }
  return static_cast<float>(total) * scale;
}

// Sum of the squared codes of a row, scaled back: a row streamed past itself.
inline float row_dot(const float* x, int64_t count, int highest) {
  const float scale = scale_of(largest_magnitude(x, count, 1), highest);
  int64_t total = 0;
  for (int64_t start = 0; start < count; start += 1 << 16) {
    const int64_t end = smaller(start + (1 << 16), count);
    int32_t part = 0;  // 2^16 squares of at most 127^2 stay below 2^31
    for (int64_t i = start; i < end; i++) {
      const int32_t code = static_cast<int32_t>(rounded(x[i] / scale));
      part += code * code;
    }
    total += part;
  }
  return static_cast<float>(total) * scale * scale;
}

inline void softmax(const float* x, float* y, int64_t rows, int64_t inner, const Curve& exponential_curve,
                    const Curve& reciprocal_curve, int highest, int threads) {
  const int64_t block = 1 + (1 << 13) / (inner + 1);
  parallel((rows + block - 1) / block, threads, [&](long part) {
    for (int64_t m = part * block; m < smaller((part + 1) * block, rows); m++) {
      const float* from = x + m * inner;
      float* to = y + m * inner;
      const float largest = largest_of(from, inner);
      for (int64_t i = 0; i < inner; i++) to[i] = from[i] - largest;
      for (int64_t i = 0; i < inner; i += STRIP) exponential(exponential_curve, to + i, smaller(STRIP, inner - i));
      float total = row_sum(to, inner, highest);
      total = total < 1.0f ? 1.0f : total;
      const float share = reciprocal_of(reciprocal_curve, total);
      for (int64_t i = 0; i < inner; i++) to[i] *= share;
    }
  });
}

inline void layer_norm(const float* x, const float* gain, const float* shift, float* y, int64_t rows,
                       int64_t inner, float eps, const Curve& curve, int highest, int threads) {
  const int64_t block = 1 + (1 << 14) / (inner + 1);
  const float count = static_cast<float>(inner);
  parallel((rows + block - 1) / block, threads, [&](long part) {
    for (int64_t m = part * block; m < smaller((part + 1) * block, rows); m++) {
      const float* from = x + m * inner;
      float* to = y + m * inner;
      const float mean = row_sum(from, inner, highest) / count;
      for (int64_t i = 0; i < inner; i++) to[i] = from[i] - mean;
      float square = row_dot(to, inner, highest);
      square = square < 0 ? 0.0f : square;
      const float scale = rsqrt_of(curve, square / count + eps);
      for (int64_t i = 0; i < inner; i++) to[i] *= scale;
      if (gain)
        for (int64_t i = 0; i < inner; i++) to[i] *= gain[i];
      if (shift)
        for (int64_t i = 0; i < inner; i++) to[i] += shift[i];
    }
  });
}

inline void rms_norm(const float* x, const float* gain, float* y, int64_t rows, int64_t inner, float eps,
                     const Curve& curve, int highest, int threads) {
  const int64_t block = 1 + (1 << 14) / (inner + 1);
  const float count = static_cast<float>(inner);
  parallel((rows + block - 1) / block, threads, [&](long part) {
    for (int64_t m = part * block; m < smaller((part + 1) * block, rows); m++) {
      const float* from = x + m * inner;
      float* to = y + m * inner;
      float square = row_dot(from, inner, highest);
      square = square < 0 ? 0.0f : square;
      const float scale = rsqrt_of(curve, square / count + eps);
      for (int64_t i = 0; i < inner; i++) to[i] = from[i] * scale;
      if (gain)
        for (int64_t i = 0; i < inner; i++) to[i] *= gain[i];
    }
  });
}

}  // namespace OHM_ISA
}  // namespace ohm
