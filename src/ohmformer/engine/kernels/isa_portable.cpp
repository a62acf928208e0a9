#define OHM_ISA portable
#include "all.hpp"

namespace ohm {
const Kernels* portable_kernels() {
  static const Kernels made = OHM_ISA::make_kernels("portable");
  return &made;
}
}  // namespace ohm
