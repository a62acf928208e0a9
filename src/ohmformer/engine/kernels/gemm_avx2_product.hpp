// The loops of the integer product with AVX2; see gemm_avx2.hpp for what is summed where.
#pragma once
#include "gemm_avx2.hpp"

namespace ohm {
namespace OHM_ISA {

// Accumulators have names and are pinned after each step: arrays, or sums put into another order, are spilled.
#define OHM_EACH_ROW(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5)
#if defined(__GNUC__)
#define OHM_PIN(a, b) asm volatile("" : "+x"(a), "+x"(b))
#else
#define OHM_PIN(a, b)
#endif

inline __m256i words_of(int32_t four) { return _mm256_set1_epi32(four); }

enum class Terms { GIVEN, NONE };  // whether the last terms of these steps lie before their codes

// c[MR, 16] += a x panel over T steps, summed in 16 bits; T = 2 * STEPS: two spans.
template <int MR, int T, Terms TERMS>
__attribute__((always_inline)) inline void sum_steps(const int32_t* a, const int8_t* panel, int32_t* c, int64_t ldc) {
  const int32_t* codes = TERMS == Terms::GIVEN ? a + MR : a;
  __m256i low0, low1, low2, low3, low4, low5, high0, high1, high2, high3, high4, high5;
#define OHM_START(i)                                                                                        \
  if constexpr (MR > i) {                                                                                   \
    if constexpr (TERMS == Terms::NONE) {                                                                   \
      low##i = _mm256_setzero_si256();                                                                      \
      for (int t = 0; t < T; t++)                                                                           \
        low##i = _mm256_sub_epi16(low##i, _mm256_maddubs_epi16(last_terms(), words_of(codes[t * MR + i]))); \
    } else {                                                                                                \
      low##i = words_of(a[i]);                                                                              \
      if constexpr (T > STEPS) low##i = _mm256_add_epi16(low##i, words_of(a[span_words(MR) + i]));          \
    }                                                                                                       \
    high##i = low##i;                                                                                       \
  }
  OHM_EACH_ROW(OHM_START)
#undef OHM_START
#pragma GCC unroll 8
  for (int t = 0; t < T; t++) {
    const __m256i first = load(panel + t * STEP_BYTES), second = load(panel + t * STEP_BYTES + 32);
#define OHM_STEP(i)                                                          \
  if constexpr (MR > i) {                                                    \
    const __m256i x = words_of(codes[(t + (t >= STEPS)) * MR + i]);            \
    low##i = _mm256_add_epi16(low##i, _mm256_maddubs_epi16(first, x));       \
    high##i = _mm256_add_epi16(high##i, _mm256_maddubs_epi16(second, x));    \
    OHM_PIN(low##i, high##i);                                                \
  }
    OHM_EACH_ROW(OHM_STEP)
#undef OHM_STEP
  }
  const __m256i one = _mm256_set1_epi16(1);
#define OHM_ADD(i)                                                                                     \
  if constexpr (MR > i) {                                                                              \
    __m256i* to = reinterpret_cast<__m256i*>(c + i * ldc);                                             \
    _mm256_storeu_si256(to, _mm256_add_epi32(load(to), _mm256_madd_epi16(low##i, one)));               \
    _mm256_storeu_si256(to + 1, _mm256_add_epi32(load(to + 1), _mm256_madd_epi16(high##i, one)));      \
  }
  OHM_EACH_ROW(OHM_ADD)
#undef OHM_ADD
}

// A span whose reaches do not allow one sum: in two parts, or step by step.
template <int MR>
__attribute__((noinline)) void sum_carefully(const float* parts, const int32_t* a, const int8_t* panel, int32_t* c,
                                             int64_t ldc) {
  a += MR;
  for (int i = 0; i < 2; i++, a += 2 * MR, panel += 2 * STEP_BYTES)
    if (parts[i] * REACH_OF_RESIDENT <= MOST) {
      sum_steps<MR, 2, Terms::NONE>(a, panel, c, ldc);
    } else {
      sum_steps<MR, 1, Terms::NONE>(a, panel, c, ldc);
      sum_steps<MR, 1, Terms::NONE>(a + MR, panel + STEP_BYTES, c, ldc);
    }
}

// Which of up to 64 spans do not fit into one sum, and which pairs of spans (both bits set) do not.
struct Unfit {
  uint64_t alone = 0, pairs = 0;
  Unfit(const float* streamed, const float* resident, int64_t spans) {
    const __m256 most = _mm256_set1_ps(MOST);
    int64_t s = 0;
    for (; s + 8 <= spans; s += 8) {
      const __m256 size = _mm256_mul_ps(_mm256_loadu_ps(streamed + s), _mm256_loadu_ps(resident + s));
      const __m256 both = _mm256_add_ps(size, _mm256_permute_ps(size, 0xb1));
      const int one = _mm256_movemask_ps(_mm256_cmp_ps(size, most, _CMP_GT_OQ));
      const int two = _mm256_movemask_ps(_mm256_cmp_ps(both, most, _CMP_GT_OQ));
      alone |= static_cast<uint64_t>(one) << s;
      pairs |= static_cast<uint64_t>(two) << s;
    }
    for (; s < spans; s += 2) {
      const float first = streamed[s] * resident[s];
      const float second = s + 1 < spans ? streamed[s + 1] * resident[s + 1] : 2 * MOST;  // the last stands alone
      alone |= static_cast<uint64_t>((first > MOST) | (second > MOST) << 1) << s;
      pairs |= static_cast<uint64_t>(first + second > MOST ? 3 : 0) << s;
    }
  }
};

// c[MR, 16] = or += a strip x a panel, over up to 64 spans.
template <int MR>
inline void micro(const int32_t* a, const float* parts, Unfit unfit, const int8_t* panel, int64_t spans, int32_t* c,
                  int64_t ldc, bool add) {
  if (!add)
    for (int m = 0; m < MR; m++) std::memset(c + m * ldc, 0, PACK_COLUMNS * sizeof *c);
  if (__builtin_popcountll(unfit.pairs) * 4 > spans) unfit.pairs = ~uint64_t{0};  // seldom to be foreseen: none
  for (int64_t s = 0; s < spans;) {
    if (!(unfit.pairs >> s & 1)) {
      sum_steps<MR, 2 * STEPS, Terms::GIVEN>(a, panel, c, ldc);
      s += 2;
      a += 2 * span_words(MR);
      panel += 2 * SPAN_BYTES;
      continue;
    }
    if (unfit.alone >> s & 1)
      sum_carefully<MR>(parts + 2 * s, a, panel, c, ldc);
    else
      sum_steps<MR, STEPS, Terms::GIVEN>(a, panel, c, ldc);
    s++;
    a += span_words(MR);
    panel += SPAN_BYTES;
  }
}

template <int MR>
inline void micro_rows(int64_t rows, const int32_t* a, const float* parts, const Unfit& unfit, const int8_t* panel,
                       int64_t spans, int32_t* c, int64_t ldc, bool add) {
  if constexpr (MR > 0) {
    if (rows == MR)
      micro<MR>(a, parts, unfit, panel, spans, c, ldc, add);
    else
      micro_rows<MR - 1>(rows, a, parts, unfit, panel, spans, c, ldc, add);
  }
}

inline void add_leftovers(const Leftovers* left, const Leftovers* end, const int8_t* panel, int32_t* c, int64_t ldc) {
  const __m256i one = _mm256_set1_epi16(1);
  for (; left != end; left++) {
    __m256i low = words_of(left->terms), high = low;
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      const int8_t* w = panel + static_cast<int64_t>(left->step[i]) * STEP_BYTES;
      const __m256i x = words_of(left->codes[i]);
      low = _mm256_add_epi16(low, _mm256_maddubs_epi16(load(w), x));
      high = _mm256_add_epi16(high, _mm256_maddubs_epi16(load(w + 32), x));
    }
    __m256i* to = reinterpret_cast<__m256i*>(c + left->row * ldc);
    _mm256_storeu_si256(to, _mm256_add_epi32(load(to), _mm256_madd_epi16(low, one)));
    _mm256_storeu_si256(to + 1, _mm256_add_epi32(load(to + 1), _mm256_madd_epi16(high, one)));
  }
}

// c[row, n - first] = streamed rows x columns first ... last - 1; `first` is the first column of a panel.
inline void block_products(const StreamedBlock& a, const int8_t* packed, int64_t columns, int64_t inner,
                           int64_t first, int64_t last, int32_t* c, int64_t ldc) {
  const int64_t spans = a.spans, bytes = panel_bytes(inner), panels = panels_of(last - first);
  const int8_t* panel = packed + first / PACK_COLUMNS * bytes;
  const float* reaches = reaches_of(packed, columns, inner) + first / PACK_COLUMNS * spans;
  for (int64_t s = 0; s < spans; s += SPANS_AT_ONCE) {
    const int64_t here = smaller(SPANS_AT_ONCE, spans - s);
    for (int64_t p = 0; p < panels; p++)
      for (int64_t m = 0; m < a.rows; m += STRIP_ROWS) {
        const int64_t rows = smaller(STRIP_ROWS, a.rows - m);
        int32_t* to = c + m * ldc + p * PACK_COLUMNS;
        const Unfit unfit(a.reaches(m) + s, reaches + p * spans + s, here);
        micro_rows<STRIP_ROWS>(rows, a.strip(m) + s * span_words(rows), a.parts(m) + 2 * s, unfit,
                               panel + p * bytes + s * SPAN_BYTES, here, to, ldc, s > 0);
        if (s + here == spans) add_leftovers(a.left(m), a.left(m + STRIP_ROWS), panel + p * bytes, to, ldc);
      }
  }
}

#undef OHM_PIN
#undef OHM_EACH_ROW

}  // namespace OHM_ISA
}  // namespace ohm
