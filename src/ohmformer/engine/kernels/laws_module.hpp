// Python bindings of errors that are drawn from a law: of wires, and of rows and columns.
#pragma once
#include <nanobind/nanobind.h>

#include <cstdint>

#include "table.hpp"

namespace ohm {

template <typename Choice>
void bind_laws(nanobind::module_& m, nanobind::class_<Choice>& choice) {
  namespace nb = nanobind;
  using Address = uintptr_t;
  nb::class_<WireJob>(m, "WireJob")
      .def("__init__",
           [](WireJob* self, int64_t inner, int64_t columns, Address bounds, int64_t groups, Address powers,
              int64_t digits, int radix, Address rate, Address cell, int64_t sums, Address pool, int pool_bits,
              int64_t tile_columns, Address gaps, int64_t most) {
             new (self) WireJob{inner, columns, reinterpret_cast<const int64_t*>(bounds), groups,
                                reinterpret_cast<const int64_t*>(powers), digits, radix,
                                reinterpret_cast<const int64_t*>(rate), reinterpret_cast<const int32_t*>(cell), sums,
                                reinterpret_cast<const int32_t*>(pool), pool_bits, tile_columns,
                                reinterpret_cast<const int32_t*>(gaps), most, 1};
           })
      .def_rw("threads", &WireJob::threads)
      .def("within", [](const WireJob& job, ErrorJob& of) { of.wires = &job; });
  choice.def("wire_errors", [](const Choice& c, const WireJob& job, uint64_t seed, uint64_t stream, Address keys,
                               int64_t rows, Address codes, Address found, int64_t room) {
    nb::gil_scoped_release free;
    return c.k->wire_errors_of(job, seed, stream, reinterpret_cast<const int64_t*>(keys), rows,
                               reinterpret_cast<const int8_t*>(codes), reinterpret_cast<WrongOutput*>(found), room);
  });
  choice.def("errors_by_law", [](const Choice& c, uint64_t seed, uint64_t stream, Address keys, int64_t rows,
                                 int64_t columns, Address table, Address gain, Address shift, Address sd,
                                 Address spread, Address y, int threads) {
    nb::gil_scoped_release free;
    const auto numbers = [](Address address) { return reinterpret_cast<const float*>(address); };
    c.k->errors_by_law(seed, stream, reinterpret_cast<const int64_t*>(keys), rows, columns, numbers(table),
                       numbers(gain), numbers(shift), numbers(sd), numbers(spread), reinterpret_cast<float*>(y),
                       threads);
  });
}

}  // namespace ohm
