// The exact errors of sampled columns: mean and variance of what each conversion adds; see engine/statistical.py.
#pragma once
#include <cstdint>
#include <cstring>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "ars.hpp"
#include "pool.hpp"
#include "scratch.hpp"
#include "table.hpp"

namespace ohm {
namespace OHM_ISA {
namespace sampled {

constexpr int64_t LANES = 32;  // of one pass: columns x planes, padded
constexpr int64_t MOST_DIGITS = 16;

// sums[i, lane] = sum over pairs of u_i * e_lane: u [digit, position] unsigned, e [position/2, lane, 2] signed.
inline void sums_of(const uint8_t* u, int64_t u_digit, int64_t digits, const int8_t* e, int64_t lanes,
                    int64_t pairs, int16_t* sums) {
#if defined(__AVX2__)
  const __m256i* states = reinterpret_cast<const __m256i*>(e);
  const int64_t width = lanes / 16;
  for (int64_t v = 0; v < width; v += 2) {
    int64_t i = 0;
    for (; i + 3 <= digits; i += 3) {
      __m256i a0 = _mm256_setzero_si256(), a1 = a0, b0 = a0, b1 = a0, c0 = a0, c1 = a0;
      const uint8_t *ua = u + i * u_digit, *ub = ua + u_digit, *uc = ub + u_digit;
      for (int64_t p = 0; p < pairs; p++) {
        const __m256i e0 = states[p * width + v], e1 = states[p * width + v + 1];
        int16_t two;
        std::memcpy(&two, ua + 2 * p, 2);
        __m256i x = _mm256_set1_epi16(two);
        a0 = _mm256_add_epi16(a0, _mm256_maddubs_epi16(x, e0));
        a1 = _mm256_add_epi16(a1, _mm256_maddubs_epi16(x, e1));
        std::memcpy(&two, ub + 2 * p, 2);
        x = _mm256_set1_epi16(two);
        b0 = _mm256_add_epi16(b0, _mm256_maddubs_epi16(x, e0));
        b1 = _mm256_add_epi16(b1, _mm256_maddubs_epi16(x, e1));
        std::memcpy(&two, uc + 2 * p, 2);
        x = _mm256_set1_epi16(two);
        c0 = _mm256_add_epi16(c0, _mm256_maddubs_epi16(x, e0));
        c1 = _mm256_add_epi16(c1, _mm256_maddubs_epi16(x, e1));
      }
      __m256i* to = reinterpret_cast<__m256i*>(sums + i * lanes) + v;
      to[0] = a0, to[1] = a1, to[width] = b0, to[width + 1] = b1, to[2 * width] = c0, to[2 * width + 1] = c1;
    }
    for (; i < digits; i++) {
      __m256i a0 = _mm256_setzero_si256(), a1 = a0;
      for (int64_t p = 0; p < pairs; p++) {
        int16_t two;
        std::memcpy(&two, u + i * u_digit + 2 * p, 2);
        const __m256i x = _mm256_set1_epi16(two);
        a0 = _mm256_add_epi16(a0, _mm256_maddubs_epi16(x, states[p * width + v]));
        a1 = _mm256_add_epi16(a1, _mm256_maddubs_epi16(x, states[p * width + v + 1]));
      }
      __m256i* to = reinterpret_cast<__m256i*>(sums + i * lanes) + v;
      to[0] = a0, to[1] = a1;
    }
  }
#else
  std::memset(sums, 0, static_cast<size_t>(digits * lanes) * sizeof(int16_t));
  for (int64_t p = 0; p < pairs; p++)
    for (int64_t i = 0; i < digits; i++) {
      const int first = u[i * u_digit + 2 * p], second = u[i * u_digit + 2 * p + 1];
      const int8_t* own = e + p * lanes * 2;
      for (int64_t l = 0; l < lanes; l++)
        sums[i * lanes + l] = static_cast<int16_t>(sums[i * lanes + l] + first * own[2 * l] + second * own[2 * l + 1]);
    }
#endif
}

// total[lane, 2] += table[place, 2]: pairs (mean, variance), sums exact in any order.
inline void look_up(const float* table, const int32_t* place, int64_t lanes, float* total) {
#if defined(__AVX2__)
  for (int64_t l = 0; l < lanes; l += 4) {
    const __m128i at = _mm_loadu_si128(reinterpret_cast<const __m128i*>(place + l));
    const __m256d pairs = _mm256_i32gather_pd(reinterpret_cast<const double*>(table), at, 8);
    float* to = total + 2 * l;
    _mm256_storeu_ps(to, _mm256_add_ps(_mm256_loadu_ps(to), _mm256_castpd_ps(pairs)));
  }
#else
  for (int64_t l = 0; l < lanes; l++) {
    total[2 * l] += table[2 * static_cast<int64_t>(place[l])];
    total[2 * l + 1] += table[2 * static_cast<int64_t>(place[l]) + 1];
  }
#endif
}

// Two vectors of states, element by element in turn.
inline void pair(const int8_t* a, const int8_t* b, int64_t planes, int8_t* to) {
#if defined(__AVX2__)
  if (planes == 8) {
    const __m128i x = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(a));
    const __m128i y = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(b));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_unpacklo_epi8(x, y));
    return;
  }
#endif
  for (int64_t j = 0; j < planes; j++) to[2 * j] = a[j], to[2 * j + 1] = b[j];
}

