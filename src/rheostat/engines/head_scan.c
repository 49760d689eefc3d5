/* A scan of the output head in eight bits a weight, weight = scale * level for every 32 of a row.
 *
 * Packed head: for every 16 rows, for every group of 32 columns a `Cell`; byte 4 * lane + i of
 * quad j is level + 128 of (row lane, column 4 * j + i). Sums over a group are whole numbers.
 */
#include "byte_rows.h"
#include "team.h"

enum { QUADS = 8, SIDE = 4 };

typedef struct {
  uint16_t scale[LANES]; /* half precision */
  uint8_t quads[QUADS][4 * LANES];
} Cell;

/* Up to SIDE rows of activations from `first` on against 16 rows of the head. */
#ifdef BYTE_PRODUCTS

static inline __attribute__((always_inline)) void scan_block(const Cell *cells, const Rounded *x,
                                                             const int32_t *bias, float *near,
                                                             long first, long n, long vocabulary) {
  const __m512 step = _mm512_set1_ps(128.0f);
  __m512 total[SIDE];
  for (long r = 0; r < n; r++) total[r] = _mm512_setzero_ps();
  for (long g = 0; g < x->groups; g++) {
    const Cell *cell = cells + g;
    for (int line = 0; line < (int)sizeof(Cell); line += 64)
      _mm_prefetch((const char *)cell + AHEAD + line, _MM_HINT_T0);
    __m512i quads[QUADS];
    for (int j = 0; j < QUADS; j++) quads[j] = _mm512_loadu_si512(cell->quads[j]);
    __m512 scale = load_halves(cell->scale);
    for (long r = 0; r < n; r++) {
      long at = (first + r) * x->groups + g;
      __m512i above = _mm512_set1_epi32(bias[2 * at]);
      __m512i below = _mm512_set1_epi32(bias[2 * at + 1]);
      for (int j = 0; j < QUADS; j++) {
        above = _mm512_dpbusd_epi32(above, quads[j], spread(x->high + at * GROUP + 4 * j));
        below = _mm512_dpbusd_epi32(below, quads[j], spread(x->low + at * GROUP + 4 * j));
      }
      __m512 sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(above), step, _mm512_cvtepi32_ps(below));
      __m512 unit = _mm512_mul_ps(scale, _mm512_set1_ps(x->unit[at]));
      total[r] = _mm512_fmadd_ps(sum, unit, total[r]);
    }
  }
  for (long r = 0; r < n; r++) _mm512_storeu_ps(near + (first + r) * vocabulary, total[r]);
}

#else

static inline void scan_block(const Cell *cells, const Rounded *x, const int32_t *bias, float *near,
                              long first, long n, long vocabulary) {
  for (long r = first; r < first + n; r++)
    for (int lane = 0; lane < LANES; lane++) {
      float total = 0;
      for (long g = 0; g < x->groups; g++) {
        long at = r * x->groups + g;
        int32_t above = bias[2 * at], below = bias[2 * at + 1];
        for (int i = 0; i < GROUP; i++) {
          int32_t level = cells[g].quads[i / 4][4 * lane + i % 4];
          above += level * x->high[at * GROUP + i];
          below += level * x->low[at * GROUP + i];
        }
        float sum = (float)above * 128.0f + (float)below;
        total += sum * (load_half(cells[g].scale[lane]) * x->unit[at]);
      }
      near[r * vocabulary + lane] = total;
    }
}

#endif

/* The blocks `part` of 16 tokens each of near [n, vocabulary] = x, rounded, times the head. */
static void scan(const Cell *head, const Rounded *x, const int32_t *bias, float *near, long n,
                 long vocabulary, Share part) {
  head += part.from * x->groups;
  for (long at = part.from * LANES; at < part.to * LANES; at += LANES, head += x->groups)
    for (long r = 0; r < n; r += SIDE) {
      long now = n - r;
      if (now == 1)
        scan_block(head, x, bias, near + at, r, 1, vocabulary);
      else if (now == 2)
        scan_block(head, x, bias, near + at, r, 2, vocabulary);
      else if (now == 3)
        scan_block(head, x, bias, near + at, r, 3, vocabulary);
      else
        scan_block(head, x, bias, near + at, r, SIDE, vocabulary);
    }
}

/* How far a head's rows are from the true ones. */
typedef struct {
  const float *error, *norm; /* [vocabulary]: lengths of what is lost, and of the true row */
  float most_error, most_norm, sum; /* the largest of both; error of a float32 sum over a row */
} Bounds;

static const float MARGIN = 1.001f, ROUNDING = 0x1p-20f, TINY = 1e-6f;

/* Tokens whose logits can be the largest, ascending, into tokens [most]; returns how many, or 0
 * where there are more, or no numbers. `size` is the length of x, `lost` of what rounding took. */
