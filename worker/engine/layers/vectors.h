/* Numbers of a model, as vectors of floats: what each is read as and rounded to. */

#include <stdint.h>

#ifdef __AVX512F__
#define LANES 16
#else
#define LANES 8
#endif
#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ints __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint32_t bits __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

#ifdef BFLOAT16
typedef uint16_t element;
typedef uint16_t halves __attribute__((vector_size(2 * LANES), aligned(2), may_alias));

INLINE float number(element x) {
    union {
        uint32_t bits;
        float value;
    } both = {(uint32_t)x << 16};
    return both.value;
}

INLINE vec load(const element *p) { return (vec)(__builtin_convertvector(*(const halves *)p, bits) << 16); }

#define DEPTH 2 /* elements that share a lane of a panel: each is a float after one operation, where `load` needs two */
INLINE vec of_panel(const element *p, int i) {
    bits both = *(const bits *)p;
    if (i) return (vec)(both & 0xFFFF0000);
    return (vec)(both << 16);
}

INLINE void store(element *p, vec v) { /* to the nearest, of two the even one; not a number stays none */
    bits b = (bits)v, rounded = (b + 0x7FFF + ((b >> 16) & 1)) >> 16;
    bits broken = (bits)(v != v);
    *(halves *)p = __builtin_convertvector((rounded & ~broken) | (broken & 0x7FC0), halves);
}
#else
typedef float element;

INLINE float number(element x) { return x; }

INLINE vec load(const element *p) { return *(const vec *)p; }

#define DEPTH 1
INLINE vec of_panel(const element *p, int i) { return load(p + i); }

INLINE void store(element *p, vec v) { *(vec *)p = v; }
#endif

INLINE vec all(float x) { return x - (vec){0}; }

INLINE vec pick(ints mask, vec a, vec b) { return (vec)((mask & (ints)a) | (~mask & (ints)b)); }

INLINE float sum(vec v) {
    float total = 0;
    for (int i = 0; i < LANES; i++) total += v[i];
    return total;
}

/* Neighbouring pairs, fours, ... of lanes of a and b, added: lanes that `step` parts, of a where a bit is clear. */
INLINE vec folded(vec a, vec b, const int step) {
    ints low, high;
    for (int i = 0; i < LANES; i++) {
        low[i] = i & step ? LANES + i - step : i;
        high[i] = i & step ? LANES + i : i + step;
    }
    return __builtin_shuffle(a, b, low) + __builtin_shuffle(a, b, high);
}

/* The sum of each of LANES vectors, which are overwritten. */
INLINE vec sums(vec *v) {
#pragma GCC unroll 4
    for (int step = 1; step < LANES; step *= 2)
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i += 2 * step) v[i] = folded(v[i], v[i + step], step);
    return v[0];
}

INLINE vec exponential(vec x) { /* Cephes' expf: within two units of the last place */
    x = pick(x > 88.3762626647949f, all(88.3762626647949f), x);
    x = pick(x < -87.3365447504019f, all(-87.3365447504019f), x);
    ints n = __builtin_convertvector(x * 1.44269504088896341f + pick(x < 0, all(-0.5f), all(0.5f)), ints);
    vec whole = __builtin_convertvector(n, vec);
    x = x - whole * 0.693359375f + whole * 2.12194440e-4f;
    vec y = x * 1.9875691500e-4f + 1.3981999507e-3f;
    y = y * x + 8.3334519073e-3f;
    y = y * x + 4.1665795894e-2f;
    y = y * x + 1.6666665459e-1f;
    y = y * x + 5.0000001201e-1f;
    return (y * x * x + x + 1) * (vec)((n + 127) << 23);
}

INLINE void put(element *y, vec v, long columns) {
    if (columns >= LANES) {
        store(y, v);
        return;
    }
    element rest[LANES];
    store(rest, v);
    for (long i = 0; i < columns; i++) y[i] = rest[i];
}
