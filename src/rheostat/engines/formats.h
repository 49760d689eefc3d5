/* Number formats of streams, caches and products; arithmetic is float32. */
#ifndef FORMATS_H
#define FORMATS_H
#include <stdint.h>
#include <string.h>

typedef uint16_t bf16;
typedef float f32;

static inline float load_f32(f32 v) { return v; }
static inline f32 store_f32(float v) { return v; }

static inline float load_bf16(bf16 v) {
  uint32_t bits = (uint32_t)v << 16;
  float out;
  memcpy(&out, &bits, 4);
  return out;
}

/* Rounds to the nearest, ties to even; a NaN stays one. */
static inline bf16 store_bf16(float v) {
  uint32_t bits;
  memcpy(&bits, &v, 4);
  uint32_t rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
  uint32_t nan = (bits >> 16) | 0x40;
  return (bf16)((bits & 0x7FFFFFFF) > 0x7F800000 ? nan : rounded);
}

/* A format that is known when a function is compiled: those that take one are inlined. */
typedef enum { F32, BF16 } Format;

static inline long bytes_of(Format format) { return format == F32 ? 4 : 2; }

static inline float load(const char *from, long i, Format format) {
  return format == F32 ? load_f32(((const f32 *)from)[i]) : load_bf16(((const bf16 *)from)[i]);
}

static inline void store(char *to, long i, float v, Format format) {
  if (format == F32)
    ((f32 *)to)[i] = store_f32(v);
  else
    ((bf16 *)to)[i] = store_bf16(v);
}

#endif
