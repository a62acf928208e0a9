// Whole products: quantise the streamed rows, multiply, put errors in, scale; one pass over the result.
#pragma once
#include <cstdint>

#include "gemm.hpp"
#include "pool.hpp"
#include "quantise.hpp"
#include "table.hpp"

namespace ohm {
namespace OHM_ISA {

constexpr int64_t ROW_BLOCK = 96, COLUMN_BLOCK = 128;

inline int64_t padded_inner(int64_t inner) { return rounded_up(inner, 4); }

inline void pad_row(Streamed* row, int64_t inner) {
  for (int64_t k = inner; k < padded_inner(inner); k++) row[k] = static_cast<Streamed>(OFFSET);
}

inline void quantise(const float* x, int64_t rows, int64_t inner, int highest, float fixed_scale, int8_t* codes,
                     float* scale) {
  for (int64_t m = 0; m < rows; m++) {
    const float* row = x + m * inner;
    scale[m] = fixed_scale > 0 ? fixed_scale : scale_of(largest_magnitude(row, inner, 1), highest);
    codes_of(row, inner, scale[m], codes + m * inner, 0, fixed_scale > 0 ? static_cast<float>(highest) : 0.0f);
  }
}

inline void add_wrong(const WrongOutput* wrong, int64_t count, int64_t first_row, int64_t rows, int64_t first,
                      int64_t last, int32_t* acc, int64_t ldc) {
  int64_t low = 0, high = count;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (wrong[middle].row < first_row)
      low = middle + 1;
    else
      high = middle;
  }
  for (; low < count && wrong[low].row < first_row + rows; low++)
    if (wrong[low].n >= first && wrong[low].n < last)
      acc[(wrong[low].row - first_row) * ldc + wrong[low].n - first] += static_cast<int32_t>(wrong[low].size);
}

inline void linear(const LinearJob& job) {
  const int64_t lda = padded_inner(job.inner);
  Scratch<Streamed> streamed(job.rows * lda);
  Scratch<float> scales(job.rows);
  const int64_t row_blocks = (job.rows + ROW_BLOCK - 1) / ROW_BLOCK;
  const bool small = job.rows * job.inner < 1 << 14;
  parallel(small ? 1 : row_blocks, job.threads, [&](long part) {
    const int64_t from = small ? 0 : part * ROW_BLOCK, to = small ? job.rows : smaller(from + ROW_BLOCK, job.rows);
    for (int64_t m = from; m < to; m++) {
      const float* row = job.x + m * job.inner;
      float scale = job.fixed_scale;
      if (!(scale > 0)) scale = scale_of(largest_magnitude(row, job.inner, 1), job.highest);
      scales.data[m] = scale;
      codes_of(row, job.inner, scale, streamed.data + m * lda, OFFSET,
               job.fixed_scale > 0 ? static_cast<float>(job.highest) : 0.0f);
      pad_row(streamed.data + m * lda, job.inner);
    }
  });
  const int64_t chunk = COLUMN_BLOCK, chunks = (job.columns + chunk - 1) / chunk;
  const int32_t* sums = sums_of(job.packed, job.columns, job.inner);
  parallel(row_blocks * chunks, job.threads, [&](long part) {
    const int64_t top = part / chunks * ROW_BLOCK, rows = smaller(ROW_BLOCK, job.rows - top);
    const int64_t first = part % chunks * chunk, last = smaller(first + chunk, job.columns);
    alignas(64) int32_t acc[ROW_BLOCK * COLUMN_BLOCK];
    const Streamed* a = streamed.data + top * lda;
    panel_products(a, lda, rows, job.packed + first / PACK_COLUMNS * panel_bytes(job.inner),
                   panels_of(last - first), job.inner, acc, chunk);
    take_offset_off(acc, chunk, rows, last - first, sums + first);
    if (job.wrong_count) add_wrong(job.wrong, job.wrong_count, top, rows, first, last, acc, chunk);
    for (int64_t m = 0; m < rows; m++) {
      const float scale = scales.data[top + m];
      const int32_t* from = acc + m * chunk;
      float* to = job.y + (top + m) * job.columns + first;
      const float* by = job.scale + first;
      if (job.bias) {
        const float* shift = job.bias + first;
        for (int64_t n = 0; n < last - first; n++)
          to[n] = static_cast<float>(from[n]) * scale * by[n] + shift[n];
      } else {
        for (int64_t n = 0; n < last - first; n++) to[n] = static_cast<float>(from[n]) * scale * by[n];
      }
    }
  });
}

// The bare integer product of codes, for tests and for digits of other widths.
inline void product(const int8_t* codes, int64_t rows, int64_t inner, const int8_t* packed, int64_t columns,
                    int32_t* y, int threads) {
  const int64_t lda = padded_inner(inner), chunk = COLUMN_BLOCK, chunks = (columns + chunk - 1) / chunk;
  Scratch<Streamed> streamed(rows * lda);
  for (int64_t m = 0; m < rows; m++) {
    for (int64_t k = 0; k < inner; k++)
      streamed.data[m * lda + k] = static_cast<Streamed>(codes[m * inner + k] + OFFSET);
    pad_row(streamed.data + m * lda, inner);
  }
  const int64_t row_blocks = (rows + ROW_BLOCK - 1) / ROW_BLOCK;
  const int32_t* sums = sums_of(packed, columns, inner);
  parallel(row_blocks * chunks, threads, [&](long part) {
    const int64_t top = part / chunks * ROW_BLOCK, here = smaller(ROW_BLOCK, rows - top);
    const int64_t first = part % chunks * chunk, last = smaller(first + chunk, columns);
    alignas(64) int32_t acc[ROW_BLOCK * COLUMN_BLOCK];
    panel_products(streamed.data + top * lda, lda, here, packed + first / PACK_COLUMNS * panel_bytes(inner),
                   panels_of(last - first), inner, acc, chunk);
    take_offset_off(acc, chunk, here, last - first, sums + first);
    for (int64_t m = 0; m < here; m++)
      for (int64_t n = 0; n < last - first; n++) y[(top + m) * columns + first + n] = acc[m * chunk + n];
  });
}

inline void batch(const BatchJob& job) {
  const int64_t lda = padded_inner(job.inner), ldc = panels_of(job.columns) * PACK_COLUMNS;
  const int64_t blocks = (job.rows + ROW_BLOCK - 1) / ROW_BLOCK;
  parallel(job.entries, job.threads, [&](long entry) {
    const float* a = job.a.at(entry, job.heads);
    const float* b = job.b.at(entry, job.heads);
    const float* factor = job.factor ? job.factor + entry * job.inner : nullptr;
    Scratch<int8_t> packed(packed_bytes(job.columns, job.inner)), line(job.inner);
    Scratch<float> column_scale(job.columns), values(job.inner);
    std::memset(packed.data, 0, packed_bytes(job.columns, job.inner));
    int32_t* sums = const_cast<int32_t*>(sums_of(packed.data, job.columns, job.inner));
    for (int64_t n = 0; n < job.columns; n++) {
      const float* row = b + n * job.b_column;
      if (job.b_inner != 1) {
        for (int64_t k = 0; k < job.inner; k++) values.data[k] = row[k * job.b_inner];
        row = values.data;
      }
      if (factor) {  // a scale for each inner element, folded into the streamed operand
        for (int64_t k = 0; k < job.inner; k++)
          line.data[k] = static_cast<int8_t>(static_cast<int32_t>(rounded(row[k] / factor[k])));
        column_scale.data[n] = 1.0f;
      } else {
        const float scale = scale_of(largest_magnitude(row, job.inner, 1), job.highest);
        column_scale.data[n] = scale;
        codes_of(row, job.inner, scale, line.data, 0, 0.0f);
      }
      int8_t* to = packed.data + n / PACK_COLUMNS * panel_bytes(job.inner) + n % PACK_COLUMNS * PACK_INNER;
      int32_t sum = 0;
      for (int64_t k = 0; k < job.inner; k++) {
        to[k / PACK_INNER * (PACK_INNER * PACK_COLUMNS) + k % PACK_INNER] = line.data[k];
        sum += line.data[k];
      }
      sums[n] = sum;
    }
    Scratch<Streamed> streamed(ROW_BLOCK * lda);
    Scratch<int32_t> acc(ROW_BLOCK * ldc);
    float scales[ROW_BLOCK];
    for (int64_t part = 0; part < blocks; part++) {
      const int64_t top = part * ROW_BLOCK, rows = smaller(ROW_BLOCK, job.rows - top);
      for (int64_t m = 0; m < rows; m++) {
        const float* row = a + (top + m) * job.a_row;
        if (factor) {
          for (int64_t k = 0; k < job.inner; k++) values.data[k] = row[k] * factor[k];
          row = values.data;
        }
        scales[m] = scale_of(largest_magnitude(row, job.inner, 1), job.highest);
        codes_of(row, job.inner, scales[m], streamed.data + m * lda, OFFSET, 0.0f);
        pad_row(streamed.data + m * lda, job.inner);
      }
      panel_products(streamed.data, lda, rows, packed.data, panels_of(job.columns), job.inner, acc.data, ldc);
      take_offset_off(acc.data, ldc, rows, job.columns, sums);
      if (job.wrong_count)
        add_wrong(job.wrong, job.wrong_count, entry * job.rows + top, rows, 0, job.columns, acc.data, ldc);
      for (int64_t m = 0; m < rows; m++) {
        const float scale = scales[m];
        const int32_t* from = acc.data + m * ldc;
        float* to = job.y + (entry * job.rows + top + m) * job.columns;
        for (int64_t n = 0; n < job.columns; n++)
          to[n] = static_cast<float>(from[n]) * scale * column_scale.data[n];
      }
    }
  });
}

inline void patch(int8_t* packed, int64_t columns, int64_t inner, const int64_t* places, const int32_t* deltas,
                  int64_t count) {
  int32_t* sums = const_cast<int32_t*>(sums_of(packed, columns, inner));
  for (int64_t i = 0; i < count; i++) {
    const int64_t n = places[i] / inner, k = places[i] % inner;
    packed[place_of(n, k, inner)] = static_cast<int8_t>(packed[place_of(n, k, inner)] + deltas[i]);
    sums[n] += deltas[i];
  }
}

}  // namespace OHM_ISA
}  // namespace ohm
