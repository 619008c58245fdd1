/* Numbers of a model, as vectors of floats: what each is read as and rounded to. */

#include <stdint.h>

#ifdef __AVX512F__
#define LANES 16
#define NUMBERED(f) f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7), f(8), f(9), f(10), f(11), f(12), f(13), f(14), f(15)
#else
#define LANES 8
#define NUMBERED(f) f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7)
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

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

INLINE vec load(const element *p) { /* by intrinsics, as gcc makes two halves of the plain conversion */
#ifdef __AVX512F__
    return (vec)((bits)_mm512_cvtepu16_epi32(*(const __m256i_u *)p) << 16);
#elif defined(__AVX2__)
    return (vec)((bits)_mm256_cvtepu16_epi32(*(const __m128i_u *)p) << 16);
#else
    return (vec)(__builtin_convertvector(*(const halves *)p, bits) << 16);
#endif
}

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

/* Neighbouring pairs, fours, ... of lanes of a and b, added: lanes that `step` parts, of a where a bit is clear. The
   initialisers are constants, as code that fills the lanes one by one is not for gcc. */
INLINE vec folded(vec a, vec b, const int step) {
#define LOW(i) ((i) & step ? LANES + (i) - step : (i))
#define HIGH(i) ((i) & step ? LANES + (i) : (i) + step)
    return __builtin_shuffle(a, b, (ints){NUMBERED(LOW)}) + __builtin_shuffle(a, b, (ints){NUMBERED(HIGH)});
}

INLINE void fold(vec *v, const int step) {
#pragma GCC unroll 8
    for (int i = 0; i < LANES; i += 2 * step) v[i] = folded(v[i], v[i + step], step);
}

/* The sum of each of LANES vectors, which are overwritten. */
INLINE vec sums(vec *v) {
    fold(v, 1), fold(v, 2), fold(v, 4);
    if (LANES == 16) fold(v, LANES / 2);
    return v[0];
}

INLINE vec turned(vec v, const int step) { /* lanes i + step, round and round */
#define TURNED(i) (((i) + step) % LANES)
    return __builtin_shuffle(v, (ints){NUMBERED(TURNED)});
}

INLINE float sum(vec v) {
    if (LANES == 16) v += turned(v, LANES / 2);
    v += turned(v, 4), v += turned(v, 2), v += turned(v, 1);
    return v[0];
}

INLINE vec larger(vec a, vec b) { return pick(a > b, a, b); }

INLINE float largest_of(vec v) {
    if (LANES == 16) v = larger(v, turned(v, LANES / 2));
    v = larger(v, turned(v, 4)), v = larger(v, turned(v, 2)), v = larger(v, turned(v, 1));
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
