#define OHM_ISA avx2_vaes
#include "all.hpp"

namespace ohm {
const Kernels* avx2_vaes_kernels() {
#if defined(__AVX2__) && defined(__AES__) && defined(__VAES__)
  static const Kernels made = OHM_ISA::make_kernels("avx2-vaes");
  return &made;
#else
  return nullptr;
#endif
}
}  // namespace ohm
