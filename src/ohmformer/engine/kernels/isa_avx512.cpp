#define OHM_ISA avx512
#include "all.hpp"

namespace ohm {
const Kernels* avx512_kernels() {
#if defined(__AVX512VNNI__) && defined(__AES__)
  static const Kernels made = OHM_ISA::make_kernels("avx512-vnni");
  return &made;
#else
  return nullptr;
#endif
}
}  // namespace ohm
