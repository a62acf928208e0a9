// Codes of one row and one column of the operands of a product, quantised where they are floating point.
#pragma once
#include <cstdint>

#include "gemm.hpp"
#include "quantise.hpp"
#include "scratch.hpp"
#include "table.hpp"

namespace ohm {
namespace OHM_ISA {

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

}  // namespace OHM_ISA
}  // namespace ohm
