// The integer product of codes of 8 bits, exact in 32 bits, and the order in which its operands lie in memory.
//
// Each instruction set offers: packed_bytes, start_packing, pack_column, finish_packing, code_at and patch for
// the resident operand, StreamedBlock for rows of the streamed one, block_products for the two.
#pragma once
#include <cstdint>

#if defined(__AVX2__) && !defined(__AVX512VNNI__)
#include "gemm_avx2_product.hpp"
#else
#include "gemm_rows.hpp"
#endif

namespace ohm {
namespace OHM_ISA {

inline void pack(const int8_t* codes, int64_t columns, int64_t inner, int8_t* packed) {
  start_packing(packed, columns, inner);
  for (int64_t n = 0; n < columns; n++) pack_column(codes + n * inner, n, columns, inner, packed);
  finish_packing(packed, columns, inner);
}

inline void unpack(const int8_t* packed, int64_t, int64_t inner, const int64_t* ids, int64_t count, int8_t* codes) {
  for (int64_t i = 0; i < count; i++)
    for (int64_t k = 0; k < inner; k++) codes[i * inner + k] = code_at(packed, ids[i], k, inner);
}

}  // namespace OHM_ISA
}  // namespace ohm
