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

// Whole numbers of a function: 32 bits, or 64 for more fraction bits or segments (Curve::wide).
struct Narrow {
  using Signed = int32_t;
  using Unsigned = uint32_t;
  static constexpr int BITS = 32;
};
struct Wide {
  using Signed = int64_t;
  using Unsigned = uint64_t;
  static constexpr int BITS = 64;
};

// ``value``, or ``argument`` where that is no number; without a jump, so that it is done for many at once.
inline float unless_nan(float argument, float value) {
  int32_t from, to;
  std::memcpy(&from, &argument, 4);
  std::memcpy(&to, &value, 4);
  const int32_t kept = -static_cast<int32_t>((from & 0x7fffffff) > 0x7f800000);
  to = (from & kept) | (to & ~kept);
  std::memcpy(&value, &to, 4);
  return value;
}

// value / 2^places, rounded half to even; 0 <= places < bits of a word.
template <class Unsigned>
inline Unsigned half_even(Unsigned value, Unsigned places) {
  const Unsigned one = 1, some = places != 0, half = (one << places) >> 1;
  return (value + half - some + (value >> places & some)) >> places;
}

// Interpolated values in 2^-(fraction_bits + POSITION_BITS) at places of `count` <= STRIP arguments, whole and >= 0.
template <class Word>
inline void interpolate(const Curve& curve, const typename Word::Signed* __restrict place,
                        typename Word::Unsigned* __restrict found, int64_t count) {
  using Signed = typename Word::Signed;
  using Unsigned = typename Word::Unsigned;
  int32_t value[STRIP], rise[STRIP];
  for (int64_t i = 0; i < count; i++) {
    const int32_t at = static_cast<int32_t>(place[i] >> POSITION_BITS);
    value[i] = curve.values[at];
    rise[i] = curve.rises[at];
  }
  constexpr Signed mask = (1 << POSITION_BITS) - 1;
  for (int64_t i = 0; i < count; i++)
    found[i] = (static_cast<Unsigned>(value[i]) << POSITION_BITS) +
               static_cast<Unsigned>(static_cast<Signed>(rise[i]) * (place[i] & mask));
}

// Rounded values, in 2^-fraction_bits, of reduced arguments u >= low; 0 for NaN.
template <class Word>
inline void table_values(const Curve& curve, const float* __restrict u, int32_t* __restrict y, int64_t count) {
  typename Word::Signed place[STRIP];
  typename Word::Unsigned found[STRIP];
  const double low = curve.low, per_unit = curve.per_unit;
  const double most = static_cast<double>(curve.segments) * (1 << POSITION_BITS);
  for (int64_t i = 0; i < count; i++) {
    double at = (static_cast<double>(u[i]) - low) * per_unit + 0.5;
    at = at < most ? at : most;  // NaN too
    place[i] = static_cast<typename Word::Signed>(at);
  }
  interpolate<Word>(curve, place, found, count);
  constexpr typename Word::Unsigned places = POSITION_BITS;
  for (int64_t i = 0; i < count; i++) y[i] = static_cast<int32_t>(half_even(found[i], places));
}

inline void table_strip(const Curve& curve, const float* __restrict u, int32_t* __restrict y, int64_t count) {
  if (curve.wide)
    table_values<Wide>(curve, u, y, count);
  else
    table_values<Narrow>(curve, u, y, count);
}

inline float table_value(const Curve& curve, float u) {
  int32_t found;
  table_strip(curve, &u, &found, 1);
  return static_cast<float>(found) * curve.down;
}

// 2^k * T(f) of x * LOG2_E = k + f, in place.
template <class Word>
inline void exponential_values(const Curve& curve, float* __restrict x, int64_t count) {
  using Signed = typename Word::Signed;
  using Unsigned = typename Word::Unsigned;
  Signed place[STRIP], whole[STRIP];
  Unsigned found[STRIP];
  int32_t power[STRIP];
  const int octave_bits = curve.segment_bits + POSITION_BITS;
  const double octave = static_cast<double>(static_cast<int64_t>(1) << octave_bits);
  const double per_unit = curve.per_unit, least = curve.floor * octave, most = 100.0 * octave;
  const float down = curve.down;
  const Signed mask = (static_cast<Signed>(1) << octave_bits) - 1;
  double at[STRIP];
  int above = 0;
  for (int64_t i = 0; i < count; i++) {
    const double scaled = static_cast<double>(x[i]) * per_unit - 0.5;
    const double high = scaled > least ? scaled : least;  // NaN too
    at[i] = high < most ? high : most;
  }
  for (int64_t i = 0; i < count; i++) above |= x[i] > 0;
  if (above)
    for (int64_t i = 0; i < count; i++) at[i] = __builtin_ceil(at[i]);
  for (int64_t i = 0; i < count; i++) place[i] = static_cast<Signed>(at[i]);  // up, below 0
  for (int64_t i = 0; i < count; i++) {
    whole[i] = place[i] >> octave_bits;
    place[i] &= mask;
  }
  interpolate<Word>(curve, place, found, count);
  const Signed last = Word::BITS - 1;
  for (int64_t i = 0; i < count; i++) {
    const Signed lifted = whole[i] > POSITION_BITS ? whole[i] - POSITION_BITS : 0;
    const Signed places = POSITION_BITS - (whole[i] - lifted);
    const Unsigned kept = static_cast<Unsigned>(places > last ? last : places);
    const Unsigned rounded = half_even(found[i], kept);
    found[i] = places > last ? 0 : rounded;
    power[i] = static_cast<int32_t>(lifted + 127) * (1 << 23);
  }
  for (int64_t i = 0; i < count; i++) {
    float lift;
    std::memcpy(&lift, power + i, 4);
    x[i] = unless_nan(x[i], static_cast<float>(static_cast<Signed>(found[i])) * (down * lift));
  }
}

