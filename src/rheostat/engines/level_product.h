/* A product with four-bit weights whose sums are whole numbers.
 *
 * weight = scale * level + low with levels 0..15 for every 32 weights of a row. The sum of
 * level * q over a group is below 2^23, and so exact as an integer and as a float: a row's product
 * is the same number whatever its neighbours are.
 *
 * Packed weights: for every 16 rows, for every group of 32 columns a `Cell`. Byte 4 * lane + i of
 * quad j holds the level of (row lane, column 4 * j + i) in its low half, and that of column
 * 4 * j + i + 16 in its high half.
 */
#ifndef LEVEL_PRODUCT_H
#define LEVEL_PRODUCT_H
#include "byte_rows.h"
#include "team.h"

enum { QUADS = 4, MOST_ROWS = 64 };

typedef struct {
  uint16_t scale[LANES], low[LANES]; /* half precision, as in the file */
  uint8_t quads[QUADS][4 * LANES];
} Cell;

#ifdef BYTE_PRODUCTS

/* Sixteen rows of the matrix: out [n, width], from this block's first column on. */
static inline __attribute__((always_inline)) void block_product(const Cell *cells, const Rounded *x,
                                                                float *out, long n, long width) {
  const __m512i half = _mm512_set1_epi8(15);
  __m512 total[MOST_ROWS];
  for (long r = 0; r < n; r++) total[r] = _mm512_setzero_ps();
  for (long g = 0; g < x->groups; g++) {
    const Cell *cell = cells + g;
    for (int line = 0; line < (int)sizeof(Cell); line += 64)
      _mm_prefetch((const char *)cell + AHEAD + line, _MM_HINT_T0);
    __m512 scale = load_halves(cell->scale);
    __m512 low = load_halves(cell->low);
    __m512i first[QUADS], second[QUADS];
    for (int j = 0; j < QUADS; j++) {
      __m512i both = _mm512_loadu_si512(cell->quads[j]);
      first[j] = _mm512_and_si512(both, half);
      second[j] = _mm512_and_si512(_mm512_srli_epi16(both, 4), half);
    }
    for (long r = 0; r < n; r++) {
      long at = r * x->groups + g;
      const int8_t *h = x->high + at * GROUP, *l = x->low + at * GROUP;
      __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
      for (int j = 0; j < QUADS; j++) {
        a = _mm512_dpbusd_epi32(a, first[j], spread(h + 4 * j));
        b = _mm512_dpbusd_epi32(b, second[j], spread(h + 16 + 4 * j));
        c = _mm512_dpbusd_epi32(c, first[j], spread(l + 4 * j));
        d = _mm512_dpbusd_epi32(d, second[j], spread(l + 16 + 4 * j));
      }
      __m512i whole = _mm512_slli_epi32(_mm512_add_epi32(a, b), 7);
      whole = _mm512_add_epi32(whole, _mm512_add_epi32(c, d));
      __m512 step = _mm512_mul_ps(scale, _mm512_set1_ps(x->unit[at]));
      total[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole), step, total[r]);
      total[r] = _mm512_fmadd_ps(low, _mm512_set1_ps(x->sum[at]), total[r]);
    }
  }
  for (long r = 0; r < n; r++) _mm512_storeu_ps(out + r * width, total[r]);
}

#else

static inline void block_product(const Cell *cells, const Rounded *x, float *out, long n,
                                 long width) {
  for (long r = 0; r < n; r++) {
    float total[LANES] = {0};
    for (long g = 0; g < x->groups; g++) {
      const Cell *cell = cells + g;
      long at = r * x->groups + g;
      for (int lane = 0; lane < LANES; lane++) {
        int32_t whole = 0;
        for (int i = 0; i < GROUP / 2; i++) {
          uint8_t both = cell->quads[i / 4][4 * lane + i % 4];
          const int8_t *h = x->high + at * GROUP + i, *l = x->low + at * GROUP + i;
          whole += (both & 15) * (128 * h[0] + l[0]) + (both >> 4) * (128 * h[16] + l[16]);
        }
        total[lane] += (float)whole * (load_half(cell->scale[lane]) * x->unit[at]);
        total[lane] += load_half(cell->low[lane]) * x->sum[at];
      }
    }
    memcpy(out + r * width, total, sizeof total);
  }
}

#endif

/* The blocks `part` of 16 columns each of out [n, width] = x times the transposed matrix; n is at
 * most MOST_ROWS. */
static inline void packed_product(const Cell *matrix, const Rounded *x, float *out, long n,
                                  long width, Share part) {
  matrix += part.from * x->groups;
  for (long at = part.from * LANES; at < part.to * LANES; at += LANES, matrix += x->groups) {
    if (n == 1)
      block_product(matrix, x, out + at, 1, width);
    else
      block_product(matrix, x, out + at, n, width);
  }
}

#endif
