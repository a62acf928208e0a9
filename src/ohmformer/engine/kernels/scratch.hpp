// Memory for the length of one call, aligned for vectors.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <new>

namespace ohm {
namespace OHM_ISA {

template <typename T>
struct Scratch {
  T* data;
  explicit Scratch(int64_t count)
      : data(static_cast<T*>(std::aligned_alloc(64, ((count > 0 ? count : 1) * sizeof(T) + 127) / 64 * 64))) {
    if (!data) throw std::bad_alloc();
  }
  ~Scratch() { std::free(data); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
};

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t rounded_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

}  // namespace OHM_ISA
}  // namespace ohm
