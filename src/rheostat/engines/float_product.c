/* A product summed in float32, of weights of 32 or of 16 bits (bfloat16) in one layout for any rows.
 *
 * The matrix lies in panels of PANEL rows, its columns behind each other: PANEL floats for each, or
 * PANEL pairs of two neighbouring columns, the first in the low half. What is missing of the last
 * panel is zero. Every number is summed over the columns in their order, so a row's product is the
 * same number whatever its neighbours are. Where both sides have 16 bits, a processor may multiply
 * pairs; their products are exact either way.
 *
 * Memory gives a panel once: a part of it that stays in a cache is multiplied by TILE rows at a
 * time, while the part behind it is asked for.
 */
#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#include "formats.h"
#include "team.h"

#if defined(__clang__)
#pragma clang fp reassociate(off)
#elif defined(__GNUC__)
#pragma GCC optimize("no-associative-math")
#endif

/* as many sums as there are registers for */
#if defined(__AVX512F__)
enum { LANES = 16, TILE = 8 };
#elif defined(__AVX__)
enum { LANES = 8, TILE = 2 };
#else
enum { LANES = 4, TILE = 2 };
#endif
enum { PANEL = 48, VECTORS = PANEL / LANES, STEP = 4 * PANEL, LINE = 64 };
enum { CHUNK = 512, BLOCK = 128, AHEAD = 4096 };

#define INLINE static inline __attribute__((always_inline))
typedef float Vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint32_t Bits __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* Bits of a weight and of a number of x: 32 and 32, 16 and 32, 16 and 16. */
typedef enum { WHOLE, CAST, HALF } Kind;

/* A number of x, or two neighbouring ones of 16 bits. */
typedef uint32_t Word __attribute__((may_alias));

/* out [n, width] = x [n, in] times the transposed matrix. */
typedef struct {
  const char *matrix;
  const Word *x;
  char *out;
  long n, in, width;
  Kind kind;
  Format to; /* of out */
} Product;

/* Steps of a panel, those of its first columns or later ones, and what is asked for meanwhile. */
typedef struct {
  const char *at, *ahead;
  long steps, stride; /* of `ahead`, for each step */
  int first;
  Kind kind;
} Steps;

INLINE float as_float(Word bits) {
  float number;
  memcpy(&number, &bits, sizeof number);
  return number;
}

/* The products of a pair of columns, added to their sums. */
INLINE void add_pairs(Vector *total, const Bits *pairs, Word x) {
  for (int v = 0; v < VECTORS; v++) {
#if defined(__AVX512BF16__)
    total[v] = (Vector)_mm512_dpbf16_ps((__m512)total[v], (__m512bh)pairs[v],
                                        (__m512bh)_mm512_set1_epi32((int)x));
#else
    total[v] += (Vector)(pairs[v] << 16) * as_float(x << 16);
    total[v] += (Vector)(pairs[v] & 0xFFFF0000u) * as_float(x & 0xFFFF0000u);
#endif
  }
}

/* out [rows, PANEL] = or += x [rows, ...] times the steps; x has `in` words a row. */
INLINE void tile(Steps w, const Word *x, long in, float *out, long width, int rows) {
  Vector total[TILE][VECTORS];
  for (int r = 0; r < rows; r++)
    for (int v = 0; v < VECTORS; v++)
      total[r][v] = w.first ? (Vector){0} : *(const Vector *)(out + r * width + v * LANES);
  for (long k = 0; k < w.steps; k++, w.at += STEP, w.ahead += w.stride) {
    for (int line = 0; line < STEP; line += LINE) __builtin_prefetch(w.ahead + line, 0, 2);
    const Bits *pairs = (const Bits *)w.at;
    if (w.kind == HALF) {
      for (int r = 0; r < rows; r++) add_pairs(total[r], pairs, x[r * in + k]);
    } else if (w.kind == CAST) {
      Vector first[VECTORS], second[VECTORS];
      for (int v = 0; v < VECTORS; v++) first[v] = (Vector)(pairs[v] << 16);
      for (int v = 0; v < VECTORS; v++) second[v] = (Vector)(pairs[v] & 0xFFFF0000u);
      for (int r = 0; r < rows; r++) {
        for (int v = 0; v < VECTORS; v++) total[r][v] += first[v] * as_float(x[r * in + 2 * k]);
        for (int v = 0; v < VECTORS; v++)
          total[r][v] += second[v] * as_float(x[r * in + 2 * k + 1]);
      }
    } else {
      const Vector *weights = (const Vector *)w.at;
      for (int r = 0; r < rows; r++)
        for (int v = 0; v < VECTORS; v++) total[r][v] += weights[v] * as_float(x[r * in + k]);
    }
  }
  for (int r = 0; r < rows; r++)
    for (int v = 0; v < VECTORS; v++) *(Vector *)(out + r * width + v * LANES) = total[r][v];
}

