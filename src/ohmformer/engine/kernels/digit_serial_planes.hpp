// Codes of planes in 8 bits on their way to the sums of the rows; and whole noise that goes there without a sum.
#pragma once
#include <cstdint>
#include <cstring>
#include <vector>

#include "digit_serial_alone.hpp"
#include "digit_serial_whole.hpp"

namespace ohm {
namespace OHM_ISA {
namespace serial {

#if defined(__AVX2__)

// Weights of the planes of a run, two by two for products of bytes, and which of them are negative.
struct PlaneWeights {
  __m256i two[(MOST_PLANES + 1) / 2];
  uint64_t negative = 0;

  PlaneWeights(const int16_t* weight, int count) {
    for (int plane = 0; plane < count; plane += 2) {
      const int here = weight[plane], next = plane + 1 < count ? weight[plane + 1] : 0;
      two[plane / 2] = _mm256_set1_epi16(static_cast<int16_t>((here < 0 ? -here : here) | (next < 0 ? -next : next) << 8));
      negative |= static_cast<uint64_t>((here < 0) | (next < 0) << 1) << plane;
    }
  }
};

// Sums of 16 bits of the COUNT planes of a run (0: of count), half of the columns of a pair.
template <bool CLIPS, int COUNT>
inline __attribute__((always_inline)) void weigh(const int8_t (*from)[MOST_PAIRS][WIDTH], int p, int half,
                                                 const PlaneWeights& weights, int count, __m256i most,
                                                 __m256i (&total)[2]) {
  const __m256i zero = _mm256_setzero_si256(), least = _mm256_sub_epi8(zero, most);
  const auto code = [&](int plane) {
    __m256i sum = _mm256_load_si256(reinterpret_cast<const __m256i*>(from[plane][p] + 32 * half));
    if (CLIPS) sum = _mm256_max_epi8(_mm256_min_epi8(sum, most), least);
    return __builtin_expect(weights.negative >> plane & 1, 0) ? _mm256_sub_epi8(zero, sum) : sum;
  };
  total[0] = total[1] = zero;
  if (COUNT) count = COUNT;
#pragma GCC unroll 4
  for (int plane = 0; plane < count; plane += 2) {
    const __m256i a = code(plane), b = plane + 1 < count ? code(plane + 1) : zero;
    total[0] = _mm256_add_epi16(total[0], _mm256_maddubs_epi16(weights.two[plane / 2], _mm256_unpacklo_epi8(a, b)));
    total[1] = _mm256_add_epi16(total[1], _mm256_maddubs_epi16(weights.two[plane / 2], _mm256_unpackhi_epi8(a, b)));
  }
}

// Codes of the planes of a run, weighted, go to the sums of the rows, `times` times. CLIPS: at `most`
template <bool CLIPS, int COUNT>
inline void add_run(const Pairs& pairs, const int8_t (*from)[MOST_PAIRS][WIDTH], int count, const int16_t* weight,
                    int32_t times, int most) {
  const PlaneWeights weights(weight, count);
  const __m256i largest = _mm256_set1_epi8(static_cast<char>(most));
  for (int p = 0; p < pairs.count;) {
    const bool two = p + 1 < pairs.count && pairs.sums[p] == pairs.sums[p + 1];
    const int32_t one = pairs.weight[p] * times, other = two ? pairs.weight[p + 1] * times : 0;
    for (int half = 0; half < 2; half++) {
      __m256i total[2], next[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
      weigh<CLIPS, COUNT>(from, p, half, weights, count, largest, total);
      if (two) weigh<CLIPS, COUNT>(from, p + 1, half, weights, count, largest, next);
      for (int i = 0; i < 2; i++) add_weighted(total[i], one, next[i], other, pairs.sums[p] + 32 * half + 16 * i);
    }
    p += two ? 2 : 1;
  }
}
template <bool CLIPS>
inline void add_planes(const Pairs& pairs, const int8_t (*from)[MOST_PAIRS][WIDTH], int count, const int16_t* weight,
                       int32_t times, int most) {
  switch (count) {
    case 2: return add_run<CLIPS, 2>(pairs, from, count, weight, times, most);
    case 3: return add_run<CLIPS, 3>(pairs, from, count, weight, times, most);
    case 6: return add_run<CLIPS, 6>(pairs, from, count, weight, times, most);
    case 8: return add_run<CLIPS, 8>(pairs, from, count, weight, times, most);
    default: return add_run<CLIPS, 0>(pairs, from, count, weight, times, most);
  }
}

// How noise alone is weighed: the numbers of planes each of which weighs twice the one before, a unit, are added up in
// bytes, the highest first, and so are those of several groups.
struct NoiseUnits {
  static constexpr int MOST_TOTAL = 15;  // of a unit of several planes
  static constexpr int LARGEST = 4;      // planes, of which the sums of -1, 0 and 1 reach that
  int count = 0, planes[MOST_PLANES];    // [unit]
  int groups = 1;                        // whose totals fit 8 bits
  int16_t weight[MOST_PLANES];
  int32_t factor[MOST_PLANES];  // of the run that ends with it, or 0

  explicit NoiseUnits(const SerialJob& job) {
    if (job.noise != WHOLE) return;
    const SerialPlan& plan = *job.plan;
    const int size = plan.levels + !plan.centre;
    bool ended = true;
    int most = size;
    for (int plane = 0, total = 0; plane < plan.planes; plane++) {
      if (ended || plan.plane_weight[plane] != 2 * plan.plane_weight[plane - 1] || 2 * total + size > MOST_TOTAL) {
        weight[count] = plan.plane_weight[plane];
        total = planes[count++] = 0;
      }
      total = 2 * total + size;
      if (total > most) most = total;
      planes[count - 1]++;
      factor[count - 1] = plan.run_factor[plane];
      ended = plan.run_factor[plane] != 0;
    }
    groups = INT8_MAX / most;
  }
};

// Totals of the noise of some rows: of every pair and unit, until they are added to the sums of the rows.
class NoiseTotals {
 public:
  NoiseTotals(const SerialJob& job, const NoiseUnits& of_planes, int rows, int32_t* sums, bool used)
      : units(of_planes), blocks(used ? (rows * job.plan->digits + MOST_PAIRS - 1) / MOST_PAIRS : 0),
        totals(used ? blocks * block_bytes() : 1), pairs(static_cast<size_t>(blocks)) {
    const int digits = job.plan->digits;
    for (int b = 0; b < blocks; b++) {
      Pairs& block = pairs[static_cast<size_t>(b)];
      block.count = static_cast<int>(smaller(MOST_PAIRS, rows * digits - b * MOST_PAIRS));
      for (int p = 0; p < block.count; p++) {
        const int pair = b * MOST_PAIRS + p;
        block.sums[p] = sums + static_cast<int64_t>(pair / digits) * WIDTH;
        block.weight[p] = job.plan->digit_weight[pair % digits] * job.plan->step;
      }
    }
    clear();
  }

  int8_t* of(int pair) {
    return totals.data + pair / MOST_PAIRS * block_bytes() + static_cast<int64_t>(pair % MOST_PAIRS) * WIDTH;
  }
  // After a group: totals that the next one might bring beyond 8 bits, or the last, go to the sums.
  void end_group(bool last) {
    if (!blocks || (++held < units.groups && !last)) return;
    for (int b = 0; b < blocks; b++) {
      const auto from = reinterpret_cast<const int8_t (*)[MOST_PAIRS][WIDTH]>(totals.data + b * block_bytes());
      for (int first = 0, unit = 0; unit < units.count; unit++) {
        if (!units.factor[unit]) continue;
        add_planes<false>(pairs[static_cast<size_t>(b)], from + first, unit + 1 - first, units.weight + first,
                          units.factor[unit], 0);
        first = unit + 1;
      }
    }
    clear();
  }

 private:
  const NoiseUnits& units;
  const int blocks;
  Scratch<int8_t> totals;  // [block, unit, MOST_PAIRS, WIDTH]
  std::vector<Pairs> pairs;
  int held = 0;  // groups

  int64_t block_bytes() const { return static_cast<int64_t>(units.count) * MOST_PAIRS * WIDTH; }
  void clear() {
    held = 0;
    std::memset(totals.data, 0, static_cast<size_t>(blocks * block_bytes()));
  }
};

// The noise of some pairs goes to their totals. Where no sum can be clipped that is all: it is added to the product,
// whatever the sums are.
struct NoiseBlock {
  const Noise& noise;
  const NoiseUnits& units;
  const Pairs& pairs;

  // kept: [plane] where the numbers themselves go, or null
  inline void run(int64_t cb, int8_t (*kept)[MOST_PAIRS][WIDTH] = nullptr) const {
    switch (kind_of(noise.laws)) {
      case SAME: return kept ? run_of<SAME, true>(cb, kept) : run_of<SAME, false>(cb, kept);
      case OWN: return kept ? run_of<OWN, true>(cb, kept) : run_of<OWN, false>(cb, kept);
      default: return kept ? run_of<ANY, true>(cb, kept) : run_of<ANY, false>(cb, kept);
    }
  }

 private:
  template <int KIND, bool KEEPS>
  inline void run_of(int64_t cb, int8_t (*kept)[MOST_PAIRS][WIDTH]) const {
    PairNoise own;
    for (int p = 0; p < pairs.count; p++) {
      own.start(noise, pairs, p, cb, PairNoise::same(pairs, p));
      int8_t* total = pairs.totals[p];
      for (int unit = 0, first = 0; unit < units.count; unit++, total += MOST_PAIRS * WIDTH) {
        int8_t* to = KEEPS ? kept[first][p] : nullptr;
        switch (units.planes[unit]) {
          case 1: draw<KIND, KEEPS, 1>(own, first, total, to); break;
          case 2: draw<KIND, KEEPS, 2>(own, first, total, to); break;
          case 3: draw<KIND, KEEPS, 3>(own, first, total, to); break;
          default: draw<KIND, KEEPS, NoiseUnits::LARGEST>(own, first, total, to);
        }
      }
    }
  }
  template <int KIND, bool KEEPS, int COUNT>
  static inline __attribute__((always_inline)) void draw(PairNoise& own, int& first, int8_t* total, int8_t* kept) {
    __m256i random[COUNT][2];
    own.bytes<COUNT>(own.counter, random);
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++) {
      __m256i sum = _mm256_setzero_si256();
#pragma GCC unroll 4
      for (int i = COUNT - 1; i >= 0; i--) {
        const __m256i number = own.number<KIND>(half, first + i, random[i][half]);
        if (KEEPS) _mm256_store_si256(reinterpret_cast<__m256i*>(kept + i * MOST_PAIRS * WIDTH + 32 * half), number);
        sum = i == COUNT - 1 ? number : _mm256_add_epi8(_mm256_add_epi8(sum, sum), number);
      }
      __m256i* to = reinterpret_cast<__m256i*>(total + 32 * half);
      _mm256_store_si256(to, _mm256_add_epi8(_mm256_load_si256(to), sum));
    }
    own.counter = _mm256_add_epi64(own.counter, Noise::counter(0, static_cast<uint64_t>(COUNT) << 32));
    first += COUNT;
  }
};

// What the conversions of a product draw from.
struct Random {
  const Noise noise;
  const Ars alone;  // of conversions that are looked at one by one
  const NoiseUnits units;

  explicit Random(const SerialJob& job) : noise(job), alone(job.seed, job.alone), units(job) {}
};

#else

struct NoiseUnits {};

struct NoiseTotals {
  NoiseTotals(const SerialJob&, const NoiseUnits&, int, int32_t*, bool) {}
  void end_group(bool) {}
};

struct Random {
  const Noise noise;
  const NoiseUnits units;

  explicit Random(const SerialJob& job) : noise(job), units() {}
};

#endif

}  // namespace serial
}  // namespace OHM_ISA
}  // namespace ohm
