// What every instruction set offers: one table of functions each, chosen once at load.
#pragma once
#include <cstdint>

#include "digit_serial_job.hpp"
#include "whole_job.hpp"
#include "wires_job.hpp"

namespace ohm {

constexpr int POSITION_BITS = 14;  // as in functions/tables.py: places are whole numbers of 2^-14 segments

// One function of the function unit, as functions/tables.py makes it.
struct Curve {
  int kind;                // see functions.hpp
  int segments, segment_bits;  // 2^segment_bits segments
  double low, per_unit;    // place = (u - low) * per_unit; for exp x * per_unit
  const int32_t* values;   // [segments + 1] in 2^-fraction_bits, the last one the value beyond the range
  const int32_t* rises;    // [segments + 1]
  float down;              // 2^-fraction_bits
  double floor;            // exp: smallest exponent that is not flushed to 0
  bool wide;               // whether 32 bits do not hold what is between
};

struct LinearJob {
  const float* x;  // [rows, inner]
  int64_t rows, inner, columns;
  int highest;            // largest code magnitude, at most 127
  float fixed_scale;      // > 0: one calibrated scale, codes clip; 0: one scale per row
  const int8_t* packed;   // see pack
  const float* scale;     // [columns]
  const float* bias;      // [columns] or null
  float* y;               // [rows, columns]
  const WrongOutput* wrong;
  int64_t wrong_count;
  int threads;
};

// One of many matrices: entry e starts at outer * (e / heads) + inner * (e % heads).
struct Entries {
  const float* data;
  int64_t outer, inner;
  const float* at(int64_t entry, int64_t heads) const {
    return data + outer * (entry / heads) + inner * (entry % heads);
  }
};

// y[e] = (codes of a[e]) x (codes of b[e])^T, scaled by both; b's rows are the columns of the product.
struct BatchJob {
  Entries a;  // [rows, inner], rows a_row apart
  int64_t a_row;
  Entries b;  // [columns, inner], strides b_column and b_inner
  int64_t b_column, b_inner;
  int64_t entries, heads, rows, inner, columns;
  int highest;
  const float* factor;  // [entries, inner] or null: b's scale of each inner element; a is multiplied by it
  float* y;             // [entries, rows, columns]
  const WrongOutput* wrong;  // row counts through all entries
  int64_t wrong_count;
  int threads;
};

// Where wrong conversions of one product are drawn from; see errors.hpp and engine/collapsed.py.
struct ErrorJob {
  uint64_t seed, stream, details;
  const int64_t* keys;
  int64_t rows;
  uint64_t below;            // a row has candidates if its 64 random bits lie below
  double chance;             // the same as a probability
  const double* cumulative;  // of the number of candidates of a row
  int64_t cumulative_count;
  int64_t inner, columns;
  const int64_t* bounds;  // [group_count, 2] of the inner axis
  int64_t group_count;
  const int64_t* weights;  // [weight_count], digits first
  int64_t weight_count, planes;
  const double* probability;  // by switched branches / width
  double worst;
  int64_t width;
  const int32_t* power;   // [digit, 256] branch power of code - 128, or null: every candidate stays
  const int32_t* closed;  // [plane, 256] squared switch state of code - 128
  Entries a;              // streamed operand, float, rows a_row apart
  int64_t a_row, rows_per_entry, heads;
  int highest;
  const float* factor;   // [entries, inner] or null
  const int8_t* packed;  // resident operand: packed codes, or
  Entries b;             // floats
  int64_t b_column, b_inner;
  const WireJob* wires;  // null: only noise makes conversions wrong
};

// One read of one dense tensor by many samples; see reads.hpp and engine/reads.py. Classes of kept cells:
// class 0 is never misread, classes 1 ... `classes` are hit seldom, the last is asked at every read.
struct ReadJob {
  uint64_t seed, hits, often;  // streams
  const int64_t* keys;         // [samples]
  const int64_t* counts;       // [samples] hits in classes 1 ... `classes`
  int64_t samples;
  const void* cells;  // [kept] cell numbers, int64 if wide, else int32
  int wide;
  const uint8_t* meant;       // [kept] symbols
  const float* conductance;   // [kept]
  const int64_t* bounds;      // [classes + 3]
  int64_t classes;
  const double* sums;         // [classes + 1] of rates of hits
  double largest_sum;         // the number below the last of them
  const double* rates;        // [classes] of hits of one cell
  const int32_t* limits;      // [cells of the last class]
  const int32_t* values;      // [symbols, levels] what a symbol adds to the number
  int64_t symbols, levels;    // cells of a number, levels of a cell
  const double* table;        // [levels, bins, 4, levels] of engine/read_law.py
  int64_t bins;
  double bins_per_S;
  int64_t inner;           // numbers of a row
  const uint8_t* rows;     // [samples or 1, rows] that are read, or null: all
  int64_t rows_step;       // between samples
  const uint8_t* wanted;   // [kept / 64] blocks of kept cells that may lie in such rows, or null
};

// Wrong number: key = position * samples + sample; index is of the cell in the number while cells are merged.
struct WrongNumber {
  uint64_t key;
  int32_t delta, index;
};

// Errors of sampled columns; see statistical.hpp and engine/statistical.py. A set is the columns that some rows share.
struct SampleJob {
  const int8_t* x;  // [row, inner] streamed codes
  int64_t inner, sets, columns;
  const int64_t* order;   // [row] rows, set by set
  const int64_t* starts;  // [sets + 1] where the rows of a set start in it
  const int8_t* codes;    // [sets, columns, inner] resident codes
  const int32_t* first;   // [sets, columns, planes] table entry of a sum of 0
  const int64_t* bounds;  // [groups, 2] of the inner axis
  int64_t groups, digits, planes;
  const uint8_t* digit;   // [digits, 256] digit + reach of code - 128
  const int8_t* states;   // [256, planes] switch states of code - 128
  int reach;
  const float* table;     // [entries, 2] mean and variance of a conversion's error
  const double* weights;  // [digits, planes]
  const uint8_t* power;   // [digits, 256] branch power, or null without mismatch
  float width;            // branches of a level
  int32_t level_entries;  // table entries of a level
  double *mean, *variance;  // [row, columns]
  int threads;
};

struct Kernels {
  const char* name;
  int pack_columns, pack_inner;  // packed panels: this many columns, inner steps of this many elements
  int64_t (*packed_bytes)(int64_t columns, int64_t inner);
  void (*pack)(const int8_t* codes, int64_t columns, int64_t inner, int8_t* packed);
  void (*unpack)(const int8_t* packed, int64_t columns, int64_t inner, const int64_t* ids, int64_t count,
                 int8_t* codes);
  void (*patch)(int8_t* packed, int64_t columns, int64_t inner, const int64_t* places, const int32_t* deltas,
                int64_t count);
  void (*quantise)(const float* x, int64_t rows, int64_t inner, int highest, float fixed_scale, int8_t* codes,
                   float* scale);
  void (*product)(const int8_t* codes, int64_t rows, int64_t inner, const int8_t* packed, int64_t columns,
                  int32_t* y, int threads);
  void (*linear)(const LinearJob& job);
  void (*batch)(const BatchJob& job);
  void (*words)(uint64_t seed, uint64_t stream, const int64_t* keys, int64_t rows, int64_t first,
                int64_t blocks, uint32_t* out);
  int64_t (*hits)(uint64_t seed, uint64_t stream, const int64_t* keys, int64_t rows, uint64_t below,
                  int64_t* found, int64_t room);
  int64_t (*wrong_outputs)(const ErrorJob& job, WrongOutput* found, int64_t room);
  int64_t (*wire_errors_of)(const WireJob& job, uint64_t seed, uint64_t stream, const int64_t* keys, int64_t rows,
                            const int8_t* codes, WrongOutput* found, int64_t room);
  int64_t (*reads)(const ReadJob& job, WrongNumber** wrong);
  void (*row_variance)(const int8_t* codes, int64_t rows, int64_t inner, const double* power, int64_t digits,
                       const double* closed, int64_t planes, const int64_t* bounds, int64_t groups,
                       const double* weights, const double* variance, double width, double* found, int threads);
  void (*sample_errors)(const SampleJob& job);
  void (*errors_by_law)(uint64_t seed, uint64_t stream, const int64_t* keys, int64_t rows, int64_t columns,
                        const float* table, const float* gain, const float* shift, const float* sd,
                        const float* spread, float* y, int threads);
  void (*deviates)(uint64_t seed, uint64_t stream, const int64_t* keys, int64_t rows, int64_t columns,
                   const float* table, const float* sd, float* y, const int32_t* values, const float* row_scale,
                   const float* column_scale, const float* bias, int threads);
  void (*codes_at)(const int8_t* packed, int64_t inner, const int64_t* positions, int64_t count, int8_t* codes,
                   int threads);
  int64_t (*serial_packed_bytes)(const SerialPlan& plan, int64_t columns);
  bool (*serial_pack)(const SerialPlan& plan, const float* x, int64_t inner_stride, int64_t column_stride,
                      int64_t columns, uint8_t* packed, int32_t* counts);
  void (*serial_product)(const SerialJob& job);
  void (*function)(const Curve& curve, const float* x, float* y, int64_t count, int threads);
  void (*softmax)(const float* x, float* y, int64_t rows, int64_t inner, const Curve& exponential,
                  const Curve& reciprocal, int highest, int threads);
  void (*layer_norm)(const float* x, const float* gain, const float* shift, float* y, int64_t rows,
                     int64_t inner, float eps, const Curve& rsqrt, int highest, int threads);
  void (*rms_norm)(const float* x, const float* gain, float* y, int64_t rows, int64_t inner, float eps,
                   const Curve& rsqrt, int highest, int threads);
  void (*attention)(const AttentionJob& job);
  void (*rotary)(const RotaryJob& job);
  void (*store_rows)(const StoreJob& job);
};

// Null where they were not compiled; to be asked only on a processor that has the instructions.
const Kernels* portable_kernels();
const Kernels* avx2_kernels();
const Kernels* avx2_vaes_kernels();
const Kernels* avx512_kernels();

}  // namespace ohm
