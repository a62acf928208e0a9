// Whole products: quantise the streamed rows, multiply, put errors in, scale; one pass over the result.
#pragma once
#include <cstdint>
#include <cstring>
#include <vector>

#include "gemm.hpp"
#include "pool.hpp"
#include "quantise.hpp"
#include "table.hpp"

namespace ohm {
namespace OHM_ISA {

constexpr int64_t ROW_BLOCK = 96, COLUMN_BLOCK = 128;

// Lays out rows of codes: line(m, codes) writes those of row m.
template <typename Line>
inline void stream(StreamedBlock& block, int64_t rows, int64_t inner, const Line& line) {
  const int64_t stride = rounded_up(inner, 64);
  Scratch<int8_t> codes(STRIP_ROWS * stride);
  std::memset(codes.data, 0, static_cast<size_t>(STRIP_ROWS * stride));
  block.begin(rows, inner);
  for (int64_t top = 0; top < rows; top += STRIP_ROWS) {
    const int64_t count = smaller(STRIP_ROWS, rows - top);
    for (int64_t m = 0; m < count; m++) line(top + m, codes.data + m * stride);
    block.lay_strip(codes.data, stride, top, count);
  }
}

// Products of blocks of rows and of columns, on some threads: lay(block, top, rows) streams rows,
// take(acc, top, rows, first, last) takes acc[row, COLUMN_BLOCK] of columns first ... last - 1.
template <typename Lay, typename Take>
inline void blocks(int64_t rows, int64_t inner, const int8_t* packed, int64_t columns, int threads, const Lay& lay,
                   const Take& take) {
  const int64_t row_blocks = (rows + ROW_BLOCK - 1) / ROW_BLOCK;
  const int64_t chunks = (columns + COLUMN_BLOCK - 1) / COLUMN_BLOCK;
  const auto height = [&](int64_t part) { return smaller(ROW_BLOCK, rows - part * ROW_BLOCK); };
  const auto chunk = [&](const StreamedBlock& block, int64_t part, int64_t which) {
    alignas(64) int32_t acc[ROW_BLOCK * COLUMN_BLOCK];
    const int64_t first = which * COLUMN_BLOCK, last = smaller(first + COLUMN_BLOCK, columns);
    block_products(block, packed, columns, inner, first, last, acc, COLUMN_BLOCK);
    take(acc, part * ROW_BLOCK, height(part), first, last);
  };
  if (threads <= 1 || row_blocks >= 2 * threads) {
    parallel(row_blocks, threads, [&](long part) {
      static thread_local StreamedBlock block;  // memory is kept: a fresh page costs more than what is written to it
      lay(block, part * ROW_BLOCK, height(part));
      for (int64_t which = 0; which < chunks; which++) chunk(block, part, which);
    });
    return;
  }
  std::vector<StreamedBlock> streamed(static_cast<size_t>(row_blocks));
  parallel(row_blocks, threads,
           [&](long part) { lay(streamed[static_cast<size_t>(part)], part * ROW_BLOCK, height(part)); });
  parallel(row_blocks * chunks, threads,
           [&](long part) { chunk(streamed[static_cast<size_t>(part / chunks)], part / chunks, part % chunks); });
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

// Wrong outputs by block of rows and of columns, each as a place in the block's sums and what is added there.
struct WrongByBlock {
  struct One {
    int32_t place, size;
  };
  int64_t chunks;
  std::vector<int64_t> starts;  // [row block, chunk], and the end
  std::vector<One> ones;

  explicit WrongByBlock(const LinearJob& job) : chunks((job.columns + COLUMN_BLOCK - 1) / COLUMN_BLOCK) {
    if (!job.wrong_count) return;
    starts.assign(static_cast<size_t>((job.rows + ROW_BLOCK - 1) / ROW_BLOCK * chunks + 1), 0);
    ones.resize(static_cast<size_t>(job.wrong_count));
    for (int64_t i = 0; i < job.wrong_count; i++) starts[block_of(job.wrong[i]) + 1]++;
    for (size_t b = 1; b < starts.size(); b++) starts[b] += starts[b - 1];
    std::vector<int64_t> next(starts);
    for (int64_t i = 0; i < job.wrong_count; i++) {
      const WrongOutput& own = job.wrong[i];
      const int64_t place = own.row % ROW_BLOCK * COLUMN_BLOCK + own.n % COLUMN_BLOCK;
      ones[static_cast<size_t>(next[block_of(own)]++)] = {static_cast<int32_t>(place), static_cast<int32_t>(own.size)};
    }
  }
  size_t block_of(const WrongOutput& own) const {
    return static_cast<size_t>(own.row / ROW_BLOCK * chunks + own.n / COLUMN_BLOCK);
  }
  void add(int64_t top, int64_t first, int32_t* acc) const {
    if (starts.empty()) return;
    const size_t block = static_cast<size_t>(top / ROW_BLOCK * chunks + first / COLUMN_BLOCK);
    for (int64_t i = starts[block]; i < starts[block + 1]; i++)
      acc[ones[static_cast<size_t>(i)].place] += ones[static_cast<size_t>(i)].size;
  }
};

inline void linear(const LinearJob& job) {
  Scratch<float> scales(job.rows);
  const float clip = job.fixed_scale > 0 ? static_cast<float>(job.highest) : 0.0f;
  const auto lay = [&](StreamedBlock& block, int64_t top, int64_t rows) {
    stream(block, rows, job.inner, [&](int64_t m, int8_t* codes) {
      const float* row = job.x + (top + m) * job.inner;
      float scale = job.fixed_scale;
      if (!(scale > 0)) scale = scale_of(largest_magnitude(row, job.inner, 1), job.highest);
      scales.data[top + m] = scale;
      codes_of(row, job.inner, scale, codes, 0, clip);
    });
  };
  const WrongByBlock wrong(job);
  const auto take = [&](int32_t* acc, int64_t top, int64_t rows, int64_t first, int64_t last) {
    wrong.add(top, first, acc);
    for (int64_t m = 0; m < rows; m++) {
      const float scale = scales.data[top + m];
      const int32_t* from = acc + m * COLUMN_BLOCK;
      float* __restrict to = job.y + (top + m) * job.columns + first;
      const float* __restrict by = job.scale + first;
      if (job.bias) {
        const float* __restrict shift = job.bias + first;
        for (int64_t n = 0; n < last - first; n++)
          to[n] = static_cast<float>(from[n]) * scale * by[n] + shift[n];
      } else {
        for (int64_t n = 0; n < last - first; n++) to[n] = static_cast<float>(from[n]) * scale * by[n];
      }
    }
  };
  blocks(job.rows, job.inner, job.packed, job.columns, job.threads, lay, take);
}

// The bare integer product of codes, for tests and for digits of other widths.
inline void product(const int8_t* codes, int64_t rows, int64_t inner, const int8_t* packed, int64_t columns,
                    int32_t* y, int threads) {
  const auto lay = [&](StreamedBlock& block, int64_t top, int64_t count) {
    stream(block, count, inner, [&](int64_t m, int8_t* to) {
      std::memcpy(to, codes + (top + m) * inner, static_cast<size_t>(inner));
    });
  };
  const auto take = [&](const int32_t* acc, int64_t top, int64_t count, int64_t first, int64_t last) {
    for (int64_t m = 0; m < count; m++)
      std::memcpy(y + (top + m) * columns + first, acc + m * COLUMN_BLOCK,
                  static_cast<size_t>(last - first) * sizeof *y);
  };
  blocks(rows, inner, packed, columns, threads, lay, take);
}

inline void batch(const BatchJob& job) {
  const int64_t ldc = panels_of(job.columns) * PACK_COLUMNS;
  const int64_t blocks = (job.rows + ROW_BLOCK - 1) / ROW_BLOCK;
  parallel(job.entries, job.threads, [&](long entry) {
    const float* a = job.a.at(entry, job.heads);
    const float* b = job.b.at(entry, job.heads);
    const float* factor = job.factor ? job.factor + entry * job.inner : nullptr;
    Scratch<int8_t> packed(packed_bytes(job.columns, job.inner)), line(job.inner);
    Scratch<float> column_scale(job.columns), values(job.inner);
    start_packing(packed.data, job.columns, job.inner);
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
      pack_column(line.data, n, job.columns, job.inner, packed.data);
    }
    finish_packing(packed.data, job.columns, job.inner);
    StreamedBlock streamed;
    Scratch<int32_t> acc(ROW_BLOCK * ldc);
    float scales[ROW_BLOCK];
    for (int64_t part = 0; part < blocks; part++) {
      const int64_t top = part * ROW_BLOCK, rows = smaller(ROW_BLOCK, job.rows - top);
      stream(streamed, rows, job.inner, [&](int64_t m, int8_t* codes) {
        const float* row = a + (top + m) * job.a_row;
        if (factor) {
          for (int64_t k = 0; k < job.inner; k++) values.data[k] = row[k] * factor[k];
          row = values.data;
        }
        scales[m] = scale_of(largest_magnitude(row, job.inner, 1), job.highest);
        codes_of(row, job.inner, scales[m], codes, 0, 0.0f);
      });
      block_products(streamed, packed.data, job.columns, job.inner, 0, job.columns, acc.data, ldc);
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

}  // namespace OHM_ISA
}  // namespace ohm
