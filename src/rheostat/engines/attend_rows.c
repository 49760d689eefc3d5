/* Attention of many rows that bring one token each: rotated, written to its cache, attended.
 *
 * A row's result is made by one thread in one way, from its own tokens alone: neither its
 * neighbours, nor the parts in which its cache lies, nor the number of threads change a bit of it.
 */
#include <stdatomic.h>
#include <stdlib.h>

#include "attention.h"
#include "team.h"

void turn_f32_f32(const f32 *, const float *, f32 *, f32 *, long, long, long, long, long, long);
void turn_f32_bf16(const bf16 *, const float *, f32 *, f32 *, long, long, long, long, long, long);
void turn_bf16_bf16(const bf16 *, const float *, bf16 *, bf16 *, long, long, long, long, long,
                    long);

typedef struct {
  long kv, group, size;
} Shape;

/* A row's stretches, of which the last is its own: the new token goes behind what it counts. */
typedef struct {
  long first, many, place; /* place of the new token in the pass */
} Row;

typedef struct {
  const Shape *shape;
  const Stretch *stretches;
  const Row *rows;
  long row_count, slot, most_stretches, room;
  const char *qkv;    /* [n, (heads + 2 kv) * size] */
  const float *turns; /* [n, size] */
  char *out;          /* [n, heads * size] */
  Format product;     /* of qkv and out */
  char *own;          /* memory of the members, one behind the other */
  long own_bytes;
  atomic_long next;
} Job;

/* Memory of a member: scores [SIDE, room], queries [heads, size] in both formats, stretches. */
static long member_bytes(const Job *job) {
  long numbers = job->shape->kv * job->shape->group * job->shape->size;
  long bytes = 4 * SIDE * job->room + 8 * numbers + (long)sizeof(Stretch) * job->most_stretches;
  return (bytes + 63) / 64 * 64;
}

/* Rotates some heads' queries and keys, and writes keys and values to the end of a stretch. */
INLINE void turn_one(const Job *job, const Row *row, long from, long to, const Stretch *own,
                     char *queries, Format stream) {
  const Shape *s = job->shape;
  long stride = 2 * s->kv * s->size, inputs = (s->kv * s->group + 2 * s->kv) * s->size;
  const char *qkv = job->qkv + row->place * inputs * bytes_of(job->product);
  const float *turns = job->turns + row->place * s->size;
  char *room = own->buffer + (job->slot * own->capacity + own->count) * stride * bytes_of(stream);
  if (stream == BF16)
    turn_bf16_bf16((const bf16 *)qkv, turns, (bf16 *)queries, (bf16 *)room, 1, s->kv, s->group,
                   s->size, from, to);
  else if (job->product == BF16)
    turn_f32_bf16((const bf16 *)qkv, turns, (f32 *)queries, (f32 *)room, 1, s->kv, s->group,
                  s->size, from, to);
  else
    turn_f32_f32((const f32 *)qkv, turns, (f32 *)queries, (f32 *)room, 1, s->kv, s->group, s->size,
                 from, to);
}

/* Attends in one key-value head: asked [group, size], out [group, size]. */
INLINE void attend_head(const Job *job, const Held *held, const float *asked, float *scores,
                        char *out, Format stream) {
  long size = held->size, group = job->shape->group;
  for (long at = 0, many; at < group; at += many) {
    char *to[SIDE];
    many = group - at < SIDE ? group - at : SIDE;
    for (long q = 0; q < many; q++) to[q] = out + (at + q) * size * bytes_of(job->product);
    attend(asked + at * size, held, 0, scores, to, many, job->room, stream, job->product);
  }
}

/* The key-value heads from `from` to `to` of one row. */
INLINE void attend_one(const Job *job, const Row *row, long from, long to, char *memory,
                       Format stream) {
  const Shape *s = job->shape;
  long size = s->size, wide = s->group * size, heads = s->kv * s->group;
  float *scores = (float *)memory, *asked = scores + SIDE * job->room;
  char *turned = (char *)(asked + heads * size);
  Stretch *stretches = (Stretch *)(turned + 4 * heads * size);
  memcpy(stretches, job->stretches + row->first, row->many * sizeof(Stretch));
  Stretch *own = stretches + row->many - 1;
  Held held = {stretches, row->many, 0, job->slot, s->kv, from, size};
  for (long i = 0; i < row->many; i++) held.count += stretches[i].count;
  fetch(&held, to - from, stream);
  turn_one(job, row, from, to, own, turned, stream);
  own->count++;
  held.count++;
  for (long i = from * wide; i < to * wide; i++) asked[i] = load(turned, i, stream);
  char *out = job->out + row->place * heads * size * bytes_of(job->product);
  for (; held.head < to; held.head++)
    attend_head(job, &held, asked + held.head * wide, scores,
                out + held.head * wide * bytes_of(job->product), stream);
}

/* Rows, or single heads where rows are few, each by the member that has time for it. */
INLINE void rows_part(Job *job, long rank, long size, Format stream) {
  char *memory = job->own + rank * job->own_bytes;
  long heads = job->shape->kv, together = job->row_count >= 2 * size ? heads : 1;
  long cuts = heads / together, at;
  while ((at = atomic_fetch_add(&job->next, 1)) < job->row_count * cuts) {
    long from = at % cuts * together;
    attend_one(job, job->rows + at / cuts, from, from + together, memory, stream);
  }
}

static void part_f32(void *job, long rank, long size) { rows_part(job, rank, size, F32); }

static void part_bf16(void *job, long rank, long size) { rows_part(job, rank, size, BF16); }

/* Rows with one new token each, in one slot of their caches, of a pass over n tokens; 0 = done,
 * 1 = no memory. */
static int attend_rows(void (*part)(void *, long, long), Job job, long threads) {
  for (long i = 0; i < job.row_count; i++) {
    const Row *row = job.rows + i;
    long count = 1;
    for (long j = 0; j < row->many; j++) count += job.stretches[row->first + j].count;
    job.room = count > job.room ? count : job.room;
    job.most_stretches = row->many > job.most_stretches ? row->many : job.most_stretches;
  }
  job.room = (job.room + 15) / 16 * 16; /* where scores begin must not change how they are summed */
  job.own_bytes = member_bytes(&job);
  char *memory = malloc(threads * job.own_bytes + 64);
  if (!memory) return 1;
  job.own = memory + (64 - (uintptr_t)memory % 64);
  atomic_init(&job.next, 0);
  team_run(part, &job, threads);
  free(memory);
  return 0;
}

#define ENTRY(NAME, STREAM, PRODUCT)                                                           \
  int attend_rows_##NAME(const Shape *shape, const Stretch *stretches, const Row *rows,        \
                         long count, long slot, const char *qkv, const float *turns,           \
                         char *out, long threads) {                                            \
    Job job = {.shape = shape, .stretches = stretches, .rows = rows, .row_count = count,       \
               .slot = slot, .qkv = qkv, .turns = turns, .out = out, .product = PRODUCT};      \
    return attend_rows(STREAM == F32 ? part_f32 : part_bf16, job, threads);                    \
  }

ENTRY(f32_f32, F32, F32)
ENTRY(f32_bf16, F32, BF16)
ENTRY(bf16_bf16, BF16, BF16)
