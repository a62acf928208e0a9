// Every kernel for one instruction set: include it with OHM_ISA set to a name of its own.
#pragma once
#include "ars.hpp"
#include "attention.hpp"
#include "deviates.hpp"
#include "digit_serial.hpp"
#include "errors.hpp"
#include "functions.hpp"
#include "linear.hpp"
#include "statistical.hpp"
#include "reads.hpp"

namespace ohm {
namespace OHM_ISA {

inline void words(uint64_t seed, uint64_t stream, const int64_t* keys, int64_t rows, int64_t first,
                  int64_t blocks, uint32_t* out) {
  const Ars ars(seed, stream);
  for (int64_t m = 0; m < rows; m++)
    for (int64_t i = 0; i < blocks; i++)
      ars.words(static_cast<uint64_t>(keys[m]), static_cast<uint64_t>(first + i), out + (m * blocks + i) * 4);
}

// Rows whose 64 random bits lie below a bound; at most `room` of them are written, all are counted.
inline int64_t hits(uint64_t seed, uint64_t stream, const int64_t* keys, int64_t rows, uint64_t below,
                    int64_t* found, int64_t room) {
  const Ars ars(seed, stream);
  int64_t count = 0;
  for (int64_t m = 0; m < rows; m++) {
    uint32_t block[4];
    ars.words(static_cast<uint64_t>(keys[m]), 0, block);
    if ((static_cast<uint64_t>(block[1]) << 32 | block[0]) < below) {
      if (count < room) found[count] = m;
      count++;
    }
  }
  return count;
}

inline Kernels make_kernels(const char* name) {
  Kernels made;
  made.name = name;
  made.pack_columns = PACK_COLUMNS;
  made.pack_inner = PACK_INNER;
  made.packed_bytes = packed_bytes;
  made.pack = pack;
  made.unpack = unpack;
  made.patch = patch;
  made.quantise = quantise;
  made.product = product;
  made.linear = linear;
  made.batch = batch;
  made.words = words;
  made.hits = hits;
  made.wrong_outputs = wrong_outputs;
  made.wire_errors_of = wire_errors_of;
  made.reads = reads;
  made.row_variance = row_variance;
  made.sample_errors = sample_errors;
  made.errors_by_law = errors_by_law;
  made.deviates = deviates;
  made.codes_at = codes_at;
  made.serial_packed_bytes = serial::packed_bytes;
  made.serial_pack = serial::pack;
  made.serial_product = serial::product;
  made.function = function;
  made.softmax = softmax;
  made.layer_norm = layer_norm;
  made.rms_norm = rms_norm;
  made.attention = attention;
  made.rotary = rotary;
  made.store_rows = store_rows;
  return made;
}

}  // namespace OHM_ISA
}  // namespace ohm
