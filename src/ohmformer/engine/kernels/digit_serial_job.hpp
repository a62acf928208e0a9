// What a digit-serial product is told; engine/conversion_plan.py makes the plan and explains its numbers.
#pragma once
#include <cstdint>

namespace ohm {

constexpr int MOST_DIGITS = 12;  // of one streamed number

// Two bytes of random bits make a deviate: these weights times the sum of two points each.
constexpr int SERIAL_BYTE0 = 135, SERIAL_BYTE1 = 121;

// Depends on the tile, the widths of the operands and the inner axis alone.
struct SerialPlan {
  int groups;
  const int32_t* bounds;  // [groups, 2] of the inner axis
  int quads;              // steps of four elements of the largest group
  int chunk, chunks;      // quads whose sum fits 8 bits, and how many such chunks there are
  int planes, switches;   // 1: switches are open or closed; 2: of either sign
  int digits, max_digit;
  int lowest, highest;               // streamed numbers
  const int8_t* digits_of;           // [number - lowest, MOST_DIGITS]
  int resident_lowest, resident_highest;
  const uint64_t* closed;            // [number - resident_lowest] bit map of closed switches
  int gain, fraction;                // v = sum * gain, gain = 2^fraction
  int divide;                        // 0: code = round(v / 2^shift); else 1 + shift of the reciprocal
  int scale, offset, least, code_base;
  int ties;                          // whether ties are to be rounded to even
  int max_code, step;
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
  int noisy;
  uint64_t seed, stream;
  const int64_t* keys;    // [rows]
  const int8_t* points;   // [2, 16]
  int noise_shift;
  double per_sd;          // factor of a standard deviation of 1
  double additive;        // variance of every conversion
  double mismatch;        // variance by switched branch
  double mean_mismatch;   // the same over the number of columns
  const int32_t* closed_count;  // [inner, plane] closed switches over all columns
  const SerialEvent* events;    // sorted by row
  int64_t event_count;
  int32_t* y;    // [rows, columns]
  int32_t* bad;  // set where a number is out of range
  int threads;
};

}  // namespace ohm
