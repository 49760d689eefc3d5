/* The small operations between a layer's matrix products, fused: what torch does in some dozen
 * calls of a microsecond each is one call here. Compiled on the user's machine (`fused_build.py`);
 * without a compiler torch's own operations do the same.
 *
 * Arithmetic is float32; numbers are rounded to their format where they are stored, as torch does.
 * Every function is instantiated for the formats in which residual stream, products and cache are
 * held: S of the stream, norms and cache, P of what goes into and comes out of a product.
 */
#include <math.h>

#include "formats.h"

#define PAIR(S, P, NAME)                                                                          \
  /* total = stream + update (none when null), normed = total / rms(total) * weight; [n, width] */ \
  void add_norm_##NAME(const S *stream, const P *update, const S *weight, S *total, P *normed,     \
                       long n, long width, float eps) {                                            \
    for (long r = 0; r < n; r++) {                                                                 \
      const S *x = stream + r * width;                                                             \
      S *sum = total + r * width;                                                                  \
      P *out = normed + r * width;                                                                 \
      float squares = 0;                                                                           \
      for (long i = 0; i < width; i++) {                                                           \
        float v = load_##S(x[i]);                                                                  \
        if (update) v += load_##P(update[r * width + i]);                                          \
        sum[i] = store_##S(v);                                                                     \
        v = load_##S(sum[i]);                                                                      \
        squares += v * v;                                                                          \
      }                                                                                            \
      float scale = 1.0f / sqrtf(squares / (float)width + eps);                                    \
      for (long i = 0; i < width; i++)                                                             \
        out[i] = store_##P(load_##S(sum[i]) * scale * load_##S(weight[i]));                        \
    }                                                                                              \
  }                                                                                                \
  /* Rotates queries and keys of qkv [n, (heads + 2 kv) * size] by turns [n, size / 2] (cosine and \
   * sine), puts queries in the order [kv, group, n, size], keys and values behind each other into \
   * held [n, 2, kv, size]; of key-value heads `from` to `to` alone. */                            \
  void turn_##NAME(const P *qkv, const float *turns, S *queries, S *held, long n, long kv,         \
                   long group, long size, long from, long to) {                                    \
    long half = size / 2, heads = kv * group, row = (heads + 2 * kv) * size;                       \
    for (long r = 0; r < n; r++) {                                                                 \
      const float *turn = turns + r * size;                                                        \
      long own = (to - from) * group, all = own + to - from; /* queries, and keys behind them */   \
      for (long i = 0; i < all; i++) {                                                             \
        long head = i < own ? from * group + i : heads + from + i - own;                           \
        const P *in = qkv + r * row + head * size;                                                 \
        S *out = head < heads ? queries + (head * n + r) * size                                    \
                              : held + (r * 2 * kv + head - heads) * size;                         \
        for (long j = 0; j < half; j++) {                                                          \
          float a = load_##P(in[2 * j]), b = load_##P(in[2 * j + 1]);                              \
          float c = turn[2 * j], s = turn[2 * j + 1];                                              \
          out[2 * j] = store_##S(a * c - b * s);                                                   \
          out[2 * j + 1] = store_##S(a * s + b * c);                                               \
        }                                                                                          \
      }                                                                                            \
      const P *values = qkv + r * row + (heads + kv) * size;                                       \
      S *out = held + (r * 2 + 1) * kv * size;                                                     \
      for (long i = from * size; i < to * size; i++) out[i] = store_##S(load_##P(values[i]));      \
    }                                                                                              \
  }                                                                                                \
  /* Puts attended [heads, n, size] in the order [n, heads * size]. */                             \
  void gather_##NAME(const S *attended, P *out, long n, long heads, long size) {                   \
    for (long r = 0; r < n; r++)                                                                   \
      for (long head = 0; head < heads; head++) {                                                  \
        const S *in = attended + (head * n + r) * size;                                            \
        for (long i = 0; i < size; i++)                                                            \
          out[(r * heads + head) * size + i] = store_##P(load_##S(in[i]));                         \
      }                                                                                            \
  }                                                                                                \
  /* out [n, inner] = silu(gate) * up of hidden [n, 2 * inner], columns `from` to `to` of it;      \
   * rounds like torch in between. */                                                              \
  void gate_##NAME(const P *hidden, P *out, long n, long inner, long from, long to) {              \
    for (long r = 0; r < n; r++) {                                                                 \
      const P *gate = hidden + r * 2 * inner, *up = gate + inner;                                  \
      for (long i = from; i < to; i++) {                                                           \
        float v = load_##P(gate[i]);                                                               \
        float inverse = 1.0f + expf(fminf(-v, 88.0f)); /* relaxed arithmetic knows no infinity */  \
        float opened = load_##S(store_##S(v / inverse));                                           \
        out[r * inner + i] = store_##P(opened * load_##P(up[i]));                                  \
      }                                                                                            \
    }                                                                                              \
  }

PAIR(f32, f32, f32_f32)
PAIR(f32, bf16, f32_bf16)
PAIR(bf16, bf16, bf16_bf16)