static long candidates(const float *near, const Bounds *bounds, float size, float lost,
                       int64_t *tokens, long most, long vocabulary) {
  float top = near[0], least, best = -3e38f;
  for (long t = 0; t < vocabulary; t++) top = near[t] > top ? near[t] : top;
  size = MARGIN * (size + lost);
  lost = MARGIN * (lost + bounds->sum * size);
  float loose = MARGIN * (bounds->most_error * size + bounds->most_norm * lost) + TINY;
  loose += ROUNDING * (fabsf(top) + 2 * loose);
  least = top - 2 * loose;
  long found = 0, kept = 0;
  for (long start = 0; start < vocabulary; start += LANES) {
    int any = 0;
    for (int i = 0; i < LANES; i++) any |= near[start + i] >= least;
    for (long t = start; any && t < start + LANES; t++) {
      if (near[t] < least) continue;
      if (found == most) return 0;
      float off = bounds->error[t] * size + bounds->norm[t] * lost;
      off = MARGIN * (off + ROUNDING * fabsf(near[t])) + TINY;
      best = near[t] - off > best ? near[t] - off : best;
      tokens[found++] = t;
    }
  }
  for (long i = 0; i < found; i++) {
    long t = tokens[i];
    float off = bounds->error[t] * size + bounds->norm[t] * lost;
    off = MARGIN * (off + ROUNDING * fabsf(near[t])) + TINY;
    if (near[t] + off >= best) tokens[kept++] = t;
  }
  return kept;
}

/* A scan, and its memory. */
typedef struct {
  const Cell *head;
  const Bounds *bounds;
  const float *x;
  float *near;
  int32_t *bias;
  int64_t *tokens, *counts;
  long n, vocabulary, most;
  Rounded rounded;
} Scan;

/* The candidates of row r, and their count; none where x holds what is no number. */
static void judge(const Scan *scan, long r) {
  long groups = scan->rounded.groups;
  float squares = 0, units = 0;
  uint32_t exponent = 0;
  for (long i = 0; i < groups * GROUP; i++) {
    float v = scan->x[r * groups * GROUP + i];
    uint32_t bits;
    memcpy(&bits, &v, 4);
    exponent |= (bits & 0x7F800000) == 0x7F800000;
    squares += v * v;
  }
  for (long g = 0; g < groups; g++) {
    float unit = scan->rounded.unit[r * groups + g];
    units += unit * unit;
  }
  /* each of 32 numbers is off by half a unit, and by the rounding of x / unit */
  float size = sqrtf(squares), lost = 0.51f * sqrtf((float)GROUP * units);
  scan->counts[r] = 0;
  if (!exponent)
    scan->counts[r] = candidates(scan->near + r * scan->vocabulary, scan->bounds, size, lost,
                                 scan->tokens + r * scan->most, scan->most, scan->vocabulary);
}

/* Blocks of tokens are scanned by one member each, rows are judged by one member each. */
static void scan_part(void *shared, long rank, long size) {
  const Scan *s = shared;
  scan(s->head, &s->rounded, s->bias, s->near, s->n, s->vocabulary,
       share_of(s->vocabulary / LANES, rank, size));
  team_wait(size);
  Share rows = share_of(s->n, rank, size);
  for (long r = rows.from; r < rows.to; r++) judge(s, r);
}

/* For every row of x [n, groups * 32]: its candidates, tokens [n, most], and counts [n]. `near` is
 * memory of n * vocabulary, `bytes` of 64 and `numbers` of 4 for every group of x. */
void head_scan(const Cell *head, const Bounds *bounds, const float *x, float *near, int8_t *bytes,
               int32_t *numbers, int64_t *tokens, int64_t *counts, long n, long groups,
               long vocabulary, long most, long threads) {
  Scan work = {.head = head, .bounds = bounds, .x = x, .near = near, .bias = numbers,
               .tokens = tokens, .counts = counts, .n = n, .vocabulary = vocabulary, .most = most};
  work.rounded = (Rounded){.high = bytes,
                           .low = bytes + n * groups * GROUP,
                           .unit = (float *)(numbers + 2 * n * groups),
                           .sum = (float *)(numbers + 3 * n * groups),
                           .groups = groups};
  round_rows(x, &work.rounded, n);
  for (long g = 0; g < n * groups; g++) {
    int32_t above = 0, below = 0;
    for (int i = 0; i < GROUP; i++) {
      above += work.rounded.high[g * GROUP + i];
      below += work.rounded.low[g * GROUP + i];
    }
    work.bias[2 * g] = -128 * above;
    work.bias[2 * g + 1] = -128 * below;
  }
  team_run(scan_part, &work, threads);
}
