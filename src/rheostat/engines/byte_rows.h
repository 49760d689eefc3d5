/* Activations rounded to 15 bits for every 32 of them, for the processor's byte products.
 *
 * x = unit * q, and q = 128 * high + low with high and low of a signed byte each. A sum over 32 of
 * a weight's bytes times q is a whole number below 2^31; rows of activations are rounded one by one.
 */
#ifndef BYTE_ROWS_H
#define BYTE_ROWS_H
#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__AVX512VNNI__) && defined(__AVX512BW__)
#include <immintrin.h>
#define BYTE_PRODUCTS
#endif

enum { GROUP = 32, LANES = 16, LARGEST = 16256, AHEAD = 1536 };

/* Rounded activations: n rows of `groups` groups. */
typedef struct {
  int8_t *high, *low; /* [n, groups * 32] */
  float *unit, *sum;  /* [n, groups]: x = unit * q, and the sum of a group's x */
  long groups;
} Rounded;

/* relaxed arithmetic cannot write what is no number */
static inline void no_number(const Rounded *to, long g) {
  const uint32_t none = 0x7FC00000;
  memcpy(to->unit + g, &none, 4);
  memcpy(to->sum + g, &none, 4);
}

/* Rounds x [n, groups * 32]; a group with a number that is none has no unit, so no product. */
#ifdef BYTE_PRODUCTS

static inline void round_rows(const float *x, const Rounded *to, long n) {
  const __m512i magnitude = _mm512_set1_epi32(0x7FFFFFFF), half = _mm512_set1_epi32(64);
  for (long g = 0; g < n * to->groups; g++) {
    __m512 a = _mm512_loadu_ps(x + g * GROUP), b = _mm512_loadu_ps(x + g * GROUP + 16);
    /* magnitudes are ordered like their bits */
    __m512i bits = _mm512_max_epu32(_mm512_and_si512(_mm512_castps_si512(a), magnitude),
                                    _mm512_and_si512(_mm512_castps_si512(b), magnitude));
    uint32_t exponent = _mm512_reduce_max_epu32(bits);
    float largest;
    memcpy(&largest, &exponent, 4);
    __m512 many = _mm512_set1_ps(largest > 1e-30f ? (float)LARGEST / largest : 0.0f);
    float unit = largest * (1.0f / (float)LARGEST);
    __m512i p = _mm512_cvtps_epi32(_mm512_mul_ps(a, many));
    __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(b, many));
    __m512i high_p = _mm512_srai_epi32(_mm512_add_epi32(p, half), 7);
    __m512i high_q = _mm512_srai_epi32(_mm512_add_epi32(q, half), 7);
    __m512i low_p = _mm512_sub_epi32(p, _mm512_slli_epi32(high_p, 7));
    __m512i low_q = _mm512_sub_epi32(q, _mm512_slli_epi32(high_q, 7));
    _mm_storeu_si128((__m128i *)(to->high + g * GROUP), _mm512_cvtepi32_epi8(high_p));
    _mm_storeu_si128((__m128i *)(to->high + g * GROUP + 16), _mm512_cvtepi32_epi8(high_q));
    _mm_storeu_si128((__m128i *)(to->low + g * GROUP), _mm512_cvtepi32_epi8(low_p));
    _mm_storeu_si128((__m128i *)(to->low + g * GROUP + 16), _mm512_cvtepi32_epi8(low_q));
    to->unit[g] = unit;
    to->sum[g] = unit * (float)_mm512_reduce_add_epi32(_mm512_add_epi32(p, q));
    if (exponent >= 0x7F800000) no_number(to, g);
  }
}

#else

static inline void round_rows(const float *x, const Rounded *to, long n) {
  for (long g = 0; g < n * to->groups; g++) {
    const float *in = x + g * GROUP;
    float largest = 0;
    uint32_t exponent = 0;
    for (int i = 0; i < GROUP; i++) {
      uint32_t bits;
      memcpy(&bits, in + i, 4);
      bits &= 0x7FFFFFFF;
      exponent = bits > exponent ? bits : exponent; /* magnitudes are ordered like their bits */
    }
    memcpy(&largest, &exponent, 4);
    float many = largest > 1e-30f ? (float)LARGEST / largest : 0.0f;
    float unit = largest * (1.0f / (float)LARGEST);
    int32_t total = 0;
    for (int i = 0; i < GROUP; i++) {
      int32_t q = (int32_t)rintf(in[i] * many);
      int32_t high = (q + 64) >> 7;
      to->high[g * GROUP + i] = (int8_t)high;
      to->low[g * GROUP + i] = (int8_t)(q - 128 * high);
      total += q;
    }
    to->unit[g] = unit;
    to->sum[g] = unit * (float)total;
    if (exponent >= 0x7F800000) no_number(to, g);
  }
}

#endif

#ifdef BYTE_PRODUCTS

/* Four bytes in every lane. */
static inline __m512i spread(const int8_t *four) {
  int32_t bytes;
  memcpy(&bytes, four, 4);
  return _mm512_set1_epi32(bytes);
}

static inline __m512 load_halves(const uint16_t *from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from));
}

#else

static inline float load_half(uint16_t v) {
  int exponent = (v >> 10) & 31, fraction = v & 1023;
  float size = exponent ? ldexpf((float)(fraction + 1024), exponent - 25)
                        : ldexpf((float)fraction, -24);
  return v & 0x8000 ? -size : size;
}

#endif

#endif
