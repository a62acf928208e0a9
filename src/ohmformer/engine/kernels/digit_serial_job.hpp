// What a digit-serial product is told; engine/conversion_plan.py makes the plan and explains its numbers.
#pragma once
#include <cstdint>

namespace ohm {

constexpr int MOST_DIGITS = 12;  // of one streamed number
constexpr int MOST_PLANES = 63;  // of one stored number, and maps of its switches

// Two bytes of random bits make a deviate: these weights times the sum of two points each.
constexpr int SERIAL_BYTE0 = 135, SERIAL_BYTE1 = 121;
constexpr int SERIAL_LEVELS = 4;           // thresholds of whole noise, at most
constexpr int SERIAL_LAWS = 1025;          // of whole noise, where mismatch makes them differ; as in conversion_plan.py
constexpr int SERIAL_POINTS = 1 << 11;     // deviates of a conversion that is looked at alone
constexpr int SERIAL_CLASSES = 16;         // of their sizes: bytes 0, 1, ... 14, and all above
constexpr uint64_t SERIAL_SHARED = 1ull << 63;  // counters of bytes that all planes share

// Depends on the tile, the widths of the operands and the inner axis alone.
struct SerialPlan {
  int groups;
  const int32_t* bounds;  // [groups, 2] of the inner axis
  int quads;              // steps of four elements of the largest group
  int chunk, chunks;      // quads whose sum fits 8 bits, and how many such chunks there are
  int planes, sharing;    // planes that share a map of signs; 0: switches are open or closed
  int digits, max_digit;
  int lowest, highest;               // streamed numbers
  const int8_t* digits_of;           // [number - lowest, MOST_DIGITS]
  int resident_lowest, resident_highest;
  const uint64_t* closed;            // [number - resident_lowest] bit by map, see digit_serial_pack.hpp
  int gain, fraction;                // v = sum * gain, gain = 2^fraction
  int divide;                        // 0: code = round(v / 2^shift); else 1 + shift of the reciprocal
  int scale, offset, least, code_base;
  int ties;                          // whether ties are to be rounded to even
  int max_code, step;
  int levels, centre;                // of whole noise (0: none); 1 where it rounds to nearest, 0 where down
  int in_bytes;                      // whether a conversion is the sum itself, clipped, in 8 bits
  const int16_t* plane_weight;       // [plane], within its run
  const int32_t* run_factor;         // [plane], of the run that ends here, or 0
  const int32_t* full_weight;        // [plane]
  const int32_t* digit_weight;       // [digit]
  const int32_t* power;              // [digit + max_digit], squared branches of a digit
};

// A conversion that may have gone wrong: place = ((group * digits + digit) * planes + plane) * columns + column.
struct SerialEvent {
  int64_t row, place;
  double z;  // its noise, in standard deviations
};

struct SerialJob {
  const SerialPlan* plan;
  const float* x;  // [rows, inner]
  int64_t rows, inner, columns;
  const uint8_t* packed;  // switches
  const int16_t* keep;    // [plane, columns up to a block] share that wires leave, times 2^15, or null
  int noise;              // 0: none beside events; 1: a deviate for every conversion; 2: whole numbers
  uint64_t seed, stream;
  const int64_t* keys;    // [rows]
  const int8_t* points;   // [2, 16]
  int noise_shift;
  double per_sd;          // factor of a standard deviation of 1
  double additive;        // variance of every conversion
  double sd, worst_sd;    // its root, and with the largest mismatch of a sum
  double mismatch;        // variance by switched branch
  double mean_mismatch;   // the same over the number of columns
  double per_branch;      // number of the law of whole noise by switched branch of all columns
  const int32_t* whole;   // [law, level] thresholds of whole noise, 0 ... 32768, or null
  const uint8_t* limits;  // [plane, columns up to a block, in the order of bytes]: sums above them, less what
  const uint8_t* nearer;  // [SERIAL_CLASSES] the size class of their noise takes off, may be read as others; or null
  const float* deviates;  // [2, SERIAL_POINTS] sizes of deviates: of the last class; of the others, in their order
  uint64_t alone;         // stream of the conversions that are looked at alone
  const int32_t* closed_count;  // [inner, plane] closed switches over all columns
  const SerialEvent* events;    // sorted by row
  int64_t event_count;
  const int8_t* resident;       // the same numbers as in ``packed``, for the integer product (gemm.hpp), or null
  int32_t* y;    // [rows, columns]
  int32_t* bad;  // set where a number is out of range
  int threads;
};

}  // namespace ohm
