// Attention of some rows in one pass: the same arithmetic, step by step, as its products, its sums and its softmax.
#pragma once
#include <cstdint>
#include <cstring>

#include "functions.hpp"
#include "gemm.hpp"
#include "linear.hpp"
#include "pool.hpp"
#include "quantise.hpp"
#include "table.hpp"

namespace ohm {
namespace OHM_ISA {

constexpr int64_t FEW_ROWS = 4;  // so many rows meet the codes as they lie; more of them are worth packing

// Codes and scales of the rows of one head, quantised as a product quantises its resident operand.
struct HeadRows {
  bool same;  // the codes as they are held
  Scratch<int8_t> made;
  Scratch<float> scale;
  const int8_t* codes;
  int64_t stride;

  HeadRows(const HeldRows& rows, int64_t outer, int64_t head, int64_t tokens, int64_t width, int highest)
      : same(!rows.values && whole(rows, outer, head, tokens, width, highest)),
        made(same ? 0 : tokens * width),
        scale(tokens) {
    const int64_t start = outer * rows.outer + head * rows.head;
    if (rows.values) {
      codes = made.data;
      stride = width;
      for (int64_t n = 0; n < tokens; n++) {
        const float* row = rows.values + start + n * rows.token;
        scale.data[n] = scale_of(largest_magnitude(row, width, 1), highest);
        codes_of(row, width, scale.data[n], made.data + n * width, 0, 0.0f);
      }
      return;
    }
    codes = same ? rows.codes + start : made.data;
    stride = same ? rows.token : width;
    Scratch<float> line(width);
    for (int64_t n = 0; n < tokens; n++) {
      const int8_t* row = rows.codes + start + n * rows.token;
      const float given = rows.scale[outer * rows.scale_outer + head * rows.scale_head + n * rows.scale_token];
      if (same) {
        scale.data[n] = scale_of(static_cast<float>(largest_code(row, width)) * given, highest);
        continue;
      }
      for (int64_t k = 0; k < width; k++) line.data[k] = static_cast<float>(row[k]) * given;
      scale.data[n] = scale_of(largest_magnitude(line.data, width, 1), highest);
      codes_of(line.data, width, scale.data[n], made.data + n * width, 0, 0.0f);
    }
  }

  static int32_t largest_code(const int8_t* row, int64_t width) {
    int32_t most = 0;
    for (int64_t k = 0; k < width; k++) {
      const int32_t size = row[k] < 0 ? -row[k] : row[k];
      most = size > most ? size : most;
    }
    return most;
  }

