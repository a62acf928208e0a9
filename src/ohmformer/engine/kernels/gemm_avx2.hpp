// The integer product with AVX2: codes of 8 bits multiplied and added in pairs into 16 bits, many pairs before
// the sums go on to 32 bits, exact to the last bit for all codes -128 ... 127.
//
// The instruction takes unsigned times signed bytes and saturates, so that for a pair of elements (k even, k + 1)
//   w a + w' a' = (128 + w) a + (127 - w') b - 128 a - 127 b,   b = -a'
// the resident operand is stored as 128 + w and 127 - w', the streamed one as a and b. Three bounds keep it exact:
// - |a| + |b| <= 128 where both have one sign: 255 * 128 < 2^15, nothing saturates. What exceeds it is taken off
//   a pair and added by Leftovers (the signs alternate because activations of one sign are common).
// - Sums in 16 bits are taken modulo 2^16. That of a span (16 elements, 8 for each 16-bit lane) is what it
//   says while |sum of w a| < 2^15, by Cauchy and Schwarz while norm(a) * norm(w) < 2^15: these norms ("reach")
//   are kept. Where they allow it two spans are summed, where they do not fewer steps; one step always fits.
// - The last terms depend on the streamed operand alone; each span carries them modulo 2^16.
#pragma once
#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "scratch.hpp"

