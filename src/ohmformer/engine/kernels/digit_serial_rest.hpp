// Which conversions of digit-serial products have to be computed, in blocks of pairs (row, digit) of a group.
//
// A converter whose codes are the sums themselves changes none that it does not clip. Where the digits of a row and
// group are too small for any sum to be clipped, all planes together give the product of that digit: so
//     y = x w + sum over the other pairs of radix^i sum_j c_j (clip(s) - s),
// the integer product and the conversions that may clip. Whole numbers: equal to computing every conversion. Noise is
// none; or listed as events, each of which looks at its own sum; or whole, then drawn for every conversion, and those
// that cannot clip with it add it and nothing else.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "digit_serial_bytes.hpp"
#include "digit_serial_streamed.hpp"
#include "linear.hpp"

namespace ohm {
namespace OHM_ISA {
namespace serial {

// In look-ups of a quad, 64 columns of a pair and a map: what the integer product of one element takes, about, and what
// a plane takes more whose clipping is wanted and not its codes. They decide how long a product takes, not its numbers.
constexpr int64_t LOOK_UPS_OF_PRODUCT = 1, LOOK_UPS_OF_CLIPPING = 3;

// The integer product of some rows, where it stands for enough conversions.
class Rest {
 public:
  const bool used;

  // reaches: [group, row, digit]
  Rest(const SerialJob& given, int64_t top, int count, const Reach* reaches)
      : used(pays(given, count, reaches) && in_range(given, top, count)), job(given) {
    if (!used) return;
    stream(codes, count, job.inner, [&](int64_t m, int8_t* to) {
      const int64_t inner = job.inner;
      const float* x = job.x + (top + m) * inner;
      for (int64_t k = 0; k < inner; k++) to[k] = static_cast<int8_t>(static_cast<int32_t>(x[k]));
    });
  }

  // Whether sums of such a reach have to be looked at.
  bool computed(const Reach& reach) const { return !used || clips(job, reach); }

  // [row, WIDTH] of a block of columns
  void products(int64_t cb, int32_t* to) const {
    block_products(codes, job.resident, job.columns, job.inner, cb * WIDTH, smaller((cb + 1) * WIDTH, job.columns), to,
                   WIDTH);
  }

 private:
  const SerialJob& job;
  StreamedBlock codes;

  static bool clips(const SerialJob& job, const Reach& reach) {
    return reach.size + most_noise(job) > most_byte(*job.plan);
  }

  static bool pays(const SerialJob& job, int count, const Reach* reaches) {
    if (!may_stop(job)) return false;
    const SerialPlan& plan = *job.plan;
    int64_t spared = -LOOK_UPS_OF_PRODUCT * count * job.inner;  // look-ups
    for (int64_t i = 0; i < static_cast<int64_t>(plan.groups) * count * plan.digits; i++) {
      const int quads = clips(job, reaches[i]) ? plan.quads - reaches[i].stop : plan.quads;
      spared += quads ? static_cast<int64_t>(quads) * maps_of(plan) : -LOOK_UPS_OF_CLIPPING * plan.planes;
    }
    return spared > 0;
  }

  static bool in_range(const SerialJob& job, int64_t top, int64_t count) {
    const float* x = job.x + top * job.inner;
    const float most = static_cast<float>(INT8_MAX);
    const int64_t numbers = count * job.inner;
    int32_t inside = 1;  // and no jumps: so the compiler takes several at a time
    for (int64_t i = 0; i < numbers; i++)
      inside &= static_cast<int32_t>(x[i] >= -most) & static_cast<int32_t>(x[i] <= most);
    return inside;
  }
};

// Pairs of some rows, group after group, as the blocks take them.
class PairBlocks {
 public:
  std::vector<Pairs> data;
  std::vector<int64_t> first;  // [group + 1] in data

