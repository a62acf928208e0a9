// The Python module: addresses and sizes in, checked by engine/native.py, which alone calls it.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <vector>

#include "digit_serial_module.hpp"
#include "reads_module.hpp"
#include "table.hpp"
#include "whole_module.hpp"
#include "laws_module.hpp"

namespace nb = nanobind;
using namespace ohm;
using Address = uintptr_t;

namespace {

template <typename T>
T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

struct Choice {
  const Kernels* k;
};

std::vector<const Kernels*> offered() {
  std::vector<const Kernels*> found;
  const auto offer = [&](const Kernels* k) {
    if (k) found.push_back(k);
  };
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool aes = __builtin_cpu_supports("aes");
  if (aes && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
    offer(avx512_kernels());
  if (aes && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("vaes")) offer(avx2_vaes_kernels());
  if (aes && __builtin_cpu_supports("avx2")) offer(avx2_kernels());
#endif
  offer(portable_kernels());
  return found;
}

}  // namespace

NB_MODULE(_native, m) {
  nb::set_leak_warnings(false);  // jobs and curves are kept in caches until the process ends
  m.def("names", [] {
    std::vector<std::string> names;
    for (const Kernels* k : offered()) names.emplace_back(k->name);
    return names;
  });
  nb::class_<Curve>(m, "Curve")
      .def("__init__", [](Curve* self, int kind, int segment_bits, double low, double per_unit, Address values,
                          Address rises, float down, double floor, bool wide) {
        *self = Curve{kind, 1 << segment_bits, segment_bits, low, per_unit, at<const int32_t>(values),
                      at<const int32_t>(rises), down, floor, wide};
      });
  nb::class_<ErrorJob>(m, "ErrorJob")
      .def("__init__",
           [](ErrorJob* self, uint64_t below, double chance, Address cumulative, int64_t cumulative_count,
              int64_t inner, int64_t columns, Address bounds, int64_t group_count, Address weights,
              int64_t weight_count, int64_t planes, Address probability, double worst, int64_t width,
              Address power, Address closed, int highest) {
             *self = ErrorJob{};
             self->below = below;
             self->chance = chance;
             self->cumulative = at<double>(cumulative);
             self->cumulative_count = cumulative_count;
             self->inner = inner;
             self->columns = columns;
             self->bounds = at<int64_t>(bounds);
             self->group_count = group_count;
             self->weights = at<int64_t>(weights);
             self->weight_count = weight_count;
             self->planes = planes;
             self->probability = at<double>(probability);
             self->worst = worst;
             self->width = width;
             self->power = at<int32_t>(power);
             self->closed = at<int32_t>(closed);
             self->highest = highest;
             self->heads = 1;
           })
      .def("draw", [](ErrorJob& job, uint64_t seed, uint64_t stream, uint64_t details, Address keys,
                      int64_t rows) {
        job.seed = seed;
        job.stream = stream;
        job.details = details;
        job.keys = at<int64_t>(keys);
        job.rows = job.rows_per_entry = rows;
      })
      .def("streamed", [](ErrorJob& job, Address a, int64_t outer, int64_t head, int64_t row, int64_t heads,
                          int64_t rows_per_entry, Address factor) {
        job.a = {at<float>(a), outer, head};
        job.a_row = row;
        job.heads = heads;
        job.rows_per_entry = rows_per_entry;
        job.factor = at<float>(factor);
      })
      .def("packed",
           [](ErrorJob& job, Address packed) {
             job.packed = at<int8_t>(packed);
             job.factor = nullptr;
           })
      .def("resident", [](ErrorJob& job, Address b, int64_t outer, int64_t head, int64_t column, int64_t inner) {
        job.packed = nullptr;
        job.b = {at<float>(b), outer, head};
        job.b_column = column;
        job.b_inner = inner;
      });
  nb::class_<Choice> choice(m, "Kernels");
  bind_digit_serial(m, choice);
  bind_reads(m, choice);
  bind_whole(m, choice);
  bind_laws(m, choice);
  choice
      .def("__init__",
           [](Choice* self, const std::string& name) {
             for (const Kernels* k : offered())
               if (name == k->name) {
                 self->k = k;
                 return;
               }
             throw nb::value_error("unknown instruction set");
           })
      .def_prop_ro("name", [](const Choice& c) { return std::string(c.k->name); })
      .def_prop_ro("pack_columns", [](const Choice& c) { return c.k->pack_columns; })
      .def_prop_ro("pack_inner", [](const Choice& c) { return c.k->pack_inner; })
      .def("packed_bytes", [](const Choice& c, int64_t n, int64_t k) { return c.k->packed_bytes(n, k); })
      .def("pack", [](const Choice& c, Address codes, int64_t n, int64_t k,
                      Address packed) { c.k->pack(at<int8_t>(codes), n, k, at<int8_t>(packed)); })
      .def("unpack",
           [](const Choice& c, Address packed, int64_t n, int64_t k, Address ids, int64_t count, Address codes) {
             c.k->unpack(at<int8_t>(packed), n, k, at<int64_t>(ids), count, at<int8_t>(codes));
           })
      .def("patch",
           [](const Choice& c, Address packed, int64_t n, int64_t k, Address places, Address deltas,
              int64_t count) {
             c.k->patch(at<int8_t>(packed), n, k, at<int64_t>(places), at<int32_t>(deltas), count);
           })
      .def("quantise",
           [](const Choice& c, Address x, int64_t rows, int64_t inner, int highest, float fixed, Address codes,
              Address scale) {
             nb::gil_scoped_release free;
             c.k->quantise(at<float>(x), rows, inner, highest, fixed, at<int8_t>(codes), at<float>(scale));
           })
      .def("product",
           [](const Choice& c, Address codes, int64_t rows, int64_t inner, Address packed, int64_t columns,
              Address y, int threads) {
             nb::gil_scoped_release free;
             c.k->product(at<int8_t>(codes), rows, inner, at<int8_t>(packed), columns, at<int32_t>(y), threads);
           })
      .def("linear",
           [](const Choice& c, Address x, int64_t rows, int64_t inner, int64_t columns, int highest, float fixed,
              Address packed, Address scale, Address bias, Address y, Address wrong, int64_t wrong_count,
              int threads) {
             const LinearJob job{at<float>(x),     rows,          inner,           columns,
                                 highest,          fixed,         at<int8_t>(packed), at<float>(scale),
                                 at<float>(bias),  at<float>(y),  at<WrongOutput>(wrong), wrong_count, threads};
             nb::gil_scoped_release free;
             c.k->linear(job);
           })
      .def("batch",
           [](const Choice& c, Address a, int64_t a_outer, int64_t a_head, int64_t a_row, Address b,
              int64_t b_outer, int64_t b_head, int64_t b_column, int64_t b_inner, int64_t entries, int64_t heads,
              int64_t rows, int64_t inner, int64_t columns, int highest, Address factor, Address y, Address wrong,
              int64_t wrong_count, int threads) {
             const BatchJob job{{at<float>(a), a_outer, a_head}, a_row, {at<float>(b), b_outer, b_head}, b_column,
                                b_inner, entries, heads, rows, inner, columns, highest, at<float>(factor),
                                at<float>(y), at<WrongOutput>(wrong), wrong_count, threads};
             nb::gil_scoped_release free;
             c.k->batch(job);
           })
      .def("words",
           [](const Choice& c, uint64_t seed, uint64_t stream, Address keys, int64_t rows, int64_t first,
              int64_t blocks, Address out) {
             c.k->words(seed, stream, at<int64_t>(keys), rows, first, blocks, at<uint32_t>(out));
           })
      .def("hits",
           [](const Choice& c, uint64_t seed, uint64_t stream, Address keys, int64_t rows, uint64_t below,
              Address found, int64_t room) {
             return c.k->hits(seed, stream, at<int64_t>(keys), rows, below, at<int64_t>(found), room);
           })
      .def("wrong_outputs",
           [](const Choice& c, const ErrorJob& job, Address found, int64_t room) {
             return c.k->wrong_outputs(job, at<WrongOutput>(found), room);
           })
      .def("row_variance",
           [](const Choice& c, Address codes, int64_t rows, int64_t inner, Address power, int64_t digits,
              Address closed, int64_t planes, Address bounds, int64_t groups, Address weights, Address variance,
              double width, Address found, int threads) {
             nb::gil_scoped_release free;
             c.k->row_variance(at<int8_t>(codes), rows, inner, at<double>(power), digits, at<double>(closed),
                               planes, at<int64_t>(bounds), groups, at<double>(weights), at<double>(variance),
                               width, at<double>(found), threads);
           })
      .def("sample_errors",
           [](const Choice& c, Address x, int64_t inner, int64_t sets, int64_t columns, Address order, Address starts,
              Address codes, Address first, Address bounds, int64_t groups, int64_t digits, int64_t planes,
              Address digit, Address states, int reach, Address table, Address weights, Address power, float width,
              int32_t level_entries, Address mean, Address variance, int threads) {
             nb::gil_scoped_release free;
             c.k->sample_errors({at<int8_t>(x), inner, sets, columns, at<int64_t>(order), at<int64_t>(starts),
                                 at<int8_t>(codes), at<int32_t>(first), at<int64_t>(bounds), groups, digits, planes,
                                 at<uint8_t>(digit), at<int8_t>(states), reach, at<float>(table),
                                 at<double>(weights), at<uint8_t>(power), width, level_entries, at<double>(mean),
                                 at<double>(variance), threads});
           })
      .def("deviates",
           [](const Choice& c, uint64_t seed, uint64_t stream, Address keys, int64_t rows, int64_t columns,
              Address table, Address sd, Address y, Address values, Address row_scale, Address column_scale,
              Address bias, int threads) {
             nb::gil_scoped_release free;
             c.k->deviates(seed, stream, at<int64_t>(keys), rows, columns, at<float>(table), at<float>(sd),
                           at<float>(y), at<int32_t>(values), at<float>(row_scale), at<float>(column_scale),
                           at<float>(bias), threads);
           })
      .def("codes_at",
           [](const Choice& c, Address packed, int64_t k, Address positions, int64_t count, Address codes,
              int threads) {
             nb::gil_scoped_release free;
             c.k->codes_at(at<int8_t>(packed), k, at<int64_t>(positions), count, at<int8_t>(codes), threads);
           })
      .def("function",
           [](const Choice& c, const Curve& curve, Address x, Address y, int64_t count, int threads) {
             nb::gil_scoped_release free;
             c.k->function(curve, at<float>(x), at<float>(y), count, threads);
           })
      .def("softmax",
           [](const Choice& c, Address x, Address y, int64_t rows, int64_t inner, const Curve& exponential,
              const Curve& reciprocal, int highest, int threads) {
             nb::gil_scoped_release free;
             c.k->softmax(at<float>(x), at<float>(y), rows, inner, exponential, reciprocal, highest, threads);
           })
      .def("layer_norm",
           [](const Choice& c, Address x, Address gain, Address shift, Address y, int64_t rows, int64_t inner,
              float eps, const Curve& curve, int highest, int threads) {
             nb::gil_scoped_release free;
             c.k->layer_norm(at<float>(x), at<float>(gain), at<float>(shift), at<float>(y), rows, inner, eps,
                             curve, highest, threads);
           })
      .def("rms_norm", [](const Choice& c, Address x, Address gain, Address y, int64_t rows, int64_t inner,
                          float eps, const Curve& curve, int highest, int threads) {
        nb::gil_scoped_release free;
        c.k->rms_norm(at<float>(x), at<float>(gain), at<float>(y), rows, inner, eps, curve, highest, threads);
      });
}