struct Layout {
  int64_t lanes, positions;  // padded; of a group an even number
  explicit Layout(const SampleJob& job) : lanes(rounded_up(job.columns * job.planes, LANES)), positions(0) {
    for (int64_t g = 0; g < job.groups; g++)
      positions += rounded_up(job.bounds[2 * g + 1] - job.bounds[2 * g], 2);
  }
};

// Switch states of one set's columns, their squares, and what is added to a sum to find its table entry.
struct States {
  Scratch<int8_t> state, square;
  Scratch<int32_t> first;  // [group, lane]
  States(const SampleJob& job, const Layout& at, int64_t set)
      : state(at.positions * at.lanes), square(job.power ? at.positions * at.lanes : 0), first(job.groups * at.lanes) {
    std::memset(state.data, 0, static_cast<size_t>(at.positions * at.lanes));
    const int8_t* codes = job.codes + set * job.columns * job.inner;
    Scratch<int8_t> none(job.planes);
    Scratch<uint8_t> reaches(at.positions);
    Scratch<int16_t> closed(at.lanes);
    std::memset(none.data, 0, static_cast<size_t>(job.planes));
    std::memset(reaches.data, job.reach, static_cast<size_t>(at.positions));
    int64_t start = 0;
    for (int64_t g = 0; g < job.groups; g++) {
      const int64_t low = job.bounds[2 * g], count = job.bounds[2 * g + 1] - low;
      for (int64_t k = 0; k < count; k += 2) {
        int8_t* to = state.data + (start + k) * at.lanes;
        const bool both = k + 1 < count;
        for (int64_t c = 0; c < job.columns; c++) {
          const int8_t* code = codes + c * job.inner + low + k;
          pair(job.states + (code[0] + 128) * job.planes, both ? job.states + (code[1] + 128) * job.planes : none.data,
               job.planes, to + c * job.planes * 2);
        }
      }
      sums_of(reaches.data, 0, 1, state.data + start * at.lanes, at.lanes, (count + 1) / 2, closed.data);
      int32_t* own = first.data + g * at.lanes;
      for (int64_t l = 0; l < at.lanes; l++)
        own[l] = (l < job.columns * job.planes ? job.first[set * job.columns * job.planes + l] : job.first[0]) -
                 closed.data[l];
      start += rounded_up(count, 2);
    }
    if (job.power)
      for (int64_t n = 0; n < at.positions * at.lanes; n++)
        square.data[n] = static_cast<int8_t>(state.data[n] * state.data[n]);
  }
};

// Memory of the rows that one part treats.
struct Work {
  Scratch<uint8_t> digit, power;
  Scratch<int16_t> sums, branches;
  Scratch<int32_t> place;
  Scratch<float> total;
  Work(const SampleJob& job, const Layout& at)
      : digit(job.digits * at.positions), power(job.power ? job.digits * at.positions : 0),
        sums(job.digits * at.lanes), branches(job.power ? job.digits * at.lanes : 0), place(job.digits * at.lanes),
        total(job.digits * at.lanes * 2) {
    std::memset(digit.data, 0, static_cast<size_t>(job.digits * at.positions));
    if (job.power) std::memset(power.data, 0, static_cast<size_t>(job.digits * at.positions));
  }
};