inline void exponential(const Curve& curve, float* __restrict x, int64_t count) {
  if (curve.wide)
    exponential_values<Wide>(curve, x, count);
  else
    exponential_values<Narrow>(curve, x, count);
}

inline float reciprocal_of(const Curve& curve, float x) {
  int exponent;
  const float mantissa = std::frexp(std::fabs(x), &exponent);
  if (x != x) return x;
  if (x == 0) return std::copysign(INFINITY, x);
  if (std::isinf(x)) return std::copysign(0.0f, x);
  return std::copysign(std::ldexp(table_value(curve, mantissa * 2), 1 - exponent), x);
}

inline float rsqrt_of(const Curve& curve, float x) {
  if (x < 0 || x != x) return NAN;
  if (x == 0) return INFINITY;
  if (std::isinf(x)) return 0.0f;
  int exponent;
  const float mantissa = std::frexp(x, &exponent);
  const int odd = exponent & 1;
  return std::ldexp(table_value(curve, mantissa * 2 - static_cast<float>(odd)), 1 - (exponent + odd) / 2);
}

inline void function_strip(const Curve& curve, const float* __restrict x, float* __restrict y, int64_t count) {
  if (curve.kind == EXP) {
    std::memcpy(y, x, count * sizeof(float));
    exponential(curve, y, count);
    return;
  }
  float size[STRIP];
  int32_t found[STRIP];
  for (int64_t i = 0; i < count; i++) size[i] = __builtin_fabsf(x[i]);
  table_strip(curve, size, found, count);
  const float down = curve.down;
  for (int64_t i = 0; i < count; i++) size[i] = unless_nan(size[i], static_cast<float>(found[i]) * down);
  if (curve.kind == RECTIFIER_MINUS_TABLE) {
    for (int64_t i = 0; i < count; i++) y[i] = (x[i] < 0 ? 0.0f : x[i]) - size[i];
  } else if (curve.kind == SIGMOID) {
    for (int64_t i = 0; i < count; i++) {
      int32_t bits;
      std::memcpy(&bits, x + i, 4);
      const int32_t positive = bits > 0;
      y[i] = static_cast<float>(positive) + static_cast<float>(1 - 2 * positive) * size[i];
    }
  } else {
    for (int64_t i = 0; i < count; i++) y[i] = __builtin_copysignf(size[i], x[i]);
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

// Softmax of one row; ``from`` may be ``to``.
inline void softmax_row(const float* from, float* to, int64_t inner, const Curve& exponential_curve,
                        const Curve& reciprocal_curve, int highest) {
  const float largest = largest_of(from, inner);
  for (int64_t i = 0; i < inner; i++) to[i] = from[i] - largest;
  for (int64_t i = 0; i < inner; i += STRIP) exponential(exponential_curve, to + i, smaller(STRIP, inner - i));
  float total = row_sum(to, inner, highest);
  total = total < 1.0f ? 1.0f : total;
  const float share = reciprocal_of(reciprocal_curve, total);
  for (int64_t i = 0; i < inner; i++) to[i] *= share;
}

inline void softmax(const float* x, float* y, int64_t rows, int64_t inner, const Curve& exponential_curve,
                    const Curve& reciprocal_curve, int highest, int threads) {
  const int64_t block = 1 + (1 << 13) / (inner + 1);
  parallel((rows + block - 1) / block, threads, [&](long part) {
    for (int64_t m = part * block; m < smaller((part + 1) * block, rows); m++)
      softmax_row(x + m * inner, y + m * inner, inner, exponential_curve, reciprocal_curve, highest);
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
