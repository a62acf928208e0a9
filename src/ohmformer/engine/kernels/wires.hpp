// Wrong conversions that wires cause, event by event along the rates of a row; the draws of engine/wire_errors.py.
#pragma once
#include <cstdint>
#include <cstring>
#include <vector>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "ars.hpp"
#include "operands.hpp"
#include "pool.hpp"
#include "scratch.hpp"
#include "table.hpp"

namespace ohm {
namespace OHM_ISA {
namespace wires {

constexpr int64_t ROWS = 32;  // of a part

// Balanced digits of codes of up to 8 bits: what is left of x, and Σ d² and Σ d of the digit taken off.
// x / radix is rounded to nearest by a product with round(2^15 / radix): off by less than 1/(2·radix), no ties.
inline void take_digit(int16_t* __restrict x, int64_t count, int radix, int32_t& square, int32_t& sum) {
  const int inverse = (32768 + radix / 2) / radix;
  int64_t k = 0;
  square = sum = 0;
#if defined(__AVX2__)
  const __m256i by = _mm256_set1_epi16(static_cast<int16_t>(inverse)), base = _mm256_set1_epi16(static_cast<int16_t>(radix));
  const __m256i one = _mm256_set1_epi16(1);
  __m256i squares = _mm256_setzero_si256(), sums = squares;
  for (; k + 16 <= count; k += 16) {
    __m256i* at = reinterpret_cast<__m256i*>(x + k);
    const __m256i value = _mm256_loadu_si256(at), above = _mm256_mulhrs_epi16(value, by);
    const __m256i digit = _mm256_sub_epi16(value, _mm256_mullo_epi16(above, base));
    _mm256_storeu_si256(at, above);
    squares = _mm256_add_epi32(squares, _mm256_madd_epi16(digit, digit));
    sums = _mm256_add_epi32(sums, _mm256_madd_epi16(digit, one));
  }
  int32_t parts[16];
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(parts), squares);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(parts + 8), sums);
  for (int i = 0; i < 8; i++) square += parts[i], sum += parts[8 + i];
#endif
  for (; k < count; k++) {
    const int above = (x[k] * inverse + (1 << 14)) >> 15, digit = x[k] - above * radix;
    x[k] = static_cast<int16_t>(above);
    square += digit * digit;
    sum += digit;
  }
}

struct Row {
  Scratch<int16_t> left;
  Scratch<int32_t> square, sum;  // [digit, group]
  explicit Row(const WireJob& job) : left(job.inner), square(job.digits * job.groups), sum(job.digits * job.groups) {}

