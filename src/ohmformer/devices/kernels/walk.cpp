// The exact walk of devices/wire_solver.py, whose docstring derives it, for many tiles on several threads.
//
// S_k v is two running sums along the bitlines instead of a matrix product, since G M G is one of a line.
// Starting vectors are walked eight at a time, so that voltages and rises stay in the first-level cache.
#include <nanobind/nanobind.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

namespace nb = nanobind;

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("avx2", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

namespace {

constexpr int kLanes = 4, kVectors = 2, kBlock = kLanes * kVectors;  // starting vectors walked at a time
typedef double Vector __attribute__((vector_size(8 * kLanes), aligned(8), may_alias));

struct Tile {
  int wordlines, bitlines, stride;  // stride: bitlines filled up to whole blocks
};

// near = g p, far = g q / w of every wordline
void lines(const double* cells, const Tile& tile, double* near, double* far) {
  for (int k = 0; k < tile.wordlines; ++k) {
    const double* g = cells + size_t(k) * tile.bitlines;
    double* n = near + size_t(k) * tile.bitlines;
    double* f = far + size_t(k) * tile.bitlines;
    double here = 1, slope = 1;
    for (int b = 0; b < tile.bitlines; ++b) {
      n[b] = g[b] * here;
      slope += g[b] * here;
      here += slope;
    }
    const double wronskian = slope;
    here = 1, slope = 0;
    for (int b = tile.bitlines; b-- > 0;) {
      f[b] = g[b] * here / wronskian;
      slope += g[b] * here;
      here += slope;
    }
  }
}

// One block of starting vectors from the far end to the sense nodes: currents into the drivers on the way
FOR_EACH_PROCESSOR
void walk(const double* cells, const double* near, const double* far, const Tile& tile, double* voltages,
          double* rises, double* driven) {
  Vector* volts = reinterpret_cast<Vector*>(voltages);
  Vector* rise = reinterpret_cast<Vector*>(rises);
  for (int k = 0; k < tile.wordlines; ++k) {
    const double* g = cells + size_t(k) * tile.bitlines;
    const double* n = near + size_t(k) * tile.bitlines;
    const double* f = far + size_t(k) * tile.bitlines;
    Vector beyond[kVectors] = {}, before[kVectors] = {};
    for (int b = tile.bitlines; b-- > 0;)
      for (int part = 0; part < kVectors; ++part) {
        const Vector v = volts[b * kVectors + part];
        rise[b * kVectors + part] += g[b] * v - n[b] * beyond[part];
        beyond[part] += f[b] * v;
      }
    std::memcpy(driven + size_t(k) * tile.stride, beyond, sizeof beyond);
    for (int b = 0; b < tile.bitlines; ++b)
      for (int part = 0; part < kVectors; ++part) {
        const Vector v = volts[b * kVectors + part];
        before[part] += n[b] * v;
        const Vector d = rise[b * kVectors + part] - f[b] * before[part];
        rise[b * kVectors + part] = d;
        volts[b * kVectors + part] = v + d;
      }
  }
}

// driven := driven * ends^-1 by elimination with row exchanges; ends is used up
FOR_EACH_PROCESSOR
bool divide(const Tile& tile, double* ends, double* driven, double* row) {
  const int size = tile.bitlines, stride = tile.stride;
  std::vector<int> place(size);
  for (int b = 0; b < size; ++b) place[b] = b;
  for (int t = 0; t < size; ++t) {
    int best = t;
    for (int b = t + 1; b < size; ++b)
      if (std::fabs(ends[size_t(b) * stride + t]) > std::fabs(ends[size_t(best) * stride + t])) best = b;
    double* top = ends + size_t(t) * stride;
    if (best != t) {
      double* other = ends + size_t(best) * stride;
      std::memcpy(row, top, sizeof(double) * size);
      std::memcpy(top, other, sizeof(double) * size);
      std::memcpy(other, row, sizeof(double) * size);
      std::swap(place[t], place[best]);
    }
    if (top[t] == 0) return false;
    for (int b = t + 1; b < size; ++b) {
      double* here = ends + size_t(b) * stride;
      const double factor = here[t] / top[t];
      here[t] = factor;
      for (int s = t + 1; s < size; ++s) here[s] -= factor * top[s];
    }
  }
  for (int k = 0; k < tile.wordlines; ++k) {
    double* u = driven + size_t(k) * stride;
    for (int t = 0; t < size; ++t) {
      const double* top = ends + size_t(t) * stride;
      const double z = u[t] / top[t];
      u[t] = z;
      for (int s = t + 1; s < size; ++s) u[s] -= z * top[s];
    }
    for (int t = size; t-- > 0;) {
      const double* top = ends + size_t(t) * stride;
      const double z = u[t];
      for (int s = 0; s < t; ++s) u[s] -= z * top[s];
    }
    for (int t = 0; t < size; ++t) row[place[t]] = u[t];
    std::memcpy(u, row, sizeof(double) * size);
  }
  return true;
}

struct Room {
  std::vector<double> near, far, ends, driven, row, volts, rise;
  explicit Room(const Tile& t)
      : near(size_t(t.wordlines) * t.bitlines), far(near.size()), ends(size_t(t.bitlines) * t.stride),
        driven(size_t(t.wordlines) * t.stride), row(t.bitlines), volts(size_t(t.bitlines) * kBlock),
        rise(volts.size()) {}
};

double solve(const double* cells, const Tile& tile, Room& room, double* effective) {
  lines(cells, tile, room.near.data(), room.far.data());
  double growth = 0;
  for (int start = 0; start < tile.bitlines; start += kBlock) {
    std::fill(room.volts.begin(), room.volts.end(), 0.0);
    std::fill(room.rise.begin(), room.rise.end(), 0.0);
    double* volts = room.volts.data();
    for (int s = 0; s < kBlock && start + s < tile.bitlines; ++s) volts[size_t(start + s) * kBlock + s] = 1;
    walk(cells, room.near.data(), room.far.data(), tile, room.volts.data(), room.rise.data(),
         room.driven.data() + start);
    for (int b = 0; b < tile.bitlines; ++b) {
      std::memcpy(room.ends.data() + size_t(b) * tile.stride + start, volts + size_t(b) * kBlock,
                  sizeof(double) * kBlock);
      for (int s = 0; s < kBlock; ++s) {
        const double size = std::fabs(volts[size_t(b) * kBlock + s]);
        if (!(size <= growth)) growth = size;  // also what is no number
      }
    }
  }
  if (!std::isfinite(growth)) return growth;
  if (!divide(tile, room.ends.data(), room.driven.data(), room.row.data())) return NAN;
  for (int k = 0; k < tile.wordlines; ++k)
    std::memcpy(effective + size_t(k) * tile.bitlines, room.driven.data() + size_t(k) * tile.stride,
                sizeof(double) * tile.bitlines);
  return growth;
}

}  // namespace

NB_MODULE(_walk, m) {
  // addresses of contiguous float64: cells and effective [tile, wordline, bitline], growth [tile]
  m.def("solve", [](uintptr_t cells, uintptr_t effective, uintptr_t growth, int64_t tiles, int wordlines,
                    int bitlines, int threads) {
    nb::gil_scoped_release release;
    const Tile tile{wordlines, bitlines, (bitlines + kBlock - 1) / kBlock * kBlock};
    const size_t size = size_t(wordlines) * bitlines;
    std::atomic<int64_t> next{0};
    const auto work = [&] {
      Room room(tile);
      for (int64_t at; (at = next++) < tiles;)
        reinterpret_cast<double*>(growth)[at] =
            solve(reinterpret_cast<const double*>(cells) + at * size, tile, room,
                  reinterpret_cast<double*>(effective) + at * size);
    };
    std::vector<std::thread> others;
    for (int64_t i = 1; i < threads && i < tiles; ++i) others.emplace_back(work);
    work();
    for (std::thread& other : others) other.join();
  });
}