namespace ohm {
namespace OHM_ISA {

constexpr int PACK_COLUMNS = 16, PACK_INNER = 4, STRIP_ROWS = 6;
constexpr int SPAN = 16, STEPS = SPAN / PACK_INNER, STEP_BYTES = PACK_COLUMNS * PACK_INNER;
constexpr int SPAN_BYTES = STEPS * STEP_BYTES;
constexpr int64_t SPANS_AT_ONCE = 64;        // 16 KiB of a panel
constexpr float MOST = 32766.0f;             // 2^15 - 1 less the rounding of a sum of two products of reaches
constexpr float REACH_OF_RESIDENT = 256.0f;  // of 4 codes of any size
constexpr int EVEN = 0x80, ODD = 0x7f;       // stored code = code ^ this

inline int64_t panels_of(int64_t columns) { return (columns + PACK_COLUMNS - 1) / PACK_COLUMNS; }
inline int64_t spans_of(int64_t inner) { return (inner + SPAN - 1) / SPAN; }
inline int64_t panel_bytes(int64_t inner) { return spans_of(inner) * SPAN_BYTES; }
inline int64_t packed_bytes(int64_t columns, int64_t inner) {
  return panels_of(columns) * (panel_bytes(inner) + spans_of(inner) * static_cast<int64_t>(sizeof(float)));
}
inline int64_t place_of(int64_t n, int64_t k, int64_t inner) {
  return n / PACK_COLUMNS * panel_bytes(inner) + k / PACK_INNER * STEP_BYTES + n % PACK_COLUMNS * PACK_INNER +
         k % PACK_INNER;
}
// [panel, span]: largest norm of the 8 codes of one column that are summed in one 16-bit lane.
inline float* reaches_of(int8_t* packed, int64_t columns, int64_t inner) {
  return reinterpret_cast<float*>(packed + panels_of(columns) * panel_bytes(inner));
}
inline const float* reaches_of(const int8_t* packed, int64_t columns, int64_t inner) {
  return reinterpret_cast<const float*>(packed + panels_of(columns) * panel_bytes(inner));
}

inline __m256i load(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }
inline __m256i low_squares(__m256i codes) {  // [8] a a + b b of the lower half's pairs
  const __m256i wide = _mm256_cvtepi8_epi16(_mm256_castsi256_si128(codes));
  return _mm256_madd_epi16(wide, wide);
}
inline __m256i high_squares(__m256i codes) {
  const __m256i wide = _mm256_cvtepi8_epi16(_mm256_extracti128_si256(codes, 1));
  return _mm256_madd_epi16(wide, wide);
}
inline float reach(__m256i squares) {  // root of the largest of eight
  alignas(32) int32_t all[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(all), squares);
  int32_t most = 0;
  for (int i = 0; i < 8; i++) most = all[i] > most ? all[i] : most;
  return std::sqrt(static_cast<float>(most));
}

// --- the resident operand -------------------------------------------------------------------------------

inline float span_reach(const int8_t* span) {
  const __m256i signs = _mm256_set1_epi16(ODD << 8 | EVEN);
  __m256i sums[4] = {};
  for (int t = 0; t < STEPS; t++)
    for (int i = 0; i < 2; i++) {
      const __m256i codes = _mm256_xor_si256(load(span + t * STEP_BYTES + i * 32), signs);
      sums[2 * i] = _mm256_add_epi32(sums[2 * i], low_squares(codes));
      sums[2 * i + 1] = _mm256_add_epi32(sums[2 * i + 1], high_squares(codes));
    }
  return reach(_mm256_max_epi32(_mm256_max_epi32(sums[0], sums[1]), _mm256_max_epi32(sums[2], sums[3])));
}

inline int8_t code_at(const int8_t* packed, int64_t n, int64_t k, int64_t inner) {
  return static_cast<int8_t>(packed[place_of(n, k, inner)] ^ (k & 1 ? ODD : EVEN));
}

inline void start_packing(int8_t* packed, int64_t columns, int64_t inner) {
  const int64_t count = panels_of(columns) * panel_bytes(inner) / 2;
  const uint16_t zeros = ODD << 8 | EVEN;
  for (int64_t i = 0; i < count; i++) std::memcpy(packed + 2 * i, &zeros, 2);
}

inline void pack_column(const int8_t* codes, int64_t n, int64_t, int64_t inner, int8_t* packed) {
  int8_t* to = packed + place_of(n, 0, inner);
  const int64_t whole = inner / PACK_INNER;
  for (int64_t s = 0; s < whole; s++) {
    uint32_t four;
    std::memcpy(&four, codes + s * PACK_INNER, 4);
    four ^= (ODD << 8 | EVEN) * 0x10001u;
    std::memcpy(to + s * STEP_BYTES, &four, 4);
  }
  for (int64_t k = whole * PACK_INNER; k < inner; k++)
    to[whole * STEP_BYTES + k % PACK_INNER] = static_cast<int8_t>(codes[k] ^ (k & 1 ? ODD : EVEN));
}

inline void finish_packing(int8_t* packed, int64_t columns, int64_t inner) {
  float* reaches = reaches_of(packed, columns, inner);
  const int64_t spans = panels_of(columns) * spans_of(inner);
  for (int64_t i = 0; i < spans; i++) reaches[i] = span_reach(packed + i * SPAN_BYTES);
}

// Sum of squares of the 8 codes that are summed with the one at `place` of its span.
inline int32_t lane_squares(const int8_t* span, int64_t place) {
  const int8_t* lane = span + place % STEP_BYTES / 2 * 2;
  int32_t sum = 0;
  for (int t = 0; t < STEPS; t++) {
    const int32_t even = static_cast<int8_t>(lane[t * STEP_BYTES] ^ EVEN);
    const int32_t odd = static_cast<int8_t>(lane[t * STEP_BYTES + 1] ^ ODD);
    sum += even * even + odd * odd;
  }
  return sum;
}

inline void patch(int8_t* packed, int64_t columns, int64_t inner, const int64_t* places, const int32_t* deltas,
                  int64_t count) {
  float* reaches = reaches_of(packed, columns, inner);
  for (int64_t i = 0; i < count; i++) {
    const int64_t n = places[i] / inner, k = places[i] - n * inner, place = place_of(n, k, inner);
    const int sign = k & 1 ? ODD : EVEN;
    const int32_t code = static_cast<int8_t>(packed[place] ^ sign), other = static_cast<int8_t>(code + deltas[i]);
    packed[place] = static_cast<int8_t>(other ^ sign);
    int8_t* span = packed + place / SPAN_BYTES * SPAN_BYTES;
    float& largest = reaches[place / SPAN_BYTES];
    const int32_t after = lane_squares(span, place), before = after - other * other + code * code;
    const float reached = std::sqrt(static_cast<float>(after));
    if (reached >= largest)
      largest = reached;
    else if (std::sqrt(static_cast<float>(before)) == largest)  // it may have been the only one
      largest = span_reach(span);
  }
}

// --- the streamed operand -------------------------------------------------------------------------------

// Up to four steps of one row that are added after the rest of a panel: what exceeded the bound of a pair.
struct Leftovers {
  int32_t row, terms, step[4], codes[4];
};

// Words of a span of a strip of `rows` rows: [row] last terms, [step, row] codes.
constexpr int64_t span_words(int64_t rows) { return (1 + STEPS) * rows; }

inline __m256i last_terms() { return _mm256_set1_epi16(127 << 8 | 128); }
inline __m256i larger_of_lanes(__m256i v) { return _mm256_max_epi32(v, _mm256_shuffle_epi32(v, 0xb1)); }

// Some rows of streamed codes, strip by strip as the micro kernels read them.
class StreamedBlock {
 public:
  int64_t rows = 0, spans = 0;

