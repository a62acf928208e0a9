#define OHM_ISA avx2
#include "all.hpp"

namespace ohm {
const Kernels* avx2_kernels() {
#if defined(__AVX2__) && defined(__AES__)
  static const Kernels made = OHM_ISA::make_kernels("avx2");
  return &made;
#else
  return nullptr;
#endif
}
}  // namespace ohm