  void take(const WireJob& job, const int8_t* codes) {
    for (int64_t k = 0; k < job.inner; k++) left.data[k] = codes[k];
    for (int64_t g = 0; g < job.groups; g++)
      for (int64_t i = 0; i < job.digits; i++) {
        const int64_t place = i * job.groups + g, first = job.bounds[2 * g];
        take_digit(left.data + first, job.bounds[2 * g + 1] - first, job.radix, square.data[place], sum.data[place]);
      }
  }
};

// Rows and where they come from: codes [row, inner], or a floating-point operand that is quantised on the way.
struct Drawn {
  uint64_t seed, stream;
  const int64_t* keys;
  int64_t rows;
  const int8_t* codes;
  const ErrorJob* source;
};

inline int64_t distance(const WireJob& job, uint32_t word) { return static_cast<int64_t>(job.gaps[word & 0xfff]) << 8; }

inline void events(const WireJob& job, const Ars& ars, uint64_t key, const Row& row, int64_t m,
                   std::vector<WrongOutput>& found) {
  const int64_t tiles = (job.columns + job.tile_columns - 1) / job.tile_columns, most = tiles * job.tile_columns;
  for (int64_t part = 0; part < job.digits * job.groups; part++) {
    const int32_t sum = row.sum.data[part];
    if (job.rate[row.square.data[part] * job.sums + (sum < 0 ? -sum : sum)] > job.most) {
      found.push_back({m, -1, 0});
      return;
    }
  }
  uint32_t words[4];
  ars.words(key, 0, words);
  uint64_t drawn = 0;
  int64_t at = distance(job, words[0]), edge = 0;
  for (int64_t i = 0; i < job.digits; i++)
    for (int64_t g = 0; g < job.groups; g++) {
      const int32_t sum = row.sum.data[i * job.groups + g];
      const int64_t place = row.square.data[i * job.groups + g] * job.sums + (sum < 0 ? -sum : sum);
      edge += job.rate[place] * most;
      if (at >= edge) continue;
      const int32_t* cases = job.pool + (static_cast<int64_t>(job.cell[place]) << job.pool_bits);
      const int64_t power = sum < 0 ? -job.powers[i] : job.powers[i];
      do {
        const uint32_t* own = words + drawn % 2 * 2;
        const int32_t one = cases[own[0] >> (32 - job.pool_bits)];
        const uint64_t tile = static_cast<uint64_t>(own[1]) * static_cast<uint64_t>(tiles) >> 32;
        const int64_t n = static_cast<int64_t>(tile) * job.tile_columns + (one & 255);
        if (n < job.columns) found.push_back({m, n, power * (one >> 8)});
        drawn++;
        if (drawn % 2 == 0) ars.words(key, drawn / 2, words);
        at += distance(job, words[drawn % 2 * 2]);
      } while (at < edge);
    }
}

inline int64_t copied(const std::vector<std::vector<WrongOutput>>& made, WrongOutput* found, int64_t room) {
  int64_t count = 0;
  for (const std::vector<WrongOutput>& own : made) {
    const int64_t here = static_cast<int64_t>(own.size());
    if (here && count < room)
      std::memcpy(found + count, own.data(), static_cast<size_t>(smaller(here, room - count)) * sizeof *found);
    count += here;
  }
  return count;
}

// What the last call of a thread drew. Kept: fresh pages cost more than what is written to them, and a call that
// finds too little room is followed by one that has it.
struct Made {
  std::vector<std::vector<WrongOutput>> parts;
  const WireJob* job = nullptr;
  Drawn of = {};
  bool is(const WireJob& other, const Drawn& drawn) const {
    return job == &other && of.seed == drawn.seed && of.stream == drawn.stream && of.keys == drawn.keys &&
           of.rows == drawn.rows && of.codes == drawn.codes && of.source == drawn.source;
  }
};

// Wrong outputs of all rows, sorted by row; at most `room` are written, all are counted.
inline int64_t draw(const WireJob& job, const Drawn& of, WrongOutput* found, int64_t room) {
  static thread_local Made made;
  if (!made.is(job, of)) {
    const int64_t parts = (of.rows + ROWS - 1) / ROWS;
    made.parts.resize(static_cast<size_t>(parts));
    std::vector<WrongOutput>* of_part = made.parts.data();
    parallel(parts, job.threads, [&](long part) {
      const Ars ars(of.seed, of.stream);
      Row row(job);
      Operands* operands = of.codes ? nullptr : new Operands(*of.source);
      std::vector<WrongOutput>& own = of_part[part];
      own.clear();
      for (int64_t m = part * ROWS; m < smaller(of.rows, (part + 1) * ROWS); m++) {
        if (operands) operands->load_row(m);
        row.take(job, operands ? operands->row.data : of.codes + m * job.inner);
        events(job, ars, static_cast<uint64_t>(of.keys[m]), row, m, own);
      }
      delete operands;
    });
  }
  const int64_t count = copied(made.parts, found, room);
  made.job = count > room ? &job : nullptr;  // only the next call may ask for the same
  made.of = of;
  return count;
}

}  // namespace wires

inline int64_t wire_errors(const ErrorJob& job, WrongOutput* found, int64_t room) {
  return wires::draw(*job.wires, {job.seed, job.stream, job.keys, job.rows, nullptr, &job}, found, room);
}

inline int64_t wire_errors_of(const WireJob& job, uint64_t seed, uint64_t stream, const int64_t* keys, int64_t rows,
                              const int8_t* codes, WrongOutput* found, int64_t room) {
  return wires::draw(job, {seed, stream, keys, rows, codes, nullptr}, found, room);
}

}  // namespace OHM_ISA
}  // namespace ohm