  const int32_t* strip(int64_t row) const { return data.data() + row / STRIP_ROWS * span_words(STRIP_ROWS) * spans; }
  const float* reaches(int64_t row) const { return reach_of.data() + row / STRIP_ROWS * spans; }     // [span]
  const float* parts(int64_t row) const { return part_of.data() + row / STRIP_ROWS * spans * 2; }  // of 2 steps
  const Leftovers* left(int64_t row) const { return rest.data() + starts[static_cast<size_t>(row / STRIP_ROWS)]; }

  // Room for the strips of `count` rows.
  void begin(int64_t count, int64_t inner) {
    rows = count;
    spans = spans_of(inner);
    const int64_t strips = (rows + STRIP_ROWS - 1) / STRIP_ROWS;
    data.resize(static_cast<size_t>(rows * spans * (1 + STEPS)));
    reach_of.resize(static_cast<size_t>(strips * spans));
    part_of.resize(static_cast<size_t>(strips * spans * 2));
    rest.clear();
    starts.assign(1, 0);
  }

  // The next strip, at row `top`. codes: [count, inner], rows `stride` apart, zeros up to a multiple of 32
  void lay_strip(const int8_t* codes, int64_t stride, int64_t top, int64_t count) {
    int32_t* to = const_cast<int32_t*>(strip(top));
    float *whole = const_cast<float*>(reaches(top)), *part = const_cast<float*>(parts(top));
    Open open[STRIP_ROWS] = {};
    const __m256i odd = _mm256_set1_epi16(static_cast<int16_t>(0xff00)), zero = _mm256_setzero_si256();
    const __m256i ones = _mm256_set1_epi8(1), lowest = _mm256_set1_epi8(-128), most = _mm256_set1_epi16(128);
    for (int64_t s = 0; s < spans; s += 2) {
      const int64_t here = smaller(2, spans - s), words = here * span_words(count);
      __m256i reached = zero, parts_reached[2] = {zero, zero};  // squares; [part or span][.., lane, lane]
      for (int64_t m = 0; m < count; m++) {
        const __m256i from = load(codes + m * stride + s * SPAN);
        __m256i x = _mm256_blendv_epi8(from, _mm256_subs_epi8(zero, from), odd);
        const __m256i above = _mm256_cmpgt_epi16(_mm256_abs_epi16(_mm256_maddubs_epi16(ones, x)), most);
        const __m256i unlike = _mm256_and_si256(_mm256_cmpeq_epi8(from, lowest), odd);  // -(-128) is no code
        const __m256i beyond = _mm256_or_si256(above, unlike);
        if (!_mm256_testz_si256(beyond, beyond)) x = bounded(from, s * STEPS, m, open[m]);
        __m256i terms = _mm256_maddubs_epi16(last_terms(), x);  // [step, lane]
        terms = _mm256_add_epi16(terms, _mm256_shuffle_epi32(terms, 0x4e));
        terms = _mm256_sub_epi16(zero, _mm256_add_epi16(terms, _mm256_shuffle_epi32(terms, 0xb1)));
        alignas(32) int32_t four[2 * STEPS];
        _mm256_store_si256(reinterpret_cast<__m256i*>(four), x);
        to[m] = _mm256_extract_epi32(terms, 0);
        for (int t = 0; t < STEPS; t++) to[(1 + t) * count + m] = four[t];
        if (here == 2) {
          int32_t* next = to + span_words(count);
          next[m] = _mm256_extract_epi32(terms, 4);
          for (int t = 0; t < STEPS; t++) next[(1 + t) * count + m] = four[STEPS + t];
        }
        __m256i low = low_squares(x), high = high_squares(x);  // [step, lane]
        low = _mm256_add_epi32(low, _mm256_shuffle_epi32(low, 0x4e));
        high = _mm256_add_epi32(high, _mm256_shuffle_epi32(high, 0x4e));
        parts_reached[0] = _mm256_max_epi32(parts_reached[0], low);
        parts_reached[1] = _mm256_max_epi32(parts_reached[1], high);
        reached = _mm256_max_epi32(reached, _mm256_add_epi32(_mm256_permute2x128_si256(low, high, 0x20),
                                                             _mm256_permute2x128_si256(low, high, 0x31)));
      }
      alignas(32) float roots[24];
      const __m256i squares[3] = {reached, parts_reached[0], parts_reached[1]};
      for (int i = 0; i < 3; i++)
        _mm256_store_ps(roots + 8 * i, _mm256_sqrt_ps(_mm256_cvtepi32_ps(larger_of_lanes(squares[i]))));
      for (int64_t i = 0; i < here; i++) {
        whole[s + i] = roots[4 * i];
        part[2 * (s + i)] = roots[8 + 8 * i];
        part[2 * (s + i) + 1] = roots[12 + 8 * i];
      }
      to += words;
    }
    for (int64_t m = 0; m < count; m++) close(m, open[m]);
    starts.push_back(rest.size());
  }

