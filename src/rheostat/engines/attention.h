/* Attention of a few queries over the keys and values of one row, which may lie in several parts.
 *
 * Scores of all tokens lie behind each other, and so every sum is taken over the whole row in the
 * order of its tokens: where one part ends and the next begins changes no bit (ours). A format is
 * known where these functions are inlined.
 */
#ifndef ATTENTION_H
#define ATTENTION_H
#include <math.h>

#include "formats.h"

enum { SIDE = 4, PAIR = 2, PIECE = 64, FETCHED = 1 << 18 };
static const float HIDDEN = -1e30f; /* relaxed arithmetic knows no infinity */
#define INLINE static inline __attribute__((always_inline))

/* The first `count` tokens of a buffer [slots, capacity, 2, heads, size]. */
typedef struct {
  char *buffer;
  long capacity, count;
} Stretch;

/* What one key-value head holds of a row in one slot: its stretches, `count` tokens in all. */
typedef struct {
  const Stretch *stretches;
  long many, count, slot, heads, head, size;
} Held;

/* Numbers from a token to the next one; values lie half as far behind their keys. */
INLINE long stride_of(const Held *h) { return 2 * h->heads * h->size; }

INLINE const char *keys_of(const Held *h, const Stretch *s, Format format) {
  return s->buffer +
         (h->slot * s->capacity * stride_of(h) + h->head * h->size) * bytes_of(format);
}

/* Asks for keys and values of `heads` heads ahead of their use, in the order in which they lie,
 * unless there are more than a cache keeps until then. */
INLINE void fetch(const Held *h, long heads, Format format) {
  long bytes = heads * h->size * bytes_of(format), stride = stride_of(h) * bytes_of(format);
  if (2 * bytes * h->count > FETCHED) return;
  for (const Stretch *s = h->stretches; s < h->stretches + h->many; s++) {
    const char *keys = keys_of(h, s, format);
    for (long t = 0; t < s->count; t++, keys += stride)
      for (long i = 0; i < bytes; i += 64) {
        __builtin_prefetch(keys + i, 0, 2);
        __builtin_prefetch(keys + stride / 2 + i, 0, 2);
      }
  }
}

/* Scores [many, room] of queries [many, size] against all keys. */
INLINE void score(const float *queries, const Held *h, float *restrict scores, long many, long room,
                  long size, Format format) {
  float scale = 1.0f / sqrtf((float)size);
  long stride = stride_of(h) * bytes_of(format);
  for (const Stretch *s = h->stretches; s < h->stretches + h->many; scores += s++->count) {
    const char *keys = keys_of(h, s, format);
    for (long t = 0; t < s->count; t++, keys += stride) {
      float sum[SIDE] = {0}; /* held in registers */
      for (long i = 0; i < size; i++)
        for (long q = 0; q < many; q++) sum[q] += queries[q * size + i] * load(keys, i, format);
      for (long q = 0; q < many; q++) scores[q * room + t] = sum[q] * scale;
    }
  }
}

/* Scores to weights, in place; returns their sum. */
static inline float weights(float *scores, const float *mask, long count) {
  float largest = HIDDEN, total = 0;
  for (long t = 0; mask && t < count; t++) scores[t] = mask[t] < -1e20f ? HIDDEN : scores[t];
  for (long t = 0; t < count; t++) largest = scores[t] > largest ? scores[t] : largest;
  for (long t = 0; t < count; t++) {
    float shown = scores[t] > 0.5f * HIDDEN ? 1.0f : 0.0f;
    scores[t] = shown * expf(fmaxf(scores[t] - largest, -87.0f));
    total += scores[t];
  }
  return total;
}

/* Mean values of `many` queries, the numbers from `at` on, `width` of them; out [many]. */
INLINE void mean(const float *scores, const Held *h, const float *totals, char *const *out,
                 long many, long room, long at, long width, Format format, Format product) {
  float sum[PAIR][PIECE] = {{0}}; /* held in registers */
  long stride = stride_of(h) * bytes_of(format);
  for (const Stretch *s = h->stretches; s < h->stretches + h->many; scores += s++->count) {
    const char *values = keys_of(h, s, format) + stride / 2 + at * bytes_of(format);
    for (long t = 0; t < s->count; t++, values += stride)
      for (long q = 0; q < many; q++)
        for (long i = 0; i < width; i++)
          sum[q][i] += scores[q * room + t] * load(values, i, format);
  }
  for (long q = 0; q < many; q++)
    for (long i = 0; i < width; i++) store(out[q], at + i, sum[q][i] / totals[q], product);
}

/* As `attend`, of a head size that the compiler may know. */
INLINE void attend_sized(const float *queries, const Held *h, const float *const *mask,
                         float *scores, char *const *out, long many, long room, long size,
                         Format format, Format product) {
  float totals[SIDE];
  if (many == SIDE)
    score(queries, h, scores, SIDE, room, size, format);
  else if (many == 3)
    score(queries, h, scores, 3, room, size, format);
  else if (many == 2)
    score(queries, h, scores, 2, room, size, format);
  else
    score(queries, h, scores, 1, room, size, format);
  for (long q = 0; q < many; q++)
    totals[q] = weights(scores + q * room, mask ? mask[q] : 0, h->count);
  for (long q = 0; q < many; q += PAIR)
    for (long at = 0; at < size; at += PIECE) {
      const float *weight = scores + q * room, *total = totals + q;
      long width = size - at < PIECE ? size - at : PIECE, now = many - q < PAIR ? 1 : PAIR;
      if (width == PIECE && now == PAIR)
        mean(weight, h, total, out + q, PAIR, room, at, PIECE, format, product);
      else if (width == PIECE)
        mean(weight, h, total, out + q, 1, room, at, PIECE, format, product);
      else
        mean(weight, h, total, out + q, now, room, at, width, format, product);
    }
}

/* Queries [many, size] of one key-value head, SIDE of them at most: a key is read once for all.
 *
 * mask: one a query, additive, [count]; none = everything is seen. scores: memory [many, room],
 * room for as many as the row has tokens. out: where each query's mean is to be put, [size]. */
INLINE void attend(const float *queries, const Held *held, const float *const *mask, float *scores,
                   char *const *out, long many, long room, Format format, Format product) {
  if (held->size == 64)
    attend_sized(queries, held, mask, scores, out, many, room, 64, format, product);
  else
    attend_sized(queries, held, mask, scores, out, many, room, held->size, format, product);
}

#endif
