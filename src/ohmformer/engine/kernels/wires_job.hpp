// What wires take from lossless converters, drawn from its law; see wires.hpp and engine/wire_errors.py.
#pragma once
#include <cstdint>

namespace ohm {

// Wrong conversions: output (row, n) is off by size. Sorted by row. n = -1: the law does not hold for the row.
struct WrongOutput {
  int64_t row;
  int64_t n;
  int64_t size;
};

struct WireJob {
  int64_t inner, columns;
  const int64_t* bounds;  // [groups, 2] of the inner axis
  int64_t groups;
  const int64_t* powers;  // [digits]
  int64_t digits;
  int radix;
  const int64_t* rate;  // [Q, sums] of a column, in 2^-32
  const int32_t* cell;  // [Q, sums]
  int64_t sums;
  const int32_t* pool;   // [cell, 2^pool_bits] size * 2^8 + column of the tile
  int pool_bits;
  int64_t tile_columns;
  const int32_t* gaps;  // [2^12] distances between events of a unit rate, in 2^-24
  int64_t most;         // rate of a digit and group above which the law does not hold for a row
  int threads;
};

}  // namespace ohm