 private:
  struct Open {  // leftovers of a row that still have room
    Leftovers found;
    int count, sum[2];
    int16_t terms[2];
  };
  std::vector<int32_t> data;
  std::vector<float> reach_of, part_of;
  std::vector<Leftovers> rest;
  std::vector<size_t> starts;  // [strip + 1] in `rest`

  // Eight steps of a row, each pair within its bound; the rest goes into `open`.
  __m256i bounded(__m256i from, int64_t step, int64_t row, Open& open) {
    const __m256i low = _mm256_set1_epi16(0xff), zero = _mm256_setzero_si256();
    __m256i a = _mm256_srai_epi16(_mm256_slli_epi16(from, 8), 8);
    __m256i b = _mm256_sub_epi16(zero, _mm256_srai_epi16(from, 8));
    const __m256i past = _mm256_sub_epi16(_mm256_abs_epi16(_mm256_add_epi16(a, b)), _mm256_set1_epi16(128));
    const __m256i unlike = _mm256_srli_epi16(_mm256_cmpgt_epi16(b, _mm256_set1_epi16(127)), 15);  // 1 where b = 128
    const __m256i off = _mm256_max_epi16(past, unlike);
    const __m256i first = _mm256_cmpgt_epi16(_mm256_abs_epi16(a), _mm256_abs_epi16(b));  // the larger one gives
    const __m256i a_off = _mm256_and_si256(first, _mm256_sign_epi16(off, a));
    const __m256i b_off = _mm256_andnot_si256(first, _mm256_sign_epi16(off, b));
    a = _mm256_sub_epi16(a, a_off);
    b = _mm256_sub_epi16(b, b_off);
    alignas(32) int8_t taken[2 * SPAN];
    const __m256i rests = _mm256_or_si256(_mm256_and_si256(a_off, low), _mm256_slli_epi16(b_off, 8));
    _mm256_store_si256(reinterpret_cast<__m256i*>(taken), rests);
    const __m256i none = _mm256_cmpeq_epi32(rests, zero);
    int steps = ~_mm256_movemask_ps(_mm256_castsi256_ps(none)) & 255;
    for (; steps; steps &= steps - 1) {
      const int t = __builtin_ctz(static_cast<unsigned>(steps));
      keep(taken + PACK_INNER * t, static_cast<int32_t>(step + t), row, open);
    }
    return _mm256_or_si256(_mm256_and_si256(a, low), _mm256_slli_epi16(b, 8));
  }

  void keep(const int8_t* taken, int32_t step, int64_t row, Open& open) {
    int size[2];
    for (int lane = 0; lane < 2; lane++) size[lane] = std::abs(taken[2 * lane]) + std::abs(taken[2 * lane + 1]);
    // sums of at most 128 * 255 in a lane
    if (open.count == 4 || open.sum[0] + size[0] > 255 || open.sum[1] + size[1] > 255) close(row, open);
    open.found.step[open.count] = step;
    std::memcpy(open.found.codes + open.count++, taken, 4);
    for (int lane = 0; lane < 2; lane++) {
      open.sum[lane] += size[lane];
      open.terms[lane] = static_cast<int16_t>(open.terms[lane] - 128 * taken[2 * lane] - 127 * taken[2 * lane + 1]);
    }
  }

  void close(int64_t row, Open& open) {
    if (!open.count) return;
    open.found.row = static_cast<int32_t>(row);
    std::memcpy(&open.found.terms, open.terms, 4);
    rest.push_back(open.found);
    open = Open{};
  }
};

}  // namespace OHM_ISA
}  // namespace ohm
