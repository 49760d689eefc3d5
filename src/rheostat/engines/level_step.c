/* All layers of a step over few tokens in one call: four-bit weights, float32 between products.
 *
 * Every token is treated by itself: what a step reads beside it changes the order of attention's
 * float32 sums and nothing else. One thread.
 */
#include <stdlib.h>

#include "level_product.h"

void add_norm_f32_f32(const float *, const float *, const float *, float *, float *, long, long,
                      float);
void turn_f32_f32(const float *, const float *, float *, float *, long, long, long, long);
void gate_f32_f32(const float *, float *, long, long);

typedef struct {
  long layers, width, inner, kv, group, size;
  float eps;
} Shape;

typedef struct {
  const float *attention_norm, *mlp_norm;
  const Cell *qkv, *out, *gate_up, *down;
} Layer;

/* A row of the batch: its new tokens are those from `start` to `end`. */
typedef struct {
  float *cache; /* [slots, capacity, 2, kv, size] */
  long capacity, held, start, end;
  const float *mask; /* additive, [new, held + new]; null = everything is seen */
} Row;

/* Memory of a step, cut from one piece. */
typedef struct {
  float *normed, *wide, *inner, *queries, *scores, *update;
  Rounded rounded;
} Room;

static float *cut(char **at, long floats) {
  float *piece = (float *)*at;
  *at += (4 * floats + 63) / 64 * 64;
  return piece;
}

static void project(const float *x, long in, const Cell *matrix, float *out, long width, long n,
                    Room *room) {
  room->rounded.groups = in / GROUP;
  round_rows(x, &room->rounded, n);
  packed_product(matrix, &room->rounded, out, n, width);
}

enum { PIECE = 64 };
static const float HIDDEN = -1e30f; /* relaxed arithmetic knows no infinity */

/* One query against `count` keys; the values lie `values` numbers behind them. */
static inline __attribute__((always_inline)) void attend(const float *query, const float *held,
                                                         const float *mask, float *scores,
                                                         float *out, long count, long stride,
                                                         long values, long size) {
  float largest = HIDDEN, total = 0, scale = 1.0f / sqrtf((float)size);
  for (long t = 0; t < count; t++) {
    float score = 0;
    for (long i = 0; i < size; i++) score += query[i] * held[t * stride + i];
    scores[t] = mask && mask[t] < -1e20f ? HIDDEN : score * scale;
  }
  for (long t = 0; t < count; t++) largest = scores[t] > largest ? scores[t] : largest;
  for (long t = 0; t < count; t++) {
    float shown = scores[t] > 0.5f * HIDDEN ? 1.0f : 0.0f;
    scores[t] = shown * expf(fmaxf(scores[t] - largest, -87.0f));
    total += scores[t];
  }
  for (long at = 0; at < size; at += PIECE) {
    float sum[PIECE] = {0}; /* held in registers */
    long piece = size - at < PIECE ? size - at : PIECE;
    const float *value = held + values + at;
    if (piece == PIECE)
      for (long t = 0; t < count; t++)
        for (long i = 0; i < PIECE; i++) sum[i] += scores[t] * value[t * stride + i];
    else
      for (long t = 0; t < count; t++)
        for (long i = 0; i < piece; i++) sum[i] += scores[t] * value[t * stride + i];
    for (long i = 0; i < piece; i++) out[at + i] = sum[i] / total;
  }
}

/* Asks for keys and values ahead of their use: in the order in which they lie. */
static void fetch(const float *held, long floats) {
  for (long i = 0; i < floats; i += 16) __builtin_prefetch(held + i, 0, 2);
}

/* Attention of a row's new tokens; attended is [n, heads * size]. */
static void attend_row(const Shape *s, const Row *row, long slot, const float *qkv,
                       const float *turns, float *attended, Room *room) {
  long n = row->end - row->start, heads = s->kv * s->group, stride = 2 * s->kv * s->size;
  float *keys = row->cache + slot * row->capacity * stride;
  turn_f32_f32(qkv + row->start * (heads + 2 * s->kv) * s->size, turns + row->start * s->size,
               room->queries, keys + row->held * stride, n, s->kv, s->group, s->size);
  long count = row->held + n, values = s->kv * s->size;
  fetch(keys, count * stride);
  for (long head = 0; head < heads; head++)
    for (long r = 0; r < n; r++) {
      const float *query = room->queries + (head * n + r) * s->size;
      const float *held = keys + head / s->group * s->size;
      const float *mask = row->mask ? row->mask + r * count : 0;
      float *out = attended + ((row->start + r) * heads + head) * s->size;
      if (s->size == 64)
        attend(query, held, mask, room->scores, out, count, stride, values, 64);
      else
        attend(query, held, mask, room->scores, out, count, stride, values, s->size);
    }
}

