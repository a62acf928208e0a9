// Which conversions of digit-serial products have to be computed, in blocks of pairs (row, digit) of a group.
//
// A converter whose codes are the sums themselves changes none that it does not clip. Where the digits of a row and
// group are too small for any sum to be clipped, all planes together give the product of that digit: so
//     y = x w + sum over the other pairs of radix^i sum_j c_j (clip(s) - s),
// the integer product and the conversions that may clip. Whole numbers: equal to computing every conversion. Noise is
// none or listed as events, each of which looks at its own sum.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "digit_serial_bytes.hpp"
#include "digit_serial_streamed.hpp"
#include "linear.hpp"

namespace ohm {
namespace OHM_ISA {
namespace serial {

constexpr int LARGEST_BYTE = 127;
// Look-ups of a pair (maps times quads, 64 columns each) that take as long as the integer product of one element, about:
// it decides how long a product takes, never its numbers.
constexpr double LOOK_UPS_OF_PRODUCT = 1.0;

// The integer product of some rows, where it stands for enough conversions.
class Rest {
 public:
  const bool used;

  // reaches: [group, row, digit]
  Rest(const SerialJob& given, int64_t top, int count, const int32_t* reaches)
      : used(pays(given, count, reaches) && in_range(given, top, count)), job(given) {
    if (!used) return;
    stream(codes, count, job.inner, [&](int64_t m, int8_t* to) {
      const float* x = job.x + (top + m) * job.inner;
      for (int64_t k = 0; k < job.inner; k++) to[k] = static_cast<int8_t>(x[k]);
    });
  }

  // Whether sums of such a reach have to be looked at.
  bool computed(int32_t reach) const { return !used || reach > most_of(job); }

  // [row, WIDTH] of a block of columns
  void products(int64_t cb, int32_t* to) const {
    block_products(codes, job.resident, job.columns, job.inner, cb * WIDTH, smaller((cb + 1) * WIDTH, job.columns), to,
                   WIDTH);
  }

 private:
  const SerialJob& job;
  StreamedBlock codes;

  static int32_t most_of(const SerialJob& job) { return smaller(job.plan->max_code, LARGEST_BYTE); }

  static bool pays(const SerialJob& job, int count, const int32_t* reaches) {
#if defined(__AVX2__)
    const SerialPlan& plan = *job.plan;
    if (!job.resident || !plan.in_bytes || job.noise != QUIET || job.keep || plan.step != 1) return false;
    int32_t weights = 0;  // of a run: 16 bits have to hold their sums of bytes
    for (int plane = 0; plane < plan.planes; plane++) {
      weights += std::abs(plan.plane_weight[plane]);
      if (weights * LARGEST_BYTE > INT16_MAX) return false;
      if (plan.run_factor[plane]) weights = 0;
    }
    int64_t spared = 0;
    for (int64_t i = 0; i < static_cast<int64_t>(plan.groups) * count * plan.digits; i++)
      spared += reaches[i] <= most_of(job);
    return static_cast<double>(spared) * maps_of(plan) * plan.quads >
           LOOK_UPS_OF_PRODUCT * static_cast<double>(count * job.inner);
#else
    (void)job, (void)count, (void)reaches;
    return false;
#endif
  }

  static bool in_range(const SerialJob& job, int64_t top, int64_t count) {
    const float* x = job.x + top * job.inner;
    bool inside = true;
    for (int64_t i = 0; i < count * job.inner; i++)
      inside &= x[i] >= -static_cast<float>(LARGEST_BYTE) && x[i] <= static_cast<float>(LARGEST_BYTE);
    return inside;
  }
};

// Pairs of some rows, group after group, as the blocks take them.
class PairBlocks {
 public:
  std::vector<Pairs> data;
  std::vector<int64_t> first;  // [group + 1] in data

  // tables, factors, reaches: [group, row, digit], the tables in steps of MOST_PAIRS; sums: [row, WIDTH]
  PairBlocks(const SerialJob& job, const Rest& rest, int64_t top, int pair_count, uint8_t* tables,
             const int16_t* factors, const int32_t* reaches, int32_t* sums)
      : first(1, 0) {
    const SerialPlan& plan = *job.plan;
    const int64_t table_bytes = static_cast<int64_t>(plan.quads) * TABLE_STEP;  // of a block of pairs
    const int64_t every = (pair_count + MOST_PAIRS - 1) / MOST_PAIRS;
    const int32_t most_noise = job.noise == WHOLE ? plan.levels + 1 : 0;
    std::vector<int> order(static_cast<size_t>(pair_count));
    for (int64_t g = 0; g < plan.groups; g++) {
      const int32_t* reach = reaches + g * pair_count;
      uint8_t* of_group = tables + g * every * table_bytes;
      int count = 0;
      for (const bool wide : {false, true})  // sums beyond 8 bits last
        for (int pair = 0; pair < pair_count; pair++)
          if ((rest.used ? rest.computed(reach[pair]) && (reach[pair] > LARGEST_BYTE) == wide : !wide))
            order[static_cast<size_t>(count++)] = pair;
      for (int from = 0; from < count; from += MOST_PAIRS) {
        Pairs pairs;
        pairs.tables = of_group + from / MOST_PAIRS * table_bytes;
        pairs.reach = most_noise;
        pairs.count = static_cast<int>(smaller(MOST_PAIRS, count - from));
        pairs.rest = rest.used;
        for (int p = 0; p < pairs.count; p++) {
          const int pair = order[static_cast<size_t>(from + p)], m = pair / plan.digits, i = pair % plan.digits;
          const int64_t place = g * pair_count + pair;
          pairs.key[p] = static_cast<uint64_t>(job.keys[top + m]);
          pairs.slot[p] = (static_cast<uint64_t>(g) * plan.digits + static_cast<uint64_t>(i)) * plan.planes;
          pairs.factor[p] = factors + (job.noise ? place * plan.planes : 0);
          pairs.sums[p] = sums + static_cast<int64_t>(m) * WIDTH;
          pairs.weight[p] = plan.digit_weight[i] * plan.step;
          if (reach[pair] + most_noise > pairs.reach) pairs.reach = reach[pair] + most_noise;
        }
        data.push_back(pairs);
      }
      if (rest.used) gather(of_group, table_bytes, order.data(), count);
      first.push_back(static_cast<int64_t>(data.size()));
    }
  }

 private:
  std::vector<std::vector<uint8_t>> gathered;

  // Tables of chosen pairs one after the other, in a place of their own: events still read those of all.
  void gather(const uint8_t* from, int64_t table_bytes, const int* order, int count) {
    if (!count) return;
    const int64_t blocks = (count + MOST_PAIRS - 1) / MOST_PAIRS;
    gathered.emplace_back(static_cast<size_t>(blocks * table_bytes + 64));
    uint8_t* to = gathered.back().data();
    to += (64 - reinterpret_cast<uintptr_t>(to) % 64) % 64;
    for (int at = 0; at < count; at++) {
      uint8_t* mine = to + at / MOST_PAIRS * table_bytes + at % MOST_PAIRS * 16;
      const uint8_t* own = from + order[at] / MOST_PAIRS * table_bytes + order[at] % MOST_PAIRS * 16;
      for (int64_t q = 0; q < table_bytes; q += TABLE_STEP) std::memcpy(mine + q, own + q, 16);
    }
    for (int64_t b = 0; b < blocks; b++) data[data.size() - static_cast<size_t>(blocks - b)].tables = to + b * table_bytes;
  }
};

}  // namespace serial
}  // namespace OHM_ISA
}  // namespace ohm
