// The streamed operand of digit-serial products: tables of the digits of a row, and what depends on them.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "digit_serial_pack.hpp"

namespace ohm {
namespace OHM_ISA {
namespace serial {

constexpr int32_t UNKNOWN_REACH = 1 << 30;
constexpr int MOST_STOPS = 16;
constexpr float STOP_SDS = 3.7f;  // so that seldom any of 400 sums is outside; decides how long a product takes

// How far the sums of a pair (row, digit) of a group may reach.
struct Reach {
  int32_t size;      // of any sum
  int32_t stop;      // quads after which no sum that lies in low ... high can leave the range of the converter any more
  int8_t low, high;  // stop is the number of quads where there is no such point before the end
};

// Largest code that a sum of 8 bits may have.
inline int32_t most_byte(const SerialPlan& plan) { return smaller(plan.max_code, INT8_MAX); }

// Whether sums of this product need not be computed beyond the point where they cannot be clipped any more: then noise
// and what clipping takes are added to the integer product (digit_serial_rest.hpp).
inline bool may_stop(const SerialJob& job) {
#if defined(__AVX2__)
  const SerialPlan& plan = *job.plan;
  if (!job.resident || !plan.in_bytes || job.noise == DENSE || job.keep || plan.step != 1) return false;
  int32_t weights = 0;  // of a run: 16 bits have to hold their sums of bytes
  for (int plane = 0; plane < plan.planes; plane++) {
    weights += plan.plane_weight[plane] < 0 ? -plan.plane_weight[plane] : plan.plane_weight[plane];
    if (weights * INT8_MAX > INT16_MAX) return false;
    if (plan.run_factor[plane]) weights = 0;
  }
  return true;
#else
  (void)job;
  return false;
#endif
}

// Digits of one row and group after the other. Tables hold the sums of all subsets of four digits.
class StreamedDigits {
 public:
  explicit StreamedDigits(const SerialJob& given)
      : job(given), plan(*given.plan), stride(plan.quads * 4), kept(given.noise && given.mismatch > 0), stops(may_stop(given)),
        stop_step((plan.quads + MOST_STOPS - 1) / MOST_STOPS),
        digits(static_cast<int64_t>(MOST_DIGITS) * stride), lanes((plan.planes + LANE - 1) / LANE * LANE),
        counts(kept ? static_cast<int64_t>(plan.bounds[2 * plan.groups - 1]) * lanes : 1), branches(lanes) {
    if (!kept) return;
    int64_t most = 0;
    for (int i = 0; i <= 2 * plan.max_digit; i++) most = plan.power[i] > most ? plan.power[i] : most;
    narrow = most * job.columns * stride < INT32_MAX;
    for (int64_t k = 0; k < plan.bounds[2 * plan.groups - 1]; k++)
      for (int64_t j = 0; j < lanes; j++)
        counts.data[k * lanes + j] = j < plan.planes ? job.closed_count[k * plan.planes + j] : 0;
  }

  // Tables of every digit of a row and group, and how far the sums of each may reach.
  template <typename TableOf>
  void read(int64_t row, int g, const TableOf& table_of, Reach* reach) {
    const int first = plan.bounds[2 * g], last = plan.bounds[2 * g + 1];
    const float* x = job.x + row * job.inner + first;
    for (int i = 0; i < plan.digits; i += 4) {
      uint8_t* tables[4];
      for (int d = 0; d < 4 && i + d < plan.digits; d++) tables[d] = table_of(i + d);
      four_digits(x, last - first, i, tables, reach + i);
    }
  }

  // Noise of each plane: its factor, or the number of its law; of the row and group last read.
  void factors(int g, int i, int16_t* of_plane) {
    const int first = plan.bounds[2 * g], last = plan.bounds[2 * g + 1];
    if (!kept) {
      const int16_t same = factor_of(0.0);
      for (int j = 0; j < plan.planes; j++) of_plane[j] = same;
      return;
    }
    const int8_t* mine = digits.data + static_cast<int64_t>(i) * stride;
    if (narrow)
      sum_branches<int32_t>(mine, first, last);
    else
      sum_branches<int64_t>(mine, first, last);
    for (int j = 0; j < plan.planes; j++) of_plane[j] = factor_of(static_cast<double>(branches.data[j]));
  }

 private:
  static constexpr int LANE = 8;
  const SerialJob& job;
  const SerialPlan& plan;
  const int stride;
  const bool kept;   // whether digits are needed again
  const bool stops;  // whether sums may end early
  const int stop_step;
  Scratch<int8_t> digits;
  const int64_t lanes;
  Scratch<int32_t> counts;  // [element, lane]
  Scratch<int64_t> branches;
  bool narrow = false;

