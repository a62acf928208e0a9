// Wrong conversions of lossless converters, one by one: candidates at the worst case's rate, then thinning.
// The same draws as engine/collapsed.py.
#pragma once
#include <cstdint>

#include "ars.hpp"
#include "gemm.hpp"
#include "pool.hpp"
#include "quantise.hpp"
#include "table.hpp"

namespace ohm {
namespace OHM_ISA {

inline double uniform64(uint32_t low, uint32_t high) {
  const uint64_t bits = static_cast<uint64_t>(high) << 21 | low >> 11;
  return (static_cast<double>(bits) + 0.5) * 0x1p-53;
}

// Codes of the resident column and the streamed row of one output.
struct Operands {
  const ErrorJob& job;
  Scratch<int8_t> row, column;
  Scratch<float> values;
  explicit Operands(const ErrorJob& given) : job(given), row(given.inner), column(given.inner), values(given.inner) {}

  void quantise_line(const float* line, int64_t step, const float* factor, bool divide, int8_t* codes) {
    for (int64_t k = 0; k < job.inner; k++) values.data[k] = line[k * step];
    if (factor && divide) {
      for (int64_t k = 0; k < job.inner; k++)
        codes[k] = static_cast<int8_t>(static_cast<int32_t>(rounded(values.data[k] / factor[k])));
      return;
    }
    if (factor)
      for (int64_t k = 0; k < job.inner; k++) values.data[k] *= factor[k];
    codes_of(values.data, job.inner, scale_of(largest_magnitude(values.data, job.inner, 1), job.highest), codes, 0,
             0.0f);
  }
  void load_row(int64_t m) {
    const int64_t entry = m / job.rows_per_entry;
    const float* factor = job.factor ? job.factor + entry * job.inner : nullptr;
    quantise_line(job.a.at(entry, job.heads) + m % job.rows_per_entry * job.a_row, 1, factor, false, row.data);
  }
  void load_column(int64_t m, int64_t n) {
    if (job.packed) {
      for (int64_t k = 0; k < job.inner; k++) column.data[k] = code_at(job.packed, n, k, job.inner);
      return;
    }
    const int64_t entry = m / job.rows_per_entry;
    const float* factor = job.factor ? job.factor + entry * job.inner : nullptr;
    quantise_line(job.b.at(entry, job.heads) + n * job.b_column, job.b_inner, factor, true, column.data);
  }
};

inline int64_t wrong_outputs(const ErrorJob& job, WrongOutput* found, int64_t room) {
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

constexpr int64_t MOST_PLANES = 64;

// Variance of an output of each row where every output has many wrong conversions; see engine/collapsed.py.
inline void row_variance(const int8_t* codes, int64_t rows, int64_t inner, const double* power, int64_t digits,
                         const double* closed, int64_t planes, const int64_t* bounds, int64_t groups,
                         const double* weights, const double* variance, double width, double* found, int threads) {
  parallel((rows + 15) / 16, threads, [&](long part) {
    for (int64_t m = part * 16; m < smaller((part + 1) * 16, rows); m++) {
      double total = 0;
      for (int64_t g = 0; g < groups; g++)
        for (int64_t i = 0; i < digits; i++)
          for (int64_t first = 0; first < planes; first += MOST_PLANES) {
            const int64_t here = smaller(MOST_PLANES, planes - first);
            double branches[MOST_PLANES] = {};  // whole numbers: exact
            for (int64_t k = bounds[2 * g]; k < bounds[2 * g + 1]; k++) {
              const double p = power[i * 256 + codes[m * inner + k] + 128];
              const double* own = closed + k * planes + first;
              for (int64_t j = 0; j < here; j++) branches[j] += p * own[j];
            }
            for (int64_t j = 0; j < here; j++)
              total += variance[static_cast<int64_t>(__builtin_rint(branches[j] / width))] *
                       weights[i * planes + first + j];
          }
      found[m] = total;
    }
  });
}

}  // namespace OHM_ISA
}  // namespace ohm
