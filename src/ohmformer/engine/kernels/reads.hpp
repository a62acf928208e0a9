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

// Candidates for wrong cells, settled many at once so that memory is fetched ahead.
template <int LEVELS>
struct Candidates {
  static constexpr int64_t ROOM = 192;
  const ReadJob& job;
  WrongCells& found;
  int64_t count = 0, kept[ROOM], sample[ROOM];
  double toss[ROOM], at[ROOM], total[ROOM];
  const double* c[ROOM];  // [4, LEVELS] of the cubics of a cell's conductance, `at` its place in their bin

  Candidates(const ReadJob& given, WrongCells& into) : job(given), found(into) {}

  void add(int64_t cell, int64_t by, double tossed) {
    __builtin_prefetch(job.conductance + cell);
    __builtin_prefetch(job.meant + cell);
    kept[count] = cell;
    sample[count] = by;
    toss[count++] = tossed;
  }
  double below(int64_t i, int64_t read) const {
    const double* own = c[i] + read;
    return ((own[3 * LEVELS] * at[i] + own[2 * LEVELS]) * at[i] + own[LEVELS]) * at[i] + own[0];
  }
  // Those whose toss, of a rate of hits, lies below -ln(1 - p), p up to 1/64; then their toss is one of p.
  void thin() {
    int64_t left = 0;
    for (int64_t i = 0; i < count; i++) {
      const double p = total[i];
      const double rate = ((((p * (1.0 / 5) + 1.0 / 4) * p + 1.0 / 3) * p + 1.0 / 2) * p + 1.0) * p;
      const bool keep = toss[i] < rate;
      kept[left] = kept[i];
      sample[left] = sample[i];
      at[left] = at[i];
      c[left] = c[i];
      toss[left] = toss[i] * p / rate;
      total[left] = p;
      left += keep;
    }
    count = left;
  }
  void settle(bool thinned) {
    const double last = static_cast<double>(job.bins);
    for (int64_t i = 0; i < count; i++) {
      double place = static_cast<double>(job.conductance[kept[i]]) * job.bins_per_S;
      place = place > last ? last : place;
      int64_t whole = static_cast<int64_t>(place);
      whole = whole > job.bins - 1 ? job.bins - 1 : whole;
      at[i] = place - static_cast<double>(whole);
      c[i] = job.table + (job.meant[kept[i]] * job.bins + whole) * 4 * LEVELS;
      __builtin_prefetch(c[i]);
      __builtin_prefetch(c[i] + 4 * LEVELS - 1);
      __builtin_prefetch(static_cast<const char*>(job.cells) + kept[i] * (job.wide ? 8 : 4));
    }
    for (int64_t i = 0; i < count; i++) total[i] = below(i, LEVELS - 1);
    if (thinned) thin();
    for (int64_t i = 0; i < count; i++) {
      // the number of sums of chances at or below the toss, which is kept below the last of them
      const double most = total[i] * (1 - 0x1p-52), own = toss[i] > most ? most : toss[i];
      int64_t read = 0;
      for (int64_t r = 0; r < LEVELS - 1; r++) read += below(i, r) <= own;
      found.add(kept[i], sample[i], read);
    }
    count = 0;
  }
};

template <int LEVELS>
void rare_reads(const ReadJob& job, Candidates<LEVELS>& candidates) {
  const Ars ars(job.seed, job.hits);
  const double total = job.sums[job.classes], most = job.largest_sum;
  for (int64_t sample = 0; sample < job.samples; sample++) {
    const uint64_t key = static_cast<uint64_t>(job.keys[sample]);
    for (int64_t start = 0; start < job.counts[sample]; start += 8) {
      uint32_t words[32];
      eight_blocks(ars, key, static_cast<uint64_t>(start), words);
      if (candidates.count + 8 > Candidates<LEVELS>::ROOM) candidates.settle(true);
      for (int64_t i = 0; i < smaller(8, job.counts[sample] - start); i++) {
        const uint32_t* own = words + 4 * i;
        double at = uniform64(own[0], own[1]) * total;
        at = at > most ? most : at;
        int64_t kind = 0;
        for (int64_t j = 1; j < job.classes; j++) kind += job.sums[j] <= at;
        const double share = (at - job.sums[kind]) / (job.sums[kind + 1] - job.sums[kind]);
        const int64_t low = job.bounds[kind + 1], high = job.bounds[kind + 2];
        int64_t place = low + static_cast<int64_t>(share * static_cast<double>(high - low));
        place = place > high - 1 ? high - 1 : place;
        if (job.wanted && !job.wanted[place / READ_CHUNK]) continue;
        candidates.add(place, sample, uniform64(own[2], own[3]) * job.rates[kind]);
      }
    }
  }
  candidates.settle(true);
}

template <int LEVELS>
void often_reads(const ReadJob& job, Candidates<LEVELS>& candidates) {
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
      if (candidates.count + READ_CHUNK > Candidates<LEVELS>::ROOM) candidates.settle(false);
      for (uint64_t wrong = not_above(words, limits) & inside; wrong; wrong &= wrong - 1) {
        const int i = __builtin_ctzll(wrong);
        candidates.add(start + first + i, sample, (static_cast<double>(words[i]) + 0.5) * 0x1p-32);
      }
    }
  }
  candidates.settle(false);
}

template <int LEVELS>
void wrong_cells(const ReadJob& job, WrongCells& found) {
  Candidates<LEVELS> candidates(job, found);
  rare_reads(job, candidates);
  often_reads(job, candidates);
}

// The wrong numbers by position, then by sample, in memory that the caller frees; their count.
inline int64_t reads(const ReadJob& job, WrongNumber** wrong) {
  WrongCells found(job);
  if (job.levels == 2)
    wrong_cells<2>(job, found);
  else
    wrong_cells<4>(job, found);
  found.sort();
  found.merge();
  *wrong = found.data;
  return found.count;
}

}  // namespace OHM_ISA
}  // namespace ohm