  int16_t factor_of(double of_all) const {
    return static_cast<int16_t>(__builtin_rint(
        job.noise == WHOLE ? job.per_branch * of_all
                           : std::sqrt(job.additive + job.mean_mismatch * of_all) * job.per_sd));
  }

  // branches[plane] = sum over elements of power of the digit times closed switches; whole numbers that T holds.
  template <typename T>
  void sum_branches(const int8_t* mine, int first, int last) {
    typedef T Vector __attribute__((vector_size(LANE * sizeof(T))));
    typedef int32_t Counts __attribute__((vector_size(LANE * sizeof(int32_t))));
    for (int64_t j = 0; j < lanes; j += LANE) {
      Vector sum = {};
      for (int k = first; k < last; k++) {
        Counts closed;
        std::memcpy(&closed, counts.data + k * lanes + j, sizeof closed);
        sum += __builtin_convertvector(closed, Vector) * static_cast<T>(plan.power[mine[k - first] + plan.max_digit]);
      }
      for (int n = 0; n < LANE; n++) branches.data[j + n] = sum[n];
    }
  }

  // Four digits of four elements, digit after digit.
  void four_digits(const float* x, int count, int from, uint8_t* const* tables, Reach* reach) {
    const int here = plan.digits - from < 4 ? plan.digits - from : 4;
    const float low = static_cast<float>(plan.lowest), high = static_cast<float>(plan.highest);
    const int8_t* digits_of = plan.digits_of - static_cast<int64_t>(plan.lowest) * MOST_DIGITS + from;
    int32_t above[4] = {}, below[4] = {};
    bool bad = false;
#if defined(__AVX2__)
    const __m128i by_digit = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m128i bits = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m256i chosen[4][2];  // [element][two digits]: where its digit belongs to the subset
    for (int e = 0; e < 4; e++)
      for (int two = 0; two < 2; two++) {
        const __m128i bit = _mm_set1_epi8(static_cast<char>(1 << e));
        const __m128i out = _mm_andnot_si128(_mm_cmpeq_epi8(_mm_and_si128(bits, bit), bit), _mm_set1_epi8(-128));
        chosen[e][two] = _mm256_set_m128i(_mm_or_si128(out, _mm_set1_epi8(static_cast<char>(8 * two + 4 + e))),
                                          _mm_or_si128(out, _mm_set1_epi8(static_cast<char>(8 * two + e))));
      }
    const __m128i zero = _mm_setzero_si128();
    __m128i up = zero, down = zero, outside = zero;
    int32_t up_to[MOST_STOPS][2][4];  // [stop][above, below][digit]
    for (int k = 0, q = 0; k < count; k += 4, q++) {
      alignas(16) float four[4] = {};
      __m128 value;
      if (k + 4 <= count) {
        value = _mm_loadu_ps(x + k);
      } else {
        for (int e = 0; k + e < count; e++) four[e] = x[k + e];
        value = _mm_load_ps(four);
      }
      const __m128i inside = _mm_castps_si128(_mm_and_ps(_mm_cmpge_ps(value, _mm_set1_ps(low)),
                                                         _mm_cmple_ps(value, _mm_set1_ps(high))));
      outside = _mm_or_si128(outside, _mm_cmpeq_epi32(inside, zero));
      alignas(16) int32_t number[4];
      _mm_store_si128(reinterpret_cast<__m128i*>(number), _mm_and_si128(_mm_cvttps_epi32(value), inside));
      int32_t word[4];
      for (int e = 0; e < 4; e++) std::memcpy(word + e, digits_of + number[e] * MOST_DIGITS, 4);
      const __m128i found =
          _mm_shuffle_epi8(_mm_setr_epi32(word[0], word[1], word[2], word[3]), by_digit);
      up = _mm_add_epi8(up, _mm_max_epi8(found, zero));
      down = _mm_sub_epi8(down, _mm_min_epi8(found, zero));
      if (stops && (q + 1) % stop_step == 0) {  // sums of four elements
        const __m128i one = _mm_set1_epi8(1), two = _mm_set1_epi16(1);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(up_to[q / stop_step][0]), _mm_madd_epi16(_mm_maddubs_epi16(up, one), two));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(up_to[q / stop_step][1]), _mm_madd_epi16(_mm_maddubs_epi16(down, one), two));
      }
      if (kept)
        for (int d = 0; d < here; d++) {
          int32_t all[4];
          std::memcpy(all, &found, 16);
          std::memcpy(digits.data + static_cast<int64_t>(from + d) * stride + k, all + d, 4);
        }
      const __m256i both = _mm256_broadcastsi128_si256(found);
      for (int two = 0; 2 * two < here; two++) {
        const __m256i table =
            _mm256_add_epi8(_mm256_add_epi8(_mm256_shuffle_epi8(both, chosen[0][two]), _mm256_shuffle_epi8(both, chosen[1][two])),
                            _mm256_add_epi8(_mm256_shuffle_epi8(both, chosen[2][two]), _mm256_shuffle_epi8(both, chosen[3][two])));
        _mm_store_si128(reinterpret_cast<__m128i*>(tables[2 * two] + q * TABLE_STEP), _mm256_castsi256_si128(table));
        if (2 * two + 1 < here)
          _mm_store_si128(reinterpret_cast<__m128i*>(tables[2 * two + 1] + q * TABLE_STEP),
                          _mm256_extracti128_si256(table, 1));
      }
    }
    for (int q = (count + 3) / 4; q < plan.quads; q++)
      for (int d = 0; d < here; d++) std::memset(tables[d] + q * TABLE_STEP, 0, 16);
    bad = !_mm_testz_si128(outside, outside);
    for (int d = 0; d < 4; d++)
      for (int e = 0; e < 4; e++) {
        above[d] += reinterpret_cast<const uint8_t*>(&up)[4 * d + e];
        below[d] += reinterpret_cast<const uint8_t*>(&down)[4 * d + e];
      }
#else
    for (int q = 0; q < plan.quads; q++) {
      int8_t found[4][4] = {};  // [digit][element]
      for (int e = 0; e < 4 && 4 * q + e < count; e++) {
        const float value = x[4 * q + e];
        const bool inside = value >= low && value <= high;
        bad |= !inside;
        for (int d = 0; inside && d < here; d++) {
          const int8_t digit = digits_of[static_cast<int>(value) * MOST_DIGITS + d];
          found[d][e] = digit;
          (digit > 0 ? above : below)[d] += digit > 0 ? digit : -digit;
        }
      }
      for (int d = 0; d < here; d++) {
        if (kept) std::memcpy(digits.data + static_cast<int64_t>(from + d) * stride + 4 * q, found[d], 4);
        for (int i = 0; i < 16; i++)
          tables[d][q * TABLE_STEP + i] = static_cast<uint8_t>((i & 1 ? found[d][0] : 0) + (i & 2 ? found[d][1] : 0) +
                                                               (i & 4 ? found[d][2] : 0) + (i & 8 ? found[d][3] : 0));
      }
    }
#endif
    if (bad) __atomic_store_n(job.bad, 1, __ATOMIC_RELAXED);
    const bool counted = plan.quads * plan.max_digit < 256;  // in bytes
    for (int d = 0; d < here; d++) {
      const int32_t most = above[d] > below[d] ? above[d] : below[d];
      reach[d].size = counted ? (plan.sharing ? above[d] + below[d] : most) : UNKNOWN_REACH;
      reach[d].stop = plan.quads;
#if defined(__AVX2__)
      if (!counted || !stops || reach[d].size > INT8_MAX - most_noise(job)) continue;
      int k = 0;  // the first stop that serves, if any: what is left gets less, what sums may be hardly more
      const int latest = smaller(count / 4, plan.quads * 7 / 8) / stop_step;  // later it would not pay
      for (int last = latest; k < last;) {
        const int middle = (k + last) / 2;
        if (serves(up_to[middle], d, above[d], below[d], reach[d])) last = middle; else k = middle + 1;
      }
      if (k < latest && serves(up_to[k], d, above[d], below[d], reach[d])) reach[d].stop = (k + 1) * stop_step;
#endif
    }
  }

  // Whether sums up to a stop mostly lie where the rest cannot bring them out of the range of the converter; sets that
  // range. Taken for it: a switch is closed half of the time, digits are uniform.
  bool serves(const int32_t (&up_to)[2][4], int d, int32_t above, int32_t below, Reach& reach) const {
    const int32_t up = above - up_to[0][d], down = below - up_to[1][d], most = most_byte(plan);
    const int32_t high = most - (plan.sharing ? up + down : up), low = -most + (plan.sharing ? up + down : down);
    const float mean = plan.sharing ? 0.f : 0.5f * static_cast<float>(up_to[0][d] - up_to[1][d]);
    const float variance = static_cast<float>(up_to[0][d] + up_to[1][d]) * static_cast<float>(2 * plan.max_digit + 1) *
                           ((plan.sharing ? 0.5f : 0.25f) / 3.f);
    const float over = static_cast<float>(high) - mean, under = mean - static_cast<float>(low);
    const float room = over < under ? over : under;
    reach.low = static_cast<int8_t>(low);
    reach.high = static_cast<int8_t>(high);
    return room > 0.f && room * room > STOP_SDS * STOP_SDS * variance;
  }
};

}  // namespace serial
}  // namespace OHM_ISA
}  // namespace ohm
