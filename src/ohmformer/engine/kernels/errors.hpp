// Wrong conversions of lossless converters, one by one: candidates at the worst case's rate, then thinning.
// The same draws as engine/collapsed.py.
#pragma once
#include <cstdint>
#include <cstring>

#include "ars.hpp"
#include "operands.hpp"
#include "pool.hpp"
#include "table.hpp"
#include "wires.hpp"

namespace ohm {
namespace OHM_ISA {

inline double uniform64(uint32_t low, uint32_t high) {
  const uint64_t bits = static_cast<uint64_t>(high) << 21 | low >> 11;
  return (static_cast<double>(bits) + 0.5) * 0x1p-53;
}

inline int64_t wrong_outputs(const ErrorJob& job, WrongOutput* found, int64_t room) {
  if (job.wires) return wire_errors(job, found, room);
  const Ars first(job.seed, job.stream), details(job.seed, job.details);
  const double most = job.chance * (1 - 1e-12), limit = 1 - 1e-16;
  int64_t count = 0;
  Operands* operands = nullptr;
  for (int64_t m = 0; m < job.rows; m++) {
    const uint64_t key = static_cast<uint64_t>(job.keys[m]);
    uint32_t block[8];
    first.words(key, 0, block);
    if ((static_cast<uint64_t>(block[1]) << 32 | block[0]) >= job.below) continue;
    double uniform = uniform64(block[0], block[1]);
    uniform = uniform > most ? most : uniform;
    uniform += job.cumulative[0];
    uniform = uniform > limit ? limit : uniform;
    int64_t candidates = 0;
    while (candidates < job.cumulative_count && uniform > job.cumulative[candidates]) candidates++;
    if (candidates < 1) candidates = 1;
    bool loaded = false;
    for (int64_t i = 0; i < candidates; i++) {
      details.words(key, 2 * i, block);
      details.words(key, 2 * i + 1, block + 4);
      const int64_t n = static_cast<int64_t>(static_cast<uint64_t>(block[0]) * job.columns >> 32);
      const int64_t which = static_cast<int64_t>(static_cast<uint64_t>(block[1]) * job.weight_count >> 32);
      const int64_t group = static_cast<int64_t>(static_cast<uint64_t>(block[2]) * job.group_count >> 32);
      if (job.power) {
        if (!operands) operands = new Operands(job);
        if (!loaded) operands->load_row(m);
        loaded = true;
        operands->load_column(m, n);
        const int32_t* power = job.power + (which / job.planes) * 256;
        const int32_t* closed = job.closed + (which % job.planes) * 256;
        int64_t branches = 0;
        for (int64_t k = job.bounds[2 * group]; k < job.bounds[2 * group + 1]; k++)
          branches += static_cast<int64_t>(power[operands->row.data[k] + 128]) *
                      closed[operands->column.data[k] + 128];
        const double place = __builtin_rint(static_cast<double>(branches) / job.width);
        if (!(uniform64(block[4], block[5]) * job.worst < job.probability[static_cast<int64_t>(place)])) continue;
      }
      if (count < room) found[count] = {m, n, (block[3] & 1 ? 1 : -1) * job.weights[which]};
      count++;
    }
  }
  delete operands;
  return count;
}

constexpr int64_t LANES = 8;  // planes at a time
constexpr int64_t DIGITS_AT_ONCE = 4;
constexpr int64_t ROWS_TOGETHER = 16;  // what a group needs stays in the first cache for all of them

template <typename T>
struct Lanes {
  typedef T type __attribute__((vector_size(LANES * sizeof(T))));
};

// Branch sums of D digits and LANES planes over inner elements `from` ... `to` - 1: whole numbers that T holds.
// power: [256, DIGITS_AT_ONCE]; closed: [inner, LANES], aligned; sums: [D, LANES]
template <typename T, int D>
inline void branch_sums(const int8_t* codes, int64_t from, int64_t to, const T* power, const T* closed, T* sums) {
  using Vector = typename Lanes<T>::type;
  Vector first[D] = {}, second[D] = {};  // two of each: sums wait for one another
  const Vector* lanes = reinterpret_cast<const Vector*>(closed);
  int64_t k = from;
  for (; k + 1 < to; k += 2) {
    const T* one = power + (codes[k] + 128) * DIGITS_AT_ONCE;
    const T* other = power + (codes[k + 1] + 128) * DIGITS_AT_ONCE;
    for (int i = 0; i < D; i++) {
      first[i] += one[i] * lanes[k];
      second[i] += other[i] * lanes[k + 1];
    }
  }
  for (int i = 0; i < D; i++) {
    if (k < to) first[i] += power[(codes[k] + 128) * DIGITS_AT_ONCE + i] * lanes[k];
    first[i] += second[i];
    std::memcpy(sums + i * LANES, &first[i], sizeof(Vector));
  }
}

template <typename T, int D>
inline void branch_sums_of(int64_t digits, const int8_t* codes, int64_t from, int64_t to, const T* power,
                           const T* closed, T* sums) {
  if constexpr (D > 0) {
    if (digits == D)
      branch_sums<T, D>(codes, from, to, power, closed, sums);
    else
      branch_sums_of<T, D - 1>(digits, codes, from, to, power, closed, sums);
  }
}

template <typename T>
inline void row_variance_in(const int8_t* codes, int64_t rows, int64_t inner, const double* power, int64_t digits,
                            const double* closed, int64_t planes, const int64_t* bounds, int64_t groups,
                            const double* weights, const double* variance, double width, double* found,
                            int threads) {
  const int64_t lots = (planes + LANES - 1) / LANES, quads = (digits + DIGITS_AT_ONCE - 1) / DIGITS_AT_ONCE;
  Scratch<T> states(lots * inner * LANES), powers(quads * 256 * DIGITS_AT_ONCE);
  for (int64_t lot = 0; lot < lots; lot++)
    for (int64_t k = 0; k < inner; k++)
      for (int64_t j = 0; j < LANES; j++) {
        const int64_t plane = lot * LANES + j;
        states.data[(lot * inner + k) * LANES + j] =
            plane < planes ? static_cast<T>(closed[k * planes + plane]) : static_cast<T>(0);
      }
  for (int64_t i = 0; i < quads * DIGITS_AT_ONCE; i++)
    for (int64_t code = 0; code < 256; code++)
      powers.data[(i / DIGITS_AT_ONCE * 256 + code) * DIGITS_AT_ONCE + i % DIGITS_AT_ONCE] =
          i < digits ? static_cast<T>(power[i * 256 + code]) : static_cast<T>(0);
  const int64_t step = quads * DIGITS_AT_ONCE * LANES, every = lots * step;  // places: [row, lot, digit, LANES]
  parallel((rows + ROWS_TOGETHER - 1) / ROWS_TOGETHER, threads, [&](long part) {
    Scratch<T> sums(every);
    Scratch<int32_t> places(ROWS_TOGETHER * every);
    const int64_t top = part * ROWS_TOGETHER, here = smaller(ROWS_TOGETHER, rows - top);
    double total[ROWS_TOGETHER] = {};
    std::memset(sums.data, 0, static_cast<size_t>(every) * sizeof(T));
    for (int64_t g = 0; g < groups; g++) {
      for (int64_t m = 0; m < here; m++) {
        for (int64_t lot = 0; lot < lots; lot++)
          for (int64_t quad = 0; quad < quads; quad++)
            branch_sums_of<T, DIGITS_AT_ONCE>(
                smaller(DIGITS_AT_ONCE, digits - quad * DIGITS_AT_ONCE), codes + (top + m) * inner, bounds[2 * g],
                bounds[2 * g + 1], powers.data + quad * 256 * DIGITS_AT_ONCE, states.data + lot * inner * LANES,
                sums.data + lot * step + quad * DIGITS_AT_ONCE * LANES);
        for (int64_t i = 0; i < every; i++)
          places.data[m * every + i] =
              static_cast<int32_t>(__builtin_rint(static_cast<double>(sums.data[i]) / width));
      }
      for (int64_t i = 0; i < digits; i++)
        for (int64_t j = 0; j < planes; j++) {  // one after the other: the same bits everywhere
          const int32_t* place = places.data + j / LANES * step + i * LANES + j % LANES;
          const double weight = weights[i * planes + j];
          for (int64_t m = 0; m < here; m++) total[m] += variance[place[m * every]] * weight;
        }
    }
    for (int64_t m = 0; m < here; m++) found[top + m] = total[m];
  });
}

// Variance of an output of each row where every output has many wrong conversions; see engine/collapsed.py.
// Branch sums are whole numbers: in float32 as long as the largest possible one is exact there.
inline void row_variance(const int8_t* codes, int64_t rows, int64_t inner, const double* power, int64_t digits,
                         const double* closed, int64_t planes, const int64_t* bounds, int64_t groups,
                         const double* weights, const double* variance, double width, double* found, int threads) {
  double highest = 0, largest = 0;
  for (int64_t i = 0; i < digits * 256; i++) highest = power[i] > highest ? power[i] : highest;
  for (int64_t g = 0; g < groups; g++) {
    double total = 0;  // of the planes together: an upper bound
    for (int64_t k = bounds[2 * g] * planes; k < bounds[2 * g + 1] * planes; k++) total += closed[k];
    largest = total > largest ? total : largest;
  }
  const auto run = highest * largest < 0x1p24 ? row_variance_in<float> : row_variance_in<double>;
  run(codes, rows, inner, power, digits, closed, planes, bounds, groups, weights, variance, width, found, threads);
}

}  // namespace OHM_ISA
}  // namespace ohm
