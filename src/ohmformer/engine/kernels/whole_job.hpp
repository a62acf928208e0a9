// Operands of whole pieces of a model in one call: attention, rotary products, rows of a cache, prepared layers.
#pragma once
#include <cstdint>

namespace ohm {

struct Curve;
struct WrongOutput;

// Rows [outer, head, token, element] of float32, or of codes with a scale for each row; the last axis is contiguous.
struct HeldRows {
  const float* values;  // or null:
  const int8_t* codes;
  int64_t outer, head, token;  // strides of either
  const float* scale;          // [outer, head, token] of the codes
  int64_t scale_outer, scale_head, scale_token;
};

// Added to the scores; strides of 0 where it is shared.
struct ScoreMask {
  const float* data;  // null: none
  int64_t outer, head, row, token;
};

// softmax(q k^T * scaling + masks) v, `group` heads of q for each head of k and v.
struct AttentionJob {
  const float* q;
  int64_t q_outer, q_head, q_row;
  HeldRows k, v;
  int64_t outer, heads, group, rows, width, value_width, tokens;
  float scaling, softcap;  // softcap 0: none
  ScoreMask mask, bias;    // the bias is added first
  const Curve *exponential, *reciprocal, *tanh;
  int highest;
  const WrongOutput* wrong;  // of the scores; row counts through [outer, head, row]
  int64_t wrong_count;
  float* weights;  // [outer, head, row, token], or null:
  float* y;        // [outer, row, head, value_width]
  int threads;
};

// y = x * cos + turned(x) * sin over the first `turned` elements of each row; the others stay.
struct RotaryJob {
  const float* x;
  int64_t x_outer, x_head, x_token;
  const float *cos, *sin;
  int64_t table_outer, table_token;  // of cos and sin, alike
  int64_t outer, heads, tokens, width, turned;
  bool pairs;  // neighbours are turned together, else halves
  float* y;
  int64_t y_outer, y_head, y_token;
};

// Rows [outer, head, token] quantised into a store.
struct StoreJob {
  const float* x;
  int64_t x_outer, x_head, x_token;
  int64_t outer, heads, tokens, width;
  int highest;
  int8_t* codes;
  int64_t codes_outer, codes_head, codes_token;
  float* scale;
  int64_t scale_outer, scale_head, scale_token;
};

}  // namespace ohm
