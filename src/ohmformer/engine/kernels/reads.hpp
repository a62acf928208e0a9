// Wrong numbers of the reads of dense cells by many samples. The same draws as engine/reads.py.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "ars.hpp"
#include "errors.hpp"
#include "scratch.hpp"
#include "table.hpp"

namespace ohm {
namespace OHM_ISA {

constexpr int64_t READ_CHUNK = 64;  // cells of the last class whose words are drawn under one key
constexpr int RADIX_BITS = 11;

// ``mix`` of a state and one more part, engine/randomness.py.
inline uint64_t mixed(uint64_t state, uint64_t part) {
  state += part + WEYL_LOW;
  state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9ull;
  state = (state ^ state >> 27) * 0x94D049BB133111EBull;
  return state ^ state >> 31;
}

// Blocks first ... first + 7 of a row.
inline void eight_blocks(const Ars& ars, uint64_t row, uint64_t first, uint32_t* out) {
#if defined(__AES__)
  __m128i state[8];
  for (int i = 0; i < 8; i++)
    state[i] = _mm_xor_si128(
        _mm_set_epi64x(static_cast<long long>(first + i), static_cast<long long>(row)), ars.keys[0]);
  for (int turn = 1; turn < ARS_ROUNDS; turn++)
    for (int i = 0; i < 8; i++) state[i] = _mm_aesenc_si128(state[i], ars.keys[turn]);
  for (int i = 0; i < 8; i++)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out) + i, _mm_aesenclast_si128(state[i], ars.keys[ARS_ROUNDS]));
#else
  for (int i = 0; i < 8; i++) ars.words(row, first + i, out + 4 * i);
#endif
}

// Bit i: words[i] <= limits[i] + 2^31, for 64 of each.
inline uint64_t not_above(const uint32_t* words, const int32_t* limits) {
  uint64_t found = 0;
#if defined(__AVX2__)
  const __m256i flip = _mm256_set1_epi32(INT32_MIN);
  for (int i = 0; i < READ_CHUNK; i += 8) {
    const __m256i word =
        _mm256_xor_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(words + i)), flip);
    const __m256i limit = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(limits + i));
    const int above = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(word, limit)));
    found |= static_cast<uint64_t>(~above & 255) << i;
  }
#else
  for (int i = 0; i < READ_CHUNK; i++)
    found |= static_cast<uint64_t>(static_cast<int32_t>(words[i] ^ 0x80000000u) <= limits[i]) << i;
#endif
  return found;
}

// Wrong cells as they are found, then the wrong numbers they make.
struct WrongCells {
  const ReadJob& job;
  WrongNumber* data = nullptr;
  int64_t count = 0, room = 0;
  int shift = -1;

