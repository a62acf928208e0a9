// Conversions looked at one by one: those that noise changes seldom, and those that wires may change.
#pragma once
#include <cmath>
#include <cstdint>

#include "ars.hpp"
#include "digit_serial_pack.hpp"

namespace ohm {
namespace OHM_ISA {
namespace serial {

// One conversion: its switches, and the tables of its row and digit.
struct Conversion {
  const uint8_t* idx;     // of the group of a block of columns
  const uint8_t* tables;
  int plane;
  int64_t column;
};

inline int32_t sum_of(const SerialPlan& plan, const Conversion& at) {
  const uint8_t* idx = at.idx + byte_of(static_cast<int>(at.column % WIDTH));
  const uint8_t* mine = idx + quad_place(plan, map_of(plan, at.plane), 0);
  const uint8_t* sign = plan.sharing ? idx + quad_place(plan, sign_map(plan, at.plane), 0) : nullptr;
  int32_t sum = 0;
  for (int q = 0; q < plan.quads; q++) {
    const int8_t* table = reinterpret_cast<const int8_t*>(at.tables + q * TABLE_STEP);
    sum += table[mine[q * WIDTH]];
    if (sign) sum -= table[sign[q * WIDTH]];
  }
  return sum;
}

inline int64_t branches_of(const SerialPlan& plan, const Conversion& at) {
  const uint8_t* idx = at.idx + byte_of(static_cast<int>(at.column % WIDTH));
  const uint8_t* mine = idx + quad_place(plan, map_of(plan, at.plane), 0);
  const uint8_t* sign = plan.sharing ? idx + quad_place(plan, sign_map(plan, at.plane), 0) : nullptr;
  int64_t branches = 0;
  for (int q = 0; q < plan.quads; q++) {
    const int8_t* table = reinterpret_cast<const int8_t*>(at.tables + q * TABLE_STEP);
    const int closed = sign ? mine[q * WIDTH] ^ sign[q * WIDTH] : mine[q * WIDTH];
    for (int b = 0; b < 4; b++)
      if (closed >> b & 1) branches += plan.power[table[1 << b] + plan.max_digit];
  }
  return branches;
}

inline int32_t code_of(const SerialPlan& plan, double level, int most) {
  const double code = __builtin_rint(plan.step == 1 ? level : level / plan.step);
  return code > most ? most : code < -most ? -most : static_cast<int32_t>(code);
}

// By how much noise (and wires) change the code of a sum, which would else be clipped at `most`.
inline int32_t change(const SerialJob& job, const Conversion& at, int32_t sum, double z, int most) {
  const SerialPlan& plan = *job.plan;
  double level = sum;
  if (job.keep) level *= job.keep[at.plane * column_blocks(job.columns) * WIDTH + at.column] * 0x1p-15;
  const int32_t now = code_of(plan, sum, most), least = code_of(plan, level + job.sd * z, plan.max_code);
  // the deviation is between that without mismatch and the largest: mostly the code is the same with both
  if (!(job.mismatch > 0) || least == code_of(plan, level + job.worst_sd * z, plan.max_code)) return least - now;
  const double sd = std::sqrt(job.additive + job.mismatch * static_cast<double>(branches_of(plan, at)));
  return code_of(plan, level + sd * z, plan.max_code) - now;
}

inline const uint8_t* limits_of(const SerialJob& job, int plane, int64_t block) {
  return job.limits + (plane * column_blocks(job.columns) + block) * WIDTH;
}

// By how many bytes those of a plane are turned, so that no two planes of a column have one in common.
inline int turn_of(int plane) { return (8 * plane + plane / 8) & (WIDTH - 1); }

inline int class_of(uint8_t byte) { return byte < SERIAL_CLASSES - 1 ? byte : SERIAL_CLASSES - 1; }

// The deviate of a conversion, given the class of its size.
inline double deviate(const SerialJob& job, const Ars& ars, uint64_t row, uint64_t number, int of_class) {
  constexpr uint32_t EACH = SERIAL_POINTS / SERIAL_CLASSES;
  uint32_t words[4];
  ars.words(row, number, words);
  const double size = of_class == SERIAL_CLASSES - 1
                          ? job.deviates[words[0] & (SERIAL_POINTS - 1)]
                          : job.deviates[SERIAL_POINTS + static_cast<uint32_t>(of_class) * EACH + (words[0] & (EACH - 1))];
  return words[0] >> 31 ? -size : size;
}

// The change of an output by one event: a conversion whose noise is above the least that can matter.
inline int32_t event_change(const SerialJob& job, const Conversion& at, double z) {
  const SerialPlan& plan = *job.plan;
  const int32_t sum = sum_of(plan, at);
  if (job.limits) {
    const int limit = limits_of(job, at.plane, at.column / WIDTH)[byte_of(static_cast<int>(at.column % WIDTH))];
    if ((sum < 0 ? -sum : sum) + job.nearer[0] > limit) return 0;  // its noise is drawn where it is computed
  }
  return change(job, at, sum, z, plan.max_code) * plan.full_weight[at.plane];
}

}  // namespace serial
}  // namespace OHM_ISA
}  // namespace ohm
