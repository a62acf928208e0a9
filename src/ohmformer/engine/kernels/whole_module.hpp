// Calls of whole pieces of a model: attention, rotary products, rows of a cache, prepared layers.
#pragma once
#include <nanobind/nanobind.h>

#include "table.hpp"

namespace ohm {

// A stored layer that only waits for rows: its conversions go wrong so seldom that whether any does is asked first.
struct PreparedLinear {
  const Kernels* k;
  LinearJob job;
  uint64_t seed, below;

  // False where a conversion goes wrong: nothing was computed.
  bool run(const float* x, int64_t rows, float* y, uint64_t stream, const int64_t* keys, int threads) const {
    if (below && k->hits(seed, stream, keys, rows, below, nullptr, 0) > 0) return false;
    LinearJob now = job;
    now.x = x;
    now.y = y;
    now.rows = rows;
    now.threads = threads;
    k->linear(now);
    return true;
  }
};

// Random bits of the rows of up to three products: where a conversion of one goes wrong, nothing is computed.
struct Draws {
  uint64_t seed;
  const int64_t* keys;
  int64_t rows;
  uint64_t stream[3], below[3];

  bool clean(const Kernels* k) const {
    for (int i = 0; i < 3; i++)
      if (below[i] && k->hits(seed, stream[i], keys, rows, below[i], nullptr, 0) > 0) return false;
    return true;
  }
};

template <typename Choice>
void bind_whole(nanobind::module_& m, nanobind::class_<Choice>& choice) {
  namespace nb = nanobind;
  using Address = uintptr_t;
  nb::class_<PreparedLinear>(m, "PreparedLinear")
      .def("__init__",
           [](PreparedLinear* self, const Choice& c, int64_t inner, int64_t columns, int highest, Address packed,
              Address scale, uint64_t seed, uint64_t below) {
             *self = PreparedLinear{};
             self->k = c.k;
             self->job.inner = inner;
             self->job.columns = columns;
             self->job.highest = highest;
             self->job.packed = reinterpret_cast<const int8_t*>(packed);
             self->job.scale = reinterpret_cast<const float*>(scale);
             self->seed = seed;
             self->below = below;
           })
      .def("run", [](PreparedLinear& self, Address x, int64_t rows, Address y, Address bias, uint64_t stream,
                     Address keys, int threads) {
        self.job.bias = reinterpret_cast<const float*>(bias);
        nb::gil_scoped_release free;
        return self.run(reinterpret_cast<const float*>(x), rows, reinterpret_cast<float*>(y), stream,
                        reinterpret_cast<const int64_t*>(keys), threads);
      });
  nb::class_<HeldRows>(m, "HeldRows")
      .def("__init__",
           [](HeldRows* self, Address values, Address codes, int64_t outer, int64_t head, int64_t token,
              Address scale, int64_t scale_outer, int64_t scale_head, int64_t scale_token) {
             *self = HeldRows{reinterpret_cast<const float*>(values), reinterpret_cast<const int8_t*>(codes),
                              outer, head, token, reinterpret_cast<const float*>(scale), scale_outer, scale_head,
                              scale_token};
           });
  nb::class_<ScoreMask>(m, "ScoreMask")
      .def("__init__", [](ScoreMask* self, Address data, int64_t outer, int64_t head, int64_t row, int64_t token) {
        *self = ScoreMask{reinterpret_cast<const float*>(data), outer, head, row, token};
      });
  choice
      .def("attention",
           [](const Choice& c, Address q, int64_t q_outer, int64_t q_head, int64_t q_row, const HeldRows& k,
              const HeldRows& v, int64_t outer, int64_t heads, int64_t group, int64_t rows, int64_t width,
              int64_t value_width, int64_t tokens, float scaling, float softcap, const ScoreMask& mask,
              const ScoreMask& bias, const Curve& exponential, const Curve& reciprocal, const Curve& tanh,
              int highest, Address wrong, int64_t wrong_count, Address weights, Address y, int threads,
              uint64_t seed, Address keys, uint64_t first, uint64_t first_below, uint64_t second,
              uint64_t second_below, uint64_t third, uint64_t third_below) {
             const Draws draws{seed, reinterpret_cast<const int64_t*>(keys), outer * heads * rows,
                               {first, second, third}, {first_below, second_below, third_below}};
             const AttentionJob job{reinterpret_cast<const float*>(q), q_outer, q_head, q_row, k, v, outer, heads,
                                    group, rows, width, value_width, tokens, scaling, softcap, mask, bias,
                                    &exponential, &reciprocal, &tanh, highest,
                                    reinterpret_cast<const WrongOutput*>(wrong), wrong_count,
                                    reinterpret_cast<float*>(weights), reinterpret_cast<float*>(y), threads};
             nb::gil_scoped_release free;
             if (!draws.clean(c.k)) return false;
             c.k->attention(job);
             return true;
           })
      .def("rms_norm_if_right",
           [](const Choice& c, Address x, Address gain, Address y, int64_t rows, int64_t inner, float eps,
              const Curve& curve, int highest, int threads, uint64_t seed, Address keys, uint64_t stream,
              uint64_t below) {
             const Draws draws{seed, reinterpret_cast<const int64_t*>(keys), rows, {stream, 0, 0}, {below, 0, 0}};
             nb::gil_scoped_release free;
             if (!draws.clean(c.k)) return false;
             c.k->rms_norm(reinterpret_cast<const float*>(x), reinterpret_cast<const float*>(gain),
                           reinterpret_cast<float*>(y), rows, inner, eps, curve, highest, threads);
             return true;
           })
      .def("rotary",
           [](const Choice& c, Address x, int64_t x_outer, int64_t x_head, int64_t x_token, Address cosine,
              Address sine, int64_t table_outer, int64_t table_token, int64_t outer, int64_t heads, int64_t tokens,
              int64_t width, int64_t turned, bool pairs, Address y, int64_t y_outer, int64_t y_head,
              int64_t y_token) {
             const RotaryJob job{reinterpret_cast<const float*>(x), x_outer, x_head, x_token,
                                 reinterpret_cast<const float*>(cosine), reinterpret_cast<const float*>(sine),
                                 table_outer, table_token, outer, heads, tokens, width, turned, pairs,
                                 reinterpret_cast<float*>(y), y_outer, y_head, y_token};
             nb::gil_scoped_release free;
             c.k->rotary(job);
           })
      .def("store_rows",
           [](const Choice& c, Address x, int64_t x_outer, int64_t x_head, int64_t x_token, int64_t outer,
              int64_t heads, int64_t tokens, int64_t width, int highest, Address codes, int64_t codes_outer,
              int64_t codes_head, int64_t codes_token, Address scale, int64_t scale_outer, int64_t scale_head,
              int64_t scale_token) {
             const StoreJob job{reinterpret_cast<const float*>(x), x_outer, x_head, x_token, outer, heads, tokens,
                                width, highest, reinterpret_cast<int8_t*>(codes), codes_outer, codes_head,
                                codes_token, reinterpret_cast<float*>(scale), scale_outer, scale_head, scale_token};
             nb::gil_scoped_release free;
             c.k->store_rows(job);
           });
}

}  // namespace ohm