  explicit WrongCells(const ReadJob& given) : job(given) {
    for (int i = 0; i < 6; i++)
      if (job.symbols == 1 << i) shift = i;
  }
  int64_t cell_of(int64_t kept) const {
    return job.wide ? static_cast<const int64_t*>(job.cells)[kept] : static_cast<const int32_t*>(job.cells)[kept];
  }
  void grow() {
    room = room ? 2 * room : 4096;
    void* more = std::realloc(data, static_cast<size_t>(room) * sizeof *data);
    if (!more) {
      std::free(data);
      throw std::bad_alloc();
    }
    data = static_cast<WrongNumber*>(more);
  }
  void add(int64_t kept, int64_t sample, int64_t read) {
    const int64_t cell = cell_of(kept);
    const int64_t position = shift >= 0 ? cell >> shift : cell / job.symbols;
    const int64_t index = cell - position * job.symbols;
    if (job.rows && !job.rows[sample * job.rows_step + position / job.inner]) return;
    if (count == room) grow();
    const int32_t* values = job.values + index * job.levels;
    data[count++] = {static_cast<uint64_t>(position * job.samples + sample), values[read] - values[job.meant[kept]],
                     static_cast<int32_t>(index)};
  }
  // Stable order of the keys.
  void sort() {
    if (!count) return;
    uint64_t any = 0;
    for (int64_t i = 0; i < count; i++) any |= data[i].key;
    Scratch<int64_t> starts(1 << RADIX_BITS);
    WrongNumber* other = static_cast<WrongNumber*>(std::malloc(static_cast<size_t>(count) * sizeof *data));
    if (!other) {
      std::free(data);
      throw std::bad_alloc();
    }
    const uint64_t mask = (1 << RADIX_BITS) - 1;
    for (int low = 0; low < 64 && any >> low; low += RADIX_BITS) {
      std::memset(starts.data, 0, sizeof(int64_t) << RADIX_BITS);
      for (int64_t i = 0; i < count; i++) starts.data[data[i].key >> low & mask]++;
      int64_t sum = 0;
      for (uint64_t i = 0; i <= mask; i++) {
        const int64_t own = starts.data[i];
        starts.data[i] = sum;
        sum += own;
      }
      for (int64_t i = 0; i < count; i++) other[starts.data[data[i].key >> low & mask]++] = data[i];
      WrongNumber* swap = data;
      data = other;
      other = swap;
    }
    std::free(other);
  }
  // One entry for each wrong number: of one cell found twice the first counts, sums of 0 go.
  void merge() {
    int64_t kept = 0;
    for (int64_t i = 0; i < count;) {
      const uint64_t key = data[i].key;
      uint64_t seen = 0;
      int32_t delta = 0;
      for (; i < count && data[i].key == key; i++) {
        const uint64_t bit = 1ull << data[i].index;
        if (!(seen & bit)) delta += data[i].delta;
        seen |= bit;
      }
      if (delta) data[kept++] = {key, delta, 0};
    }
    count = kept;
  }
};

// The cubic of one cell's conductance: its coefficients, and where in its bin it lies.
struct LawPlace {
  const double* c;
  double at;
  LawPlace(const ReadJob& job, int64_t kept) {
    double place = static_cast<double>(job.conductance[kept]) * job.bins_per_S;
    if (place > static_cast<double>(job.bins)) place = static_cast<double>(job.bins);
    int64_t whole = static_cast<int64_t>(place);
    if (whole > job.bins - 1) whole = job.bins - 1;
    c = job.table + (job.meant[kept] * job.bins + whole) * 4 * job.levels;
    at = place - static_cast<double>(whole);
  }
  double below(int64_t levels, int64_t read) const {
    const double* own = c + read;
    return ((own[3 * levels] * at + own[2 * levels]) * at + own[levels]) * at + own[0];
  }
};

// The symbol read: the number of sums of chances at or below a toss, which is kept below the last.
inline int64_t symbol_read(const LawPlace& place, int64_t levels, double toss, double total) {
  const double most = total * (1 - 0x1p-52);
  if (toss > most) toss = most;
  int64_t read = 0;
  for (int64_t r = 0; r < levels - 1; r++) read += place.below(levels, r) <= toss;
  return read;
}