inline void row(const SampleJob& job, const Layout& at, const States& states, Work& work, int64_t m) {
  const int8_t* x = job.x + m * job.inner;
  int64_t start = 0;
  for (int64_t g = 0; g < job.groups; g++) {
    const int64_t low = job.bounds[2 * g], count = job.bounds[2 * g + 1] - low;
    for (int64_t i = 0; i < job.digits; i++) {
      uint8_t* to = work.digit.data + i * at.positions + start;
      const uint8_t* own = job.digit + i * 256;
      for (int64_t k = 0; k < count; k++) to[k] = own[x[low + k] + 128];
      if (job.power)
        for (int64_t k = 0; k < count; k++)
          work.power.data[i * at.positions + start + k] = job.power[i * 256 + x[low + k] + 128];
    }
    start += rounded_up(count, 2);
  }
  std::memset(work.total.data, 0, static_cast<size_t>(job.digits * at.lanes * 2) * sizeof(float));
  start = 0;
  for (int64_t g = 0; g < job.groups; g++) {
    const int64_t pairs = rounded_up(job.bounds[2 * g + 1] - job.bounds[2 * g], 2) / 2;
    sums_of(work.digit.data + start, at.positions, job.digits, states.state.data + start * at.lanes, at.lanes, pairs,
            work.sums.data);
    const int32_t* first = states.first.data + g * at.lanes;
    for (int64_t i = 0; i < job.digits; i++)
      for (int64_t l = 0; l < at.lanes; l++)
        work.place.data[i * at.lanes + l] = work.sums.data[i * at.lanes + l] + first[l];
    if (job.power) {
      sums_of(work.power.data + start, at.positions, job.digits, states.square.data + start * at.lanes, at.lanes,
              pairs, work.branches.data);
      for (int64_t n = 0; n < job.digits * at.lanes; n++) {
        const float level = __builtin_rintf(static_cast<float>(work.branches.data[n]) / job.width);
        work.place.data[n] += static_cast<int32_t>(level) * job.level_entries;
      }
    }
    look_up(job.table, work.place.data, job.digits * at.lanes, work.total.data);
    start += 2 * pairs;
  }
  for (int64_t c = 0; c < job.columns; c++) {
    double mean = 0, variance = 0;  // whole multiples of the table's unit: exact in any order
    for (int64_t i = 0; i < job.digits; i++)
      for (int64_t j = 0; j < job.planes; j++) {
        const float* found = work.total.data + (i * at.lanes + c * job.planes + j) * 2;
        const double weight = job.weights[i * job.planes + j];
        mean += weight * found[0];
        variance += weight * weight * found[1];
      }
    job.mean[m * job.columns + c] = mean;
    job.variance[m * job.columns + c] = variance;
  }
}

}  // namespace sampled

// Mean and variance of the error of every row's sampled columns; see SampleJob.
inline void sample_errors(const SampleJob& job) {
  const sampled::Layout layout(job);
  parallel(job.sets, job.threads, [&](long set) {
    if (job.starts[set] == job.starts[set + 1]) return;
    const sampled::States states(job, layout, set);
    sampled::Work work(job, layout);
    for (int64_t n = job.starts[set]; n < job.starts[set + 1]; n++)
      sampled::row(job, layout, states, work, job.order[n]);
  });
}

// y[m, n] = round(y * gain[m] + shift[m]) + round(z * sd[m] * spread[n]), z the sum of four entries of the table.
inline void errors_by_law(uint64_t seed, uint64_t stream, const int64_t* keys, int64_t rows, int64_t columns,
                          const float* table, const float* gain, const float* shift, const float* sd,
                          const float* spread, float* y, int threads) {
  constexpr int64_t TOGETHER = 16;
  parallel((rows + TOGETHER - 1) / TOGETHER, threads, [&](long part) {
    const Ars ars(seed, stream);
    Scratch<float> z(rounded_up(columns, 4));
    for (int64_t m = part * TOGETHER; m < smaller(rows, (part + 1) * TOGETHER); m++) {
      for (int64_t n = 0; n < columns; n += 4) {
        uint32_t block[4];
        ars.words(static_cast<uint64_t>(keys[m]), static_cast<uint64_t>(n / 4), block);
        for (int i = 0; i < 4; i++) {
          const uint32_t w = block[i];
          z.data[n + i] = table[w & 255] + table[w >> 8 & 255] + table[w >> 16 & 255] + table[w >> 24];
        }
      }
      float* __restrict own = y + m * columns;
      const float *__restrict drawn = z.data, *__restrict by = spread;
      const float g = gain[m], s = shift[m], d = sd[m];
      for (int64_t n = 0; n < columns; n++)
        own[n] = __builtin_rintf(own[n] * g + s) + __builtin_rintf(drawn[n] * (d * by[n]));
    }
  });
}

}  // namespace OHM_ISA
}  // namespace ohm
