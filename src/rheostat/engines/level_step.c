/* All layers of a step over few tokens in one call: four-bit weights, float32 between products.
 *
 * Every token is treated by itself: what a step reads beside it changes the order of attention's
 * float32 sums and nothing else. Every number is made by one thread of the team in one way, so that
 * their count changes none; what all need and is soon made (norms, rounding), each makes for itself.
 */
#include <stdlib.h>

#include "attention.h"
#include "level_product.h"

void add_norm_f32_f32(const float *, const float *, const float *, float *, float *, long, long,
                      float);
void turn_f32_f32(const float *, const float *, float *, float *, long, long, long, long, long,
                  long);
void gate_f32_f32(const float *, float *, long, long, long, long);

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

/* A step: what it is of, and the memory that its members share. */
typedef struct {
  const Shape *shape;
  const Layer *layers;
  const Row *rows;
  long row_count, n, longest, most; /* most inputs of a product */
  const uint8_t *attention, *mlp, *slots;
  const float *turns;
  float *x, *wide, *inner, *queries, *update;
  char *own; /* memory of the members, one behind the other */
  long own_bytes;
} Step;

/* A member, and what it has for itself. */
typedef struct {
  long rank, size;
  float *x, *normed, *scores;
  Rounded rounded;
} Member;

static long padded(long floats) { return (4 * floats + 63) / 64 * 64; }

static float *cut(char **at, long floats) {
  float *piece = (float *)*at;
  *at += padded(floats);
  return piece;
}

static char *aligned(char *memory) { return memory + (64 - (uintptr_t)memory % 64); }

/* The member's share of out [n, width] from column `first` on, `count` columns; x is rounded. */
static void multiply(const Step *step, Member *m, const Cell *matrix, float *out, long width,
                     long first, long count) {
  Share part = share_of(count / LANES, m->rank, m->size);
  part.from += first / LANES;
  part.to += first / LANES;
  packed_product(matrix, &m->rounded, out, step->n, width, part);
}

static void round_for(const Step *step, Member *m, const float *x, long in) {
  m->rounded.groups = in / GROUP;
  round_rows(x, &m->rounded, step->n);
}

/* Attention of a row's new tokens, the member's share of heads; into inner [n, heads * size]. */
static void attend_row(const Step *step, const Member *m, const Row *row, long slot) {
  const Shape *s = step->shape;
  long n = row->end - row->start, heads = s->kv * s->group, size = s->size;
  const Stretch whole = {(char *)row->cache, row->capacity, row->held + n};
  const float *queries = step->queries + row->start * heads * size;
  Share part = share_of(heads, m->rank, m->size);
  if (part.from == part.to) return;
  long first = part.from / s->group, last = (part.to - 1) / s->group;
  const Held read = {&whole, 1, whole.count, slot, s->kv, first, size};
  fetch(&read, last + 1 - first, F32);
  for (long at = part.from * n, many; at < part.to * n; at += many) {
    long kv = at / n / s->group, end = (kv + 1) * s->group * n; /* where the next head's begin */
    end = end < part.to * n ? end : part.to * n;
    many = end - at < SIDE ? end - at : SIDE;
    const Held held = {&whole, 1, whole.count, slot, s->kv, kv, size};
    const float *mask[SIDE];
    char *out[SIDE];
    for (long q = 0; q < many; q++) {
      long head = (at + q) / n, r = (at + q) % n;
      mask[q] = row->mask ? row->mask + r * whole.count : 0;
      out[q] = (char *)(step->inner + ((row->start + r) * heads + head) * size);
    }
    attend(queries + at * size, &held, mask, m->scores, out, many, step->longest, F32, F32);
  }
}

/* The attention of a layer: x normed [n, width] to update [n, width]. */
static void attention(const Step *step, Member *m, const Layer *layer, long slot) {
  const Shape *s = step->shape;
  long heads = s->kv * s->group, qkv = (heads + 2 * s->kv) * s->size;
  long stride = 2 * s->kv * s->size;
  round_for(step, m, m->normed, s->width);
  multiply(step, m, layer->qkv, step->wide, qkv, 0, qkv);
  team_wait(m->size);
  Share part = share_of(s->kv, m->rank, m->size);
  for (const Row *row = step->rows; row < step->rows + step->row_count; row++) {
    float *keys = row->cache + slot * row->capacity * stride;
    turn_f32_f32(step->wide + row->start * qkv, step->turns + row->start * s->size,
                 step->queries + row->start * heads * s->size, keys + row->held * stride,
                 row->end - row->start, s->kv, s->group, s->size, part.from, part.to);
  }
  team_wait(m->size);
  for (const Row *row = step->rows; row < step->rows + step->row_count; row++)
    attend_row(step, m, row, slot);
  team_wait(m->size);
  round_for(step, m, step->inner, heads * s->size);
  multiply(step, m, layer->out, step->update, s->width, 0, s->width);
  team_wait(m->size);
}

/* The multi-layer perceptron of a layer: as above. */
static void perceptron(const Step *step, Member *m, const Layer *layer) {
  const Shape *s = step->shape;
  long inner = s->inner;
  round_for(step, m, m->normed, s->width);
  multiply(step, m, layer->gate_up, step->wide, 2 * inner, 0, inner);
  multiply(step, m, layer->gate_up, step->wide, 2 * inner, inner, inner);
  Share part = share_of(inner / LANES, m->rank, m->size);
  gate_f32_f32(step->wide, step->inner, step->n, inner, part.from * LANES, part.to * LANES);
  team_wait(m->size);
  round_for(step, m, step->inner, inner);
  multiply(step, m, layer->down, step->update, s->width, 0, s->width);
  team_wait(m->size);
}