/* The same for at most TILE rows. */
INLINE void few(Steps w, const Word *x, long in, float *out, long width, long rows) {
  switch (rows) {
#define ROWS(R)                         \
  case R:                               \
    tile(w, x, in, out, width, R);      \
    break;
    ROWS(1)
#if defined(__AVX512F__)
    ROWS(2)
    ROWS(3)
    ROWS(4)
    ROWS(5)
    ROWS(6)
    ROWS(7)
#endif
    ROWS(TILE)
  }
}

/* Rows by tiles; what lies behind the steps is asked for in equal parts by all of them. */
INLINE void tiles(Steps w, const Word *x, long n, long in, float *out, long width) {
  long count = (n + TILE - 1) / TILE;
  w.ahead = w.at + (count > 1 ? w.steps * STEP : AHEAD);
  w.stride = STEP / count;
  for (long r = 0; r < n; r += TILE, w.ahead += w.stride * w.steps)
    few(w, x + r * in, in, out + r * width, width, n - r < TILE ? n - r : TILE);
}

/* Rounds a panel's sums to 16 bits. */
INLINE void round_panel(const float *sums, bf16 *out) {
#if defined(__AVX512BF16__)
  for (int v = 0; v < VECTORS; v++)
    _mm256_storeu_si256((__m256i *)(out + v * LANES),
                        (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(sums + v * LANES)));
#else
  for (int i = 0; i < PANEL; i++) out[i] = store_bf16(sums[i]);
#endif
}

/* Sums [n, PANEL] into the columns of out that are there, rounded to its format. */
INLINE void keep(const float *sums, char *out, long n, long width, long there, Format to) {
  for (long r = 0; r < n; r++, sums += PANEL) {
    bf16 rounded[PANEL];
    if (to == BF16) round_panel(sums, rounded);
    memcpy(out + r * width * bytes_of(to), to == BF16 ? (const void *)rounded : (const void *)sums,
           there * bytes_of(to));
  }
}

/* BLOCK rows at most, by the panels of one member of the team. */
INLINE void block(const Product *p, Share panels, long from, long n, Kind kind) {
  float aside[BLOCK * PANEL] __attribute__((aligned(64)));
  long steps = kind == WHOLE ? p->in : p->in / 2, each = kind == CAST ? 2 : 1, in = steps * each;
  long chunks = n > TILE ? (steps + CHUNK - 1) / CHUNK : 1;
  const Word *x = p->x + from * in;
  for (long at = panels.from; at < panels.to; at++) {
    const char *panel = p->matrix + at * steps * STEP;
    char *out = p->out + (from * p->width + at * PANEL) * bytes_of(p->to);
    long there = p->width - at * PANEL < PANEL ? p->width - at * PANEL : PANEL;
    int direct = there == PANEL && p->to == F32;
    float *sums = direct ? (float *)out : aside;
    for (long c = 0; c < chunks; c++) {
      Share own = share_of(steps, c, chunks);
      Steps w = {.at = panel + own.from * STEP, .steps = own.to - own.from, .first = !c,
                 .kind = kind};
      tiles(w, x + own.from * each, n, in, sums, direct ? p->width : PANEL);
    }
    if (direct) continue;
    if (p->to == F32)
      keep(sums, out, n, p->width, there, F32);
    else
      keep(sums, out, n, p->width, there, BF16);
  }
}

static void product_part(void *shared, long rank, long size) {
  const Product *p = shared;
  Share panels = share_of((p->width + PANEL - 1) / PANEL, rank, size);
  for (long r = 0; r < p->n; r += BLOCK) {
    long now = p->n - r < BLOCK ? p->n - r : BLOCK;
    switch (p->kind) {
#define OF(KIND)                     \
  case KIND:                         \
    block(p, panels, r, now, KIND);  \
    break;
      OF(WHOLE)
      OF(CAST)
      OF(HALF)
    }
  }
}

/* n of any size; `in` is even where the weights have 16 bits. */
void float_product(const void *matrix, const void *x, void *out, long n, long in, long width,
                   long kind, long to, long threads) {
  Product p = {.matrix = matrix, .x = x, .out = out, .n = n, .in = in, .width = width,
               .kind = (Kind)kind, .to = (Format)to};
  team_run(product_part, &p, threads);
}
