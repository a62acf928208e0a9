// Digit-serial products: every conversion of every digit, plane and group, in whole-number arithmetic.
//
// Four elements of a plane make an index of 4 bits; for each row and digit a table of 16 bytes holds the sums
// of all subsets of its four digits. One shuffle looks up 32 columns at once. Sums go through the converter in
// registers: v = sum * gain + noise, code = clip(round(v / 2^shift)), in 16 bits (digit_serial_block.hpp), or, where
// codes are sums, in 8 (digit_serial_bytes.hpp). engine/conversion_plan.py makes the plan and states its laws;
// engine/conversion_blocks.py computes the same numbers in torch.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>

#include "pool.hpp"
#include "digit_serial_bytes.hpp"
#include "digit_serial_rest.hpp"
#include "digit_serial_streamed.hpp"

namespace ohm {
namespace OHM_ISA {
namespace serial {

template <int P>
inline void blocks_of(const SerialJob& job, const Random& random, const uint8_t* idx, const Pairs& pairs, int64_t cb) {
#if defined(__AVX2__)
  if (job.plan->in_bytes && job.noise != DENSE && (!job.keep || job.limits))
    return in_bytes<P>(job, random, idx, pairs, cb);
#endif
  if (job.noise == DENSE) return block<P, DENSE, false>(job, random.noise, idx, pairs, cb);
  if (job.noise == WHOLE) return block<P, WHOLE, false>(job, random.noise, idx, pairs, cb);
  block<P, QUIET, false>(job, random.noise, idx, pairs, cb);
}

inline void blocks(const SerialJob& job, const Random& random, const uint8_t* idx, const Pairs& pairs, int64_t cb) {
  const SerialPlan& plan = *job.plan;
#if defined(__AVX2__)
  if (!pairs.tables) return NoiseBlock{random.noise, random.units, pairs}.run(cb);
#endif
  // a usual case without what it does not need
  if (job.noise == DENSE && pairs.count == MOST_PAIRS && plan.chunks <= 2 && !plan.divide && !plan.offset && !job.keep)
    return block<MOST_PAIRS, DENSE, true>(job, random.noise, idx, pairs, cb);
  switch (pairs.count) {
    case 1: return blocks_of<1>(job, random, idx, pairs, cb);
    case 2: return blocks_of<2>(job, random, idx, pairs, cb);
    case 3: return blocks_of<3>(job, random, idx, pairs, cb);
    case 4: return blocks_of<4>(job, random, idx, pairs, cb);
    case 5: return blocks_of<5>(job, random, idx, pairs, cb);
    default: return blocks_of<6>(job, random, idx, pairs, cb);
  }
}

inline void rows(const SerialJob& job, const Random& random, int64_t top, int count, int64_t first_block,
                 int64_t last_block) {
  const SerialPlan& plan = *job.plan;
  const int pair_count = count * plan.digits;
  const int64_t table_bytes = static_cast<int64_t>(plan.quads) * TABLE_STEP;  // of a block of pairs
  const int64_t pair_blocks = (pair_count + MOST_PAIRS - 1) / MOST_PAIRS;
  Scratch<uint8_t> tables(plan.groups * pair_blocks * table_bytes);
  const auto tables_of = [&](int64_t g, int64_t pair) {
    return tables.data + (g * pair_blocks + pair / MOST_PAIRS) * table_bytes + pair % MOST_PAIRS * 16;
  };
  Scratch<int16_t> factors(job.noise ? static_cast<int64_t>(plan.groups) * pair_count * plan.planes : 1);
  Scratch<Reach> reaches(plan.groups * pair_count);
  StreamedDigits streamed(job);
  for (int m = 0; m < count; m++)
    for (int g = 0; g < plan.groups; g++) {
      const int64_t place = static_cast<int64_t>(g) * pair_count + m * plan.digits;
      streamed.read(top + m, g, [&](int i) { return tables_of(g, m * plan.digits + i); }, reaches.data + place);
      if (job.noise)
        for (int i = 0; i < plan.digits; i++) streamed.factors(g, i, factors.data + (place + i) * plan.planes);
    }
  Scratch<int32_t> sums(static_cast<int64_t>(count) * WIDTH);
  const Rest rest(job, top, count, reaches.data);
  Scratch<int32_t> products(rest.used ? static_cast<int64_t>(count) * WIDTH : 1);
  NoiseTotals totals(job, random.units, count, sums.data, rest.used && job.noise == WHOLE);
  const PairBlocks every(job, rest, top, pair_count, tables.data, factors.data, reaches.data, sums.data, &totals);
  for (int64_t cb = first_block; cb < last_block; cb++) {
    std::memset(sums.data, 0, static_cast<size_t>(count) * WIDTH * 4);
    for (int g = 0; g < plan.groups; g++) {
      const uint8_t* idx = job.packed + (cb * plan.groups + g) * group_bytes(plan);
      const int64_t from = every.first[g], to = every.first[g + 1];
      for (int64_t b = from; b < to; b++) {
        // the switches of the next group, a share at a time, while this one is computed
        const int64_t share = (group_bytes(plan) / 64 + to - from - 1) / (to - from) * 64;
        for (int64_t line = 0; line < share; line += 64)
          __builtin_prefetch(idx + group_bytes(plan) + (b - from) * share + line);
        blocks(job, random, idx, every.data[b], cb);
      }
      totals.end_group(g + 1 == plan.groups);
    }
    const int64_t width = smaller(WIDTH, job.columns - cb * WIDTH);
    if (rest.used) rest.products(cb, products.data);
    for (int m = 0; m < count; m++) {
      alignas(32) int32_t ordered[WIDTH];
      ordered_sums(sums.data + static_cast<int64_t>(m) * WIDTH, ordered);
      if (rest.used)
        for (int n = 0; n < WIDTH; n++) ordered[n] += products.data[static_cast<int64_t>(m) * WIDTH + n];
      std::memcpy(job.y + (top + m) * job.columns + cb * WIDTH, ordered, static_cast<size_t>(width) * 4);
    }
  }
  int64_t e = 0, end = job.event_count;
  while (e < end) {  // first event of these rows
    const int64_t middle = (e + end) / 2;
    if (job.events[middle].row < top) e = middle + 1; else end = middle;
  }
  for (; e < job.event_count && job.events[e].row < top + count; e++) {
    const SerialEvent& event = job.events[e];
    const int64_t n = event.place % job.columns, slot = event.place / job.columns;
    if (n / WIDTH < first_block || n / WIDTH >= last_block) continue;
    const int64_t i = slot / plan.planes % plan.digits, g = slot / plan.planes / plan.digits;
    const Conversion at{job.packed + (n / WIDTH * plan.groups + g) * group_bytes(plan),
                        tables_of(g, (event.row - top) * plan.digits + i), static_cast<int>(slot % plan.planes), n};
    job.y[event.row * job.columns + n] += event_change(job, at, event.z) * plan.digit_weight[i] * plan.step;
  }
}

inline void product(const SerialJob& job) {
  const Random random(job);
  const int64_t wide = column_blocks(job.columns);
  const int64_t row_blocks = (job.rows + BLOCK_ROWS - 1) / BLOCK_ROWS;
  const int64_t cuts = row_blocks >= 2 * job.threads ? 1 : smaller(wide, 2 * job.threads);
  parallel(static_cast<long>(row_blocks * cuts), job.threads, [&](long part) {
    const int64_t top = part / cuts * BLOCK_ROWS, cut = part % cuts;
    rows(job, random, top, static_cast<int>(smaller(BLOCK_ROWS, job.rows - top)), wide * cut / cuts,
         wide * (cut + 1) / cuts);
  });
}

}  // namespace serial
}  // namespace OHM_ISA
}  // namespace ohm