static long own_bytes(const Step *step) {
  return padded(step->n * step->shape->width) * 2 + padded(SIDE * step->longest) +
         2 * padded(step->n * step->most / 4) + 2 * padded(step->n * step->most / GROUP);
}

/* The layers, as one member of a team. */
static void layers_part(void *shared, long rank, long size) {
  const Step *step = shared;
  const Shape *s = step->shape;
  long floats = step->n * s->width, slot = 0;
  char *at = step->own + rank * step->own_bytes;
  Member m = {.rank = rank, .size = size};
  m.x = cut(&at, floats);
  m.normed = cut(&at, floats);
  m.scores = cut(&at, SIDE * step->longest);
  m.rounded = (Rounded){.high = (int8_t *)cut(&at, step->n * step->most / 4),
                        .low = (int8_t *)cut(&at, step->n * step->most / 4),
                        .unit = cut(&at, step->n * step->most / GROUP),
                        .sum = cut(&at, step->n * step->most / GROUP)};
  memcpy(m.x, step->x, 4 * floats);
  const float *update = 0;
  for (long i = 0; i < s->layers; slot += step->slots[i++]) {
    const Layer *layer = step->layers + i;
    if (step->attention[i]) {
      add_norm_f32_f32(m.x, update, layer->attention_norm, m.x, m.normed, step->n, s->width,
                       s->eps);
      attention(step, &m, layer, slot);
      update = step->update;
    }
    if (step->mlp[i]) {
      add_norm_f32_f32(m.x, update, layer->mlp_norm, m.x, m.normed, step->n, s->width, s->eps);
      perceptron(step, &m, layer);
      update = step->update;
    }
  }
  if (rank) return;
  for (long i = 0; i < floats; i++) step->x[i] = m.x[i] + (update ? update[i] : 0);
}

/* x [n, width] through the sub-layers that are switched on, in place; 0 = done, 1 = no memory. */
int level_step(const Shape *s, const Layer *layers, const Row *rows, long row_count,
               const uint8_t *attention, const uint8_t *mlp, const uint8_t *slots,
               const float *turns, float *x, long n, long threads) {
  long heads = s->kv * s->group, qkv = (heads + 2 * s->kv) * s->size;
  long wide = 2 * s->inner > qkv ? 2 * s->inner : qkv;
  Step step = {.shape = s, .layers = layers, .rows = rows, .row_count = row_count, .n = n,
               .most = s->width > s->inner ? s->width : s->inner, .attention = attention,
               .mlp = mlp, .slots = slots, .turns = turns, .x = x};
  for (const Row *row = rows; row < rows + row_count; row++) {
    long count = row->held + row->end - row->start;
    step.longest = count > step.longest ? count : step.longest;
  }
  step.most = step.most > heads * s->size ? step.most : heads * s->size;
  step.own_bytes = own_bytes(&step);
  long bytes = padded(n * wide) + padded(n * step.most) + padded(n * heads * s->size) +
               padded(n * s->width) + threads * step.own_bytes;
  char *memory = malloc(bytes + 64);
  if (!memory) return 1;
  char *at = aligned(memory);
  step.wide = cut(&at, n * wide);
  step.inner = cut(&at, n * step.most);
  step.queries = cut(&at, n * heads * s->size);
  step.update = cut(&at, n * s->width);
  step.own = at;
  team_run(layers_part, &step, threads);
  free(memory);
  return 0;
}

/* A product, and the memory for as many rows as are multiplied at once. */
typedef struct {
  const Cell *matrix;
  const float *x;
  float *out;
  long n, width, most;
  Rounded rounded;
} Product;

/* Rows are rounded by one member each, columns are multiplied by one member each. */
static void product_part(void *shared, long rank, long size) {
  const Product *p = shared;
  long groups = p->rounded.groups, in = groups * GROUP;
  Share columns = share_of(p->width / LANES, rank, size);
  for (long r = 0; r < p->n; r += p->most) {
    long now = p->n - r < p->most ? p->n - r : p->most;
    Share rows = share_of(now, rank, size);
    Rounded own = {.high = p->rounded.high + rows.from * in,
                   .low = p->rounded.low + rows.from * in,
                   .unit = p->rounded.unit + rows.from * groups,
                   .sum = p->rounded.sum + rows.from * groups,
                   .groups = groups};
    round_rows(p->x + (r + rows.from) * in, &own, rows.to - rows.from);
    team_wait(size);
    packed_product(p->matrix, &p->rounded, p->out + r * p->width, now, p->width, columns);
    team_wait(size);
  }
}

/* out [n, width] = x [n, in] times the transposed matrix, n of any size; as above. */
int level_product(const Cell *matrix, const float *x, float *out, long n, long in, long width,
                  long threads) {
  long groups = in / GROUP, most = n < MOST_ROWS ? n : MOST_ROWS;
  char *memory = malloc(most * (2 * in + 8 * groups) + 64);
  if (!memory) return 1;
  char *at = aligned(memory);
  Product product = {.matrix = matrix, .x = x, .out = out, .n = n, .width = width, .most = most};
  product.rounded = (Rounded){.high = (int8_t *)at,
                              .low = (int8_t *)at + most * in,
                              .unit = (float *)(at + 2 * most * in),
                              .sum = (float *)(at + 2 * most * in) + most * groups,
                              .groups = groups};
  team_run(product_part, &product, threads);
  free(memory);
  return 0;
}