  // Whether quantising codes * scale once more gives the very codes: the largest of each row is the highest, so
  // that the scale changes by two roundings at most, or all are 0.
  static bool whole(const HeldRows& rows, int64_t outer, int64_t head, int64_t tokens, int64_t width, int highest) {
    const int8_t* from = rows.codes + outer * rows.outer + head * rows.head;
    for (int64_t n = 0; n < tokens; n++) {
      const int32_t most = largest_code(from + n * rows.token, width);
      const float given = rows.scale[outer * rows.scale_outer + head * rows.scale_head + n * rows.scale_token];
      if (most != 0 && (most != highest || !(given >= 2 * TINY))) return false;
    }
    return true;
  }
};

// acc[row, token] of few streamed rows and the rows of a head.
inline void few_scores(const int8_t* streamed, int64_t rows, int64_t width, const HeadRows& held, int64_t tokens,
                       int32_t* acc, int64_t ldc) {
  for (int64_t n = 0; n < tokens; n++) {
    const int8_t* key = held.codes + n * held.stride;
    for (int64_t m = 0; m < rows; m++) {
      const int8_t* row = streamed + m * width;
      int32_t total = 0;
      for (int64_t k = 0; k < width; k++) total += static_cast<int32_t>(row[k]) * static_cast<int32_t>(key[k]);
      acc[m * ldc + n] = total;
    }
  }
}

// acc[row, element] of few streamed rows [row, token] and the rows of a head.
inline void few_sums(const int8_t* streamed, int64_t rows, int64_t width, const HeadRows& held, int64_t tokens,
                     int32_t* acc, int64_t ldc) {
  for (int64_t m = 0; m < rows; m++) {
    int32_t* __restrict to = acc + m * ldc;
    std::memset(to, 0, static_cast<size_t>(width) * sizeof *to);
    for (int64_t n = 0; n < tokens; n++) {
      const int32_t weight = streamed[m * tokens + n];
      const int8_t* value = held.codes + n * held.stride;
      if (weight != 0)
        for (int64_t k = 0; k < width; k++) to[k] += weight * static_cast<int32_t>(value[k]);
    }
  }
}

// Scores of one row as the softmax takes them.
inline void masked_scores(const AttentionJob& job, const int32_t* acc, float row_scale, const float* column_scale,
                          int64_t outer, int64_t head, int64_t row, float* __restrict s) {
  for (int64_t n = 0; n < job.tokens; n++)
    s[n] = static_cast<float>(acc[n]) * row_scale * column_scale[n] * job.scaling;
  if (job.softcap > 0) {
    for (int64_t n = 0; n < job.tokens; n++) s[n] = s[n] / job.softcap;
    for (int64_t n = 0; n < job.tokens; n += STRIP) {
      float part[STRIP];
      const int64_t count = smaller(STRIP, job.tokens - n);
      std::memcpy(part, s + n, static_cast<size_t>(count) * sizeof *part);
      function_strip(*job.tanh, part, s + n, count);
    }
    for (int64_t n = 0; n < job.tokens; n++) s[n] *= job.softcap;
  }
  for (const ScoreMask* mask : {&job.bias, &job.mask}) {
    if (!mask->data) continue;
    const float* from = mask->data + outer * mask->outer + head * mask->head + row * mask->row;
    if (mask->token == 1)
      for (int64_t n = 0; n < job.tokens; n++) s[n] += from[n];
    else
      for (int64_t n = 0; n < job.tokens; n++) s[n] += from[n * mask->token];
  }
}

inline void attention(const AttentionJob& job) {
  const int64_t kv_heads = job.heads / job.group, all = job.group * job.rows;
  const int64_t wide = job.tokens > job.value_width ? job.tokens : job.value_width;
  parallel(job.outer * kv_heads, job.threads, [&](long part) {
    const int64_t outer = part / kv_heads, kv = part % kv_heads;
    const bool few = all <= FEW_ROWS;
    const int64_t ldc = panels_of(wide) * PACK_COLUMNS, block_rows = smaller(ROW_BLOCK, all);
    const HeadRows keys(job.k, outer, kv, job.tokens, job.width, job.highest);
    Scratch<int8_t> packed_keys(few ? 0 : packed_bytes(job.tokens, job.width));
    if (!few) {
      start_packing(packed_keys.data, job.tokens, job.width);
      for (int64_t n = 0; n < job.tokens; n++)
        pack_column(keys.codes + n * keys.stride, n, job.tokens, job.width, packed_keys.data);
      finish_packing(packed_keys.data, job.tokens, job.width);
    }
    Scratch<int32_t> acc(block_rows * ldc);
    Scratch<float> scores(job.weights ? 0 : block_rows * job.tokens), scales(block_rows);
    Scratch<int8_t> codes(few ? FEW_ROWS * wide + FEW_ROWS * job.width : 0);
    StreamedBlock streamed;
    // rows of the heads that share these keys, head by head
    const auto head_of = [&](int64_t m) { return kv * job.group + m / job.rows; };
    const int64_t first_row = (outer * job.heads + kv * job.group) * job.rows;
    const auto scores_of = [&](int64_t top, int64_t rows, float* to) {
      const auto lay = [&](int64_t m, int8_t* line) {
        const float* row = job.q + outer * job.q_outer + head_of(top + m) * job.q_head + (top + m) % job.rows * job.q_row;
        scales.data[m] = scale_of(largest_magnitude(row, job.width, 1), job.highest);
        codes_of(row, job.width, scales.data[m], line, 0, 0.0f);
      };
      if (few) {
        for (int64_t m = 0; m < rows; m++) lay(m, codes.data + m * job.width);
        few_scores(codes.data, rows, job.width, keys, job.tokens, acc.data, ldc);
      } else {
        stream(streamed, rows, job.width, lay);
        block_products(streamed, packed_keys.data, job.tokens, job.width, 0, job.tokens, acc.data, ldc);
      }
      if (job.wrong_count)
        add_wrong(job.wrong, job.wrong_count, first_row + top, rows, 0, job.tokens, acc.data, ldc);
      for (int64_t m = 0; m < rows; m++) {
        float* s = to + m * job.tokens;
        masked_scores(job, acc.data + m * ldc, scales.data[m], keys.scale.data, outer, head_of(top + m),
                      (top + m) % job.rows, s);
        softmax_row(s, s, job.tokens, *job.exponential, *job.reciprocal, job.highest);
      }
    };
    if (job.weights) {
      for (int64_t top = 0; top < all; top += ROW_BLOCK)
        scores_of(top, smaller(ROW_BLOCK, all - top), job.weights + (first_row + top) * job.tokens);
      return;
    }
    const HeadRows values(job.v, outer, kv, job.tokens, job.value_width, job.highest);
    Scratch<int8_t> packed_values(few ? 0 : packed_bytes(job.value_width, job.tokens));
    if (!few) {
      start_packing(packed_values.data, job.value_width, job.tokens);
      Scratch<int8_t> line(job.tokens);
      for (int64_t k = 0; k < job.value_width; k++) {
        for (int64_t n = 0; n < job.tokens; n++) line.data[n] = values.codes[n * values.stride + k];
        pack_column(line.data, k, job.value_width, job.tokens, packed_values.data);
      }
      finish_packing(packed_values.data, job.value_width, job.tokens);
    }
    for (int64_t top = 0; top < all; top += ROW_BLOCK) {
      const int64_t rows = smaller(ROW_BLOCK, all - top);
      scores_of(top, rows, scores.data);
      const auto lay = [&](int64_t m, int8_t* line) {
        float* row = scores.data + m * job.tokens;
        for (int64_t n = 0; n < job.tokens; n++) row[n] *= values.scale.data[n];
        scales.data[m] = scale_of(largest_magnitude(row, job.tokens, 1), job.highest);
        codes_of(row, job.tokens, scales.data[m], line, 0, 0.0f);
      };
      if (few) {
        for (int64_t m = 0; m < rows; m++) lay(m, codes.data + m * job.tokens);
        few_sums(codes.data, rows, job.value_width, values, job.tokens, acc.data, ldc);
      } else {
        stream(streamed, rows, job.tokens, lay);
        block_products(streamed, packed_values.data, job.value_width, job.tokens, 0, job.value_width, acc.data, ldc);
      }
      for (int64_t m = 0; m < rows; m++) {
        const int32_t* from = acc.data + m * ldc;
        const int64_t row = (top + m) % job.rows;
        float* to = job.y + ((outer * job.rows + row) * job.heads + head_of(top + m)) * job.value_width;
        for (int64_t k = 0; k < job.value_width; k++) to[k] = static_cast<float>(from[k]) * scales.data[m];
      }
    }
  });
}

inline void rotary(const RotaryJob& job) {
  const int64_t half = job.turned / 2;
  for (int64_t outer = 0; outer < job.outer; outer++)
    for (int64_t head = 0; head < job.heads; head++)
      for (int64_t token = 0; token < job.tokens; token++) {
        const float* x = job.x + outer * job.x_outer + head * job.x_head + token * job.x_token;
        float* __restrict y = job.y + outer * job.y_outer + head * job.y_head + token * job.y_token;
        const float* cosine = job.cos + outer * job.table_outer + token * job.table_token;
        const float* sine = job.sin + outer * job.table_outer + token * job.table_token;
        if (job.pairs) {
          for (int64_t k = 0; k < job.turned; k += 2) {
            y[k] = x[k] * cosine[k] + -x[k + 1] * sine[k];
            y[k + 1] = x[k + 1] * cosine[k + 1] + x[k] * sine[k + 1];
          }
        } else {
          for (int64_t k = 0; k < half; k++) y[k] = x[k] * cosine[k] + -x[k + half] * sine[k];
          for (int64_t k = half; k < job.turned; k++) y[k] = x[k] * cosine[k] + x[k - half] * sine[k];
        }
        for (int64_t k = job.turned; k < job.width; k++) y[k] = x[k];
      }
}

inline void store_rows(const StoreJob& job) {
  for (int64_t outer = 0; outer < job.outer; outer++)
    for (int64_t head = 0; head < job.heads; head++)
      for (int64_t token = 0; token < job.tokens; token++) {
        const float* x = job.x + outer * job.x_outer + head * job.x_head + token * job.x_token;
        const float scale = scale_of(largest_magnitude(x, job.width, 1), job.highest);
        int8_t* codes = job.codes + outer * job.codes_outer + head * job.codes_head + token * job.codes_token;
        codes_of(x, job.width, scale, codes, 0, 0.0f);
        job.scale[outer * job.scale_outer + head * job.scale_head + token * job.scale_token] = scale;
      }
}

}  // namespace OHM_ISA
}  // namespace ohm
