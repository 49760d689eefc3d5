/* A token of every row of logits, with the law's entropy at temperature 1, in one reading or two.
 *
 * With u uniform the token is the first whose cumulated probability passes u. Mass is summed block
 * by block; only in the block that is hit is it cumulated token by token. A row is treated by one
 * thread: its token depends on its own logits and chance alone.
 */
#include <math.h>

#include "team.h"

enum { BLOCK = 256 };
static const float LEAST = -87.0f; /* less has no mass: relaxed arithmetic knows no infinity */
#define INLINE static inline __attribute__((always_inline))

typedef struct {
  const float *logits; /* [rows, vocabulary] */
  long rows, vocabulary;
  const float *heat; /* a row's temperature; 0 = its largest logit is taken */
  const double *chance;
  long *token;
  double *level; /* log of the summed exponentials: a token's nats are its logit less this */
  double *entropy;
} Draws;

/* What a block adds: exponentials, these times their logits, and mass at the row's temperature. */
typedef struct {
  float sum, weighed, mass;
} Block;

INLINE float exponential(float x) { return x < LEAST ? 0.0f : expf(x); }

INLINE Block block_of(const float *logits, long count, float most, float cold, int own) {
  Block b = {0, 0, 0};
  for (long i = 0; i < count; i++) {
    float x = fmaxf(logits[i] - most, 8 * LEAST), e = exponential(x);
    b.sum += e;
    b.weighed += e * x;
    if (own) b.mass += exponential(x * cold);
  }
  if (!own) b.mass = b.sum;
  return b;
}

static long hit(const float *logits, long count, float most, float cold, double wanted) {
  long last = 0;
  double passed = 0;
  for (long i = 0; i < count; i++) {
    float mass = exponential(fmaxf(logits[i] - most, 8 * LEAST) * cold);
    if (mass > 0) last = i;
    passed += mass;
    if (passed > wanted) return i;
  }
  return last; /* sums of a block differ by rounding: its own end is where its mass ends */
}

static void draw_one(const Draws *d, long r) {
  long count = d->vocabulary, blocks = (count + BLOCK - 1) / BLOCK, at = 0;
  const float *logits = d->logits + r * count;
  float most = logits[0], heat = d->heat[r], cold = heat > 0 ? 1 / heat : 1;
  double sum = 0, weighed = 0, mass = 0, ends[blocks];
  for (long i = 0; i < count; i++) most = logits[i] > most ? logits[i] : most;
  for (long b = 0; b < blocks; b++) {
    const float *own = logits + b * BLOCK;
    long many = count - b * BLOCK < BLOCK ? count - b * BLOCK : BLOCK;
    Block found = cold == 1 ? block_of(own, many, most, 1, 0) : block_of(own, many, most, cold, 1);
    sum += found.sum;
    weighed += found.weighed;
    ends[b] = mass += found.mass;
  }
  d->level[r] = most + log(sum);
  d->entropy[r] = log(sum) - weighed / sum;
  if (heat > 0) {
    double wanted = d->chance[r] * mass;
    while (at < blocks - 1 && ends[at] <= wanted) at++;
    long many = count - at * BLOCK < BLOCK ? count - at * BLOCK : BLOCK;
    at *= BLOCK;
    at += hit(logits + at, many, most, cold, wanted - (at ? ends[at / BLOCK - 1] : 0));
  } else {
    while (logits[at] < most) at++;
  }
  d->token[r] = at;
}

static void draws_part(void *shared, long rank, long size) {
  const Draws *d = shared;
  Share own = share_of(d->rows, rank, size);
  for (long r = own.from; r < own.to; r++) draw_one(d, r);
}

void draw_rows(const float *logits, long rows, long vocabulary, const float *heat,
               const double *chance, long *token, double *level, double *entropy, long threads) {
  Draws d = {.logits = logits, .rows = rows, .vocabulary = vocabulary, .heat = heat,
             .chance = chance, .token = token, .level = level, .entropy = entropy};
  team_run(draws_part, &d, threads);
}