  // tables, factors, reaches: [group, row, digit], the tables in steps of MOST_PAIRS; sums: [row, WIDTH]
  PairBlocks(const SerialJob& given, const Rest& rest, int64_t first_row, int pair_count, uint8_t* tables,
             const int16_t* noise, const Reach* sizes, int32_t* of_rows, NoiseTotals* of_noise)
      : first(1, 0), job(given), top(first_row), pairs_of_group(pair_count), factors(noise), reaches(sizes),
        sums(of_rows), totals(of_noise) {
    const int64_t table_bytes = static_cast<int64_t>(job.plan->quads) * TABLE_STEP;  // of a block of pairs
    const int64_t every = (pair_count + MOST_PAIRS - 1) / MOST_PAIRS;
    std::vector<int> order;
    for (int64_t g = 0; g < job.plan->groups; g++) {
      const Reach* reach = reaches + g * pair_count;
      uint8_t* of_group = tables + g * every * table_bytes;
      const auto choose = [&](bool computed) {
        order.clear();
        for (int pair = 0; pair < pair_count; pair++)
          if (rest.computed(reach[pair]) == computed) order.push_back(pair);
      };
      choose(true);
      if (rest.used) {  // pairs that end at about the same point together, those whose sums leave 8 bits last
        const auto rank = [&](int pair) { return reach[pair].stop + (reach[pair].size + most_noise(job) > INT8_MAX); };
        std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return rank(a) < rank(b); });
        add(g, order, gather(of_group, order), true);
        choose(false);
        if (job.noise == WHOLE) add(g, order, nullptr, true);
      } else {
        add(g, order, of_group, false);
      }
      first.push_back(static_cast<int64_t>(data.size()));
    }
  }

 private:
  const SerialJob& job;
  const int64_t top;
  const int pairs_of_group;
  const int16_t* const factors;
  const Reach* const reaches;
  int32_t* const sums;
  NoiseTotals* const totals;
  std::vector<std::vector<uint8_t>> gathered;

  // Blocks of pairs in some order, their tables one after the other, or null where they are not needed.
  void add(int64_t g, const std::vector<int>& order, const uint8_t* tables, bool rest) {
    const SerialPlan& plan = *job.plan;
    const int count = static_cast<int>(order.size());
    for (int from = 0; from < count; from += MOST_PAIRS) {
      Pairs pairs;
      pairs.tables = tables ? tables + static_cast<int64_t>(from / MOST_PAIRS) * plan.quads * TABLE_STEP : nullptr;
      pairs.reach = pairs.stop = 0;
      pairs.count = static_cast<int>(smaller(MOST_PAIRS, count - from));
      pairs.rest = rest;
      pairs.group_slot = static_cast<uint64_t>(g * plan.digits * plan.planes);
      for (int p = 0; p < pairs.count; p++) {
        const int pair = order[static_cast<size_t>(from + p)], m = pair / plan.digits, i = pair % plan.digits;
        const int64_t place = g * pairs_of_group + pair;
        pairs.key[p] = static_cast<uint64_t>(job.keys[top + m]);
        pairs.slot[p] = (static_cast<uint64_t>(g) * plan.digits + static_cast<uint64_t>(i)) * plan.planes;
        pairs.factor[p] = factors + (job.noise ? place * plan.planes : 0);
        pairs.sums[p] = sums + static_cast<int64_t>(m) * WIDTH;
        pairs.weight[p] = plan.digit_weight[i] * plan.step;
        pairs.totals[p] = totals_of(pair);
        const int32_t reach = reaches[place].size + most_noise(job);
        if (reach > pairs.reach) pairs.reach = reach;
        pairs.low[p] = four_times(reaches[place].low);
        pairs.high[p] = four_times(reaches[place].high);
        if (reaches[place].stop > pairs.stop) pairs.stop = reaches[place].stop;
      }
      data.push_back(pairs);
    }
  }

  static int32_t four_times(int8_t byte) {
    return static_cast<int32_t>(static_cast<uint8_t>(byte) * 0x01010101u);
  }

#if defined(__AVX2__)
  int8_t* totals_of(int pair) const { return totals->of(pair); }
#else
  int8_t* totals_of(int) const { return nullptr; }
#endif

  // Tables of chosen pairs one after the other, in a place of their own: events still read those of all.
  const uint8_t* gather(const uint8_t* from, const std::vector<int>& order) {
    if (order.empty()) return nullptr;
    const int64_t table_bytes = static_cast<int64_t>(job.plan->quads) * TABLE_STEP;
    gathered.emplace_back((order.size() + MOST_PAIRS - 1) / MOST_PAIRS * static_cast<size_t>(table_bytes) + 64);
    uint8_t* to = gathered.back().data();
    to += (64 - reinterpret_cast<uintptr_t>(to) % 64) % 64;
    for (size_t at = 0; at < order.size(); at++) {
      const int64_t pair = order[at], place = static_cast<int64_t>(at);
      uint8_t* mine = to + place / MOST_PAIRS * table_bytes + place % MOST_PAIRS * 16;
      const uint8_t* own = from + pair / MOST_PAIRS * table_bytes + pair % MOST_PAIRS * 16;
      for (int64_t q = 0; q < table_bytes; q += TABLE_STEP) std::memcpy(mine + q, own + q, 16);
    }
    return to;
  }
};

}  // namespace serial
}  // namespace OHM_ISA
}  // namespace ohm
