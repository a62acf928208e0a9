// Python bindings of the reads of dense cells.
#pragma once
#include <nanobind/nanobind.h>

#include <cstdint>
#include <cstdlib>

#include "table.hpp"

namespace ohm {

// Wrong numbers of one read, kept until they have been copied out.
struct WrongNumbers {
  WrongNumber* data = nullptr;
  int64_t count = 0, samples = 1;
  WrongNumbers() = default;
  WrongNumbers(const WrongNumbers&) = delete;
  WrongNumbers(WrongNumbers&& other) : data(other.data), count(other.count), samples(other.samples) {
    other.data = nullptr;
  }
  ~WrongNumbers() { std::free(data); }
};

template <typename Choice>
void bind_reads(nanobind::module_& m, nanobind::class_<Choice>& choice) {
  namespace nb = nanobind;
  using Address = uintptr_t;
  nb::class_<ReadJob>(m, "ReadJob")
      .def("__init__",
           [](ReadJob* self, Address cells, int wide, Address meant, Address conductance, Address bounds,
              int64_t classes, Address sums, double largest_sum, Address rates, Address limits, Address values,
              int64_t symbols, int64_t levels, Address table, int64_t bins, double bins_per_S, int64_t inner) {
             *self = ReadJob{};
             self->cells = reinterpret_cast<const void*>(cells);
             self->wide = wide;
             self->meant = reinterpret_cast<const uint8_t*>(meant);
             self->conductance = reinterpret_cast<const float*>(conductance);
             self->bounds = reinterpret_cast<const int64_t*>(bounds);
             self->classes = classes;
             self->sums = reinterpret_cast<const double*>(sums);
             self->largest_sum = largest_sum;
             self->rates = reinterpret_cast<const double*>(rates);
             self->limits = reinterpret_cast<const int32_t*>(limits);
             self->values = reinterpret_cast<const int32_t*>(values);
             self->symbols = symbols;
             self->levels = levels;
             self->table = reinterpret_cast<const double*>(table);
             self->bins = bins;
             self->bins_per_S = bins_per_S;
             self->inner = inner;
           })
      .def("draw", [](ReadJob& job, uint64_t seed, uint64_t hits, uint64_t often, Address keys, Address counts,
                      int64_t samples, Address rows, int64_t rows_step, Address wanted) {
        job.seed = seed;
        job.hits = hits;
        job.often = often;
        job.keys = reinterpret_cast<const int64_t*>(keys);
        job.counts = reinterpret_cast<const int64_t*>(counts);
        job.samples = samples;
        job.rows = reinterpret_cast<const uint8_t*>(rows);
        job.rows_step = rows_step;
        job.wanted = reinterpret_cast<const uint8_t*>(wanted);
      });
  nb::class_<WrongNumbers>(m, "WrongNumbers")
      .def_ro("count", &WrongNumbers::count)
      .def("columns",
           [](const WrongNumbers& wrong, Address sample, Address position, Address delta) {
             const uint64_t samples = static_cast<uint64_t>(wrong.samples);
             for (int64_t i = 0; i < wrong.count; i++) {
               const uint64_t place = wrong.data[i].key / samples;
               reinterpret_cast<int64_t*>(position)[i] = static_cast<int64_t>(place);
               reinterpret_cast<int64_t*>(sample)[i] = static_cast<int64_t>(wrong.data[i].key - place * samples);
               reinterpret_cast<int32_t*>(delta)[i] = wrong.data[i].delta;
             }
           });
  choice.def("reads", [](const Choice& c, const ReadJob& job) {
    nb::gil_scoped_release free;
    WrongNumbers wrong;
    wrong.samples = job.samples;
    wrong.count = c.k->reads(job, &wrong.data);
    return wrong;
  });
}

}  // namespace ohm