/* x [n, width] through the sub-layers that are switched on, in place; 0 = done, 1 = no memory. */
int level_step(const Shape *s, const Layer *layers, const Row *rows, long row_count,
               const uint8_t *attention, const uint8_t *mlp, const uint8_t *slots,
               const float *turns, float *x, long n) {
  long qkv = (s->kv * s->group + 2 * s->kv) * s->size, most = 0, longest = 0;
  long heads = s->kv * s->group * s->size;
  for (long r = 0; r < row_count; r++) {
    long count = rows[r].held + rows[r].end - rows[r].start;
    longest = count > longest ? count : longest;
  }
  most = s->width > s->inner ? s->width : s->inner;
  most = most > heads ? most : heads;
  long hidden = 2 * s->inner > qkv ? 2 * s->inner : qkv;
  long floats = n * (2 * s->width + hidden + 2 * most + heads) + longest + n * most;
  char *memory = malloc(4 * floats + 4096);
  if (!memory) return 1;
  char *at = memory + (64 - (uintptr_t)memory % 64);
  Room room = {.normed = cut(&at, n * s->width),
               .wide = cut(&at, n * hidden),
               .inner = cut(&at, n * most),
               .queries = cut(&at, n * heads),
               .scores = cut(&at, longest),
               .update = cut(&at, n * s->width)};
  room.rounded = (Rounded){.high = (int8_t *)cut(&at, n * most / 4),
                           .low = (int8_t *)cut(&at, n * most / 4),
                           .unit = cut(&at, n * most / GROUP),
                           .sum = cut(&at, n * most / GROUP)};
  const float *update = 0;
  long slot = 0;
  for (long i = 0; i < s->layers; i++) {
    const Layer *layer = layers + i;
    if (attention[i]) {
      add_norm_f32_f32(x, update, layer->attention_norm, x, room.normed, n, s->width, s->eps);
      project(room.normed, s->width, layer->qkv, room.wide, qkv, n, &room);
      for (long r = 0; r < row_count; r++)
        attend_row(s, rows + r, slot, room.wide, turns, room.inner, &room);
      project(room.inner, heads, layer->out, room.update, s->width, n, &room);
      update = room.update;
    }
    slot += slots[i];
    if (mlp[i]) {
      add_norm_f32_f32(x, update, layer->mlp_norm, x, room.normed, n, s->width, s->eps);
      project(room.normed, s->width, layer->gate_up, room.wide, 2 * s->inner, n, &room);
      gate_f32_f32(room.wide, room.inner, n, s->inner);
      project(room.inner, s->inner, layer->down, room.update, s->width, n, &room);
      update = room.update;
    }
  }
  for (long i = 0; update && i < n * s->width; i++) x[i] += update[i];
  free(memory);
  return 0;
}

/* out [n, width] = x [n, in] times the transposed matrix, n of any size; as above. */
int level_product(const Cell *matrix, const float *x, float *out, long n, long in, long width) {
  long groups = in / GROUP, most = n < MOST_ROWS ? n : MOST_ROWS;
  char *memory = malloc(most * (2 * in + 8 * groups) + 4 * 64);
  if (!memory) return 1;
  char *at = memory + (64 - (uintptr_t)memory % 64);
  Rounded rounded = {.high = (int8_t *)at,
                     .low = (int8_t *)at + most * in,
                     .unit = (float *)(at + 2 * most * in),
                     .sum = (float *)(at + 2 * most * in) + most * groups,
                     .groups = groups};
  for (long r = 0; r < n; r += most) {
    long now = n - r < most ? n - r : most;
    round_rows(x + r * in, &rounded, now);
    packed_product(matrix, &rounded, out + r * width, now, width);
  }
  free(memory);
  return 0;
}