inline void rare_reads(const ReadJob& job, WrongCells& found) {
  const Ars ars(job.seed, job.hits);
  const double total = job.sums[job.classes], most = job.largest_sum;
  constexpr int64_t AT_ONCE = 64;
  int64_t kept[AT_ONCE];
  double toss[AT_ONCE];
  for (int64_t sample = 0; sample < job.samples; sample++) {
    const uint64_t key = static_cast<uint64_t>(job.keys[sample]);
    for (int64_t first = 0; first < job.counts[sample]; first += AT_ONCE) {
      const int64_t last = smaller(first + AT_ONCE, job.counts[sample]);
      int64_t some = 0;
      for (int64_t start = first; start < last; start += 8) {
        uint32_t words[32];
        eight_blocks(ars, key, static_cast<uint64_t>(start), words);
        for (int64_t i = 0; i < smaller(8, last - start); i++) {
          const uint32_t* own = words + 4 * i;
          double at = uniform64(own[0], own[1]) * total;
          if (at > most) at = most;
          int64_t kind = job.classes - 1;
          while (kind > 0 && job.sums[kind] > at) kind--;
          const double share = (at - job.sums[kind]) / (job.sums[kind + 1] - job.sums[kind]);
          const int64_t low = job.bounds[kind + 1], high = job.bounds[kind + 2];
          int64_t place = low + static_cast<int64_t>(share * static_cast<double>(high - low));
          if (place > high - 1) place = high - 1;
          if (job.wanted && !job.wanted[place / READ_CHUNK]) continue;
          __builtin_prefetch(job.conductance + place);
          __builtin_prefetch(job.meant + place);
          kept[some] = place;
          toss[some++] = uniform64(own[2], own[3]) * job.rates[kind];
        }
      }
      int64_t left = 0;
      for (int64_t i = 0; i < some; i++) {
        const LawPlace place(job, kept[i]);
        const double p = place.below(job.levels, job.levels - 1);
        // -ln(1 - p), p up to 1/64
        const double rate = ((((p * (1.0 / 5) + 1.0 / 4) * p + 1.0 / 3) * p + 1.0 / 2) * p + 1.0) * p;
        const bool keep = toss[i] < rate;
        const int64_t symbol = keep ? symbol_read(place, job.levels, toss[i] * p / rate, p) : 0;
        if (keep) __builtin_prefetch(static_cast<const char*>(job.cells) + kept[i] * (job.wide ? 8 : 4));
        kept[left] = kept[i] << 8 | symbol;
        left += keep;
      }
      for (int64_t i = 0; i < left; i++) found.add(kept[i] >> 8, sample, kept[i] & 255);
    }
  }
}

inline void often_reads(const ReadJob& job, WrongCells& found) {
  const Ars ars(job.seed, job.often);
  const int64_t start = job.bounds[job.classes + 1], size = job.bounds[job.classes + 2] - start;
  for (int64_t first = 0; first < size; first += READ_CHUNK) {
    if (job.wanted && !job.wanted[(start + first) / READ_CHUNK] &&
        !job.wanted[(start + smaller(first + READ_CHUNK, size) - 1) / READ_CHUNK])
      continue;
    const int32_t* limits = job.limits + first;
    int32_t padded[READ_CHUNK];
    uint64_t inside = ~0ull;
    if (size - first < READ_CHUNK) {
      std::memset(padded, 0, sizeof padded);
      std::memcpy(padded, limits, static_cast<size_t>(size - first) * sizeof *limits);
      limits = padded;
      inside = (1ull << (size - first)) - 1;
    }
    for (int64_t sample = 0; sample < job.samples; sample++) {
      uint32_t words[READ_CHUNK];
      const uint64_t key =
          mixed(static_cast<uint64_t>(job.keys[sample]), static_cast<uint64_t>(first / READ_CHUNK));
      eight_blocks(ars, key, 0, words);
      eight_blocks(ars, key, 8, words + 32);
      for (uint64_t wrong = not_above(words, limits) & inside; wrong; wrong &= wrong - 1) {
        const int i = __builtin_ctzll(wrong);
        const int64_t kept = start + first + i;
        const LawPlace place(job, kept);
        const double toss = (static_cast<double>(words[i]) + 0.5) * 0x1p-32;
        found.add(kept, sample,
                  symbol_read(place, job.levels, toss, place.below(job.levels, job.levels - 1)));
      }
    }
  }
}

// The wrong numbers by position, then by sample, in memory that the caller frees; their count.
inline int64_t reads(const ReadJob& job, WrongNumber** wrong) {
  WrongCells found(job);
  rare_reads(job, found);
  often_reads(job, found);
  found.sort();
  found.merge();
  *wrong = found.data;
  return found.count;
}

}  // namespace OHM_ISA
}  // namespace ohm
