// The Python side of digit_serial.hpp: addresses and sizes, checked by engine/digit_serial.py.
#pragma once
#include <nanobind/nanobind.h>

#include <cmath>

#include "table.hpp"

namespace ohm {

template <typename Class>
void bind_digit_serial(nanobind::module_& m, Class& kernels) {
  using Choice = typename Class::Type;
  using Address = uintptr_t;
  const auto whole = [](Address a) { return reinterpret_cast<const int32_t*>(a); };
  nanobind::class_<SerialPlan>(m, "SerialPlan")
      .def("__init__", [whole](SerialPlan* self, Address numbers, Address bounds, Address digits_of, Address closed,
                               Address plane_weight, Address run_factor, Address full_weight,
                               Address digit_weight, Address power) {
        const int32_t* n = whole(numbers);
        *self = SerialPlan{n[0], whole(bounds), n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9],
                           reinterpret_cast<const int8_t*>(digits_of), n[10], n[11],
                           reinterpret_cast<const uint64_t*>(closed), n[12], n[13], n[14], n[15], n[16], n[17],
                           n[18], n[19], n[20], n[21], n[22], n[23], n[24],
                           reinterpret_cast<const int16_t*>(plane_weight), whole(run_factor), whole(full_weight), whole(digit_weight), whole(power)};
      });
  kernels
      .def("serial_packed_bytes",
           [](const Choice& c, const SerialPlan& plan, int64_t columns) {
             return c.k->serial_packed_bytes(plan, columns);
           })
      .def("serial_pack",
           [](const Choice& c, const SerialPlan& plan, Address x, int64_t inner_stride, int64_t column_stride,
              int64_t columns, Address packed, Address counts) {
             nanobind::gil_scoped_release free;
             return c.k->serial_pack(plan, reinterpret_cast<const float*>(x), inner_stride, column_stride, columns,
                                     reinterpret_cast<uint8_t*>(packed), reinterpret_cast<int32_t*>(counts));
           })
      .def("serial_product",
           [whole](const Choice& c, const SerialPlan& plan, Address x, int64_t rows, int64_t inner, int64_t columns,
              Address packed, Address keep, int noise, uint64_t seed, uint64_t stream, Address keys, Address points,
              int noise_shift, double per_sd, double additive, double worst_sd, double mismatch, double mean_mismatch,
              double per_branch, Address thresholds, Address limits, Address nearer, Address deviates,
              uint64_t alone, Address closed_count, Address events, int64_t event_count, Address resident, Address y, int threads) {
             int32_t bad = 0;
             const SerialJob job{&plan, reinterpret_cast<const float*>(x), rows, inner, columns,
                                 reinterpret_cast<const uint8_t*>(packed), reinterpret_cast<const int16_t*>(keep),
                                 noise, seed, stream, reinterpret_cast<const int64_t*>(keys),
                                 reinterpret_cast<const int8_t*>(points), noise_shift, per_sd, additive, std::sqrt(additive), worst_sd,
                                 mismatch,
                                 mean_mismatch, per_branch, whole(thresholds),
                                 reinterpret_cast<const uint8_t*>(limits),
                                 reinterpret_cast<const uint8_t*>(nearer),
                                 reinterpret_cast<const float*>(deviates), alone,
                                 whole(closed_count),
                                 reinterpret_cast<const SerialEvent*>(events), event_count,
                                 reinterpret_cast<const int8_t*>(resident),
                                 reinterpret_cast<int32_t*>(y), &bad, threads};
             nanobind::gil_scoped_release free;
             c.k->serial_product(job);
             return bad == 0;
           });
}

}  // namespace ohm
