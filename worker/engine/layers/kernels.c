/* The small and the few-row operations of a forward on a processor, each as one pass over memory.

   Compiled at load for this processor, once for float and once, with -DBFLOAT16, for bfloat16 (native.py). Sums are
   made in float in one order per row: a row gets the same bits whatever rows are beside it. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "vectors.h"
#include "work.h"

#ifdef __AVX512F__
#define TILE_ROWS 12
#else
#define TILE_ROWS 6
#endif
#define PANEL (2 * LANES)
#define CHUNK 64 /* columns of the cache between two looks at the largest score */
#define PARALLEL _Pragma("omp parallel for schedule(static)")

long panel(void) { return PANEL; }

long lanes(void) { return LANES; }

long depth(void) { return DEPTH; }

/* rows x [rows, k] times one panel [k / DEPTH, PANEL, DEPTH], a constant number of rows: the sums stay in registers.
   What lies `ahead` is fetched meanwhile, `pace` elements at a time. */
INLINE void tile(const int rows, const float *x, const element *panel, const element *ahead, long pace,
                 const float *bias, element *y, long k, long stride, long columns) {
    vec left[TILE_ROWS], right[TILE_ROWS];
    for (int r = 0; r < rows; r++) left[r] = right[r] = all(0);
    for (long i = 0; i < k; i += DEPTH) {
        __builtin_prefetch(ahead + pace * i, 0, 2);
#pragma GCC unroll 2
        for (int j = 0; j < DEPTH; j++) {
            vec u = of_panel(panel + PANEL * i, j), v = of_panel(panel + PANEL * i + DEPTH * LANES, j);
#pragma GCC unroll 12
            for (int r = 0; r < rows; r++) {
                left[r] += x[r * k + i + j] * u;
                right[r] += x[r * k + i + j] * v;
            }
        }
    }
    for (int r = 0; r < rows; r++) {
        if (bias) left[r] += *(const vec *)bias, right[r] += *(const vec *)(bias + LANES);
        put(y + r * stride, left[r], columns);
        if (columns > LANES) put(y + r * stride + LANES, right[r], columns - LANES);
    }
}

#define CASE(R)                                                          \
    case R:                                                              \
        tile(R, x, panel, ahead, pace, bias, y, k, stride, columns);     \
        break;

static void rows_of_panel(long rows, const float *x, const element *panel, const element *ahead, long pace,
                          const float *bias, element *y, long k, long stride, long columns) {
    switch (rows) {
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
#if TILE_ROWS == 12
        CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)
#endif
    }
}

/* y [m, n] = x [m, k] W^T + b, rows of y `stride` apart: W as panels [n / PANEL, k / DEPTH, PANEL, DEPTH], b
   [panels * PANEL] or null; `wide` [m, k] is scratch, which float does without. The tiles of a panel fetch the next one,
   a part each. */
static void multiply(struct worker *worker, const element *x, const element *w, const float *bias, element *y,
                     float *wide, long m, long k, long n, long stride) {
#ifdef BFLOAT16
    EACH(r, m)
    for (long i = 0; i < k; i++) wide[r * k + i] = number(x[r * k + i]);
#else
    wide = (float *)x;
#endif
    long panels = (n + PANEL - 1) / PANEL, tiles = (m + TILE_ROWS - 1) / TILE_ROWS;
    long pace = tiles < 1 || tiles > PANEL ? 1 : PANEL / tiles;
    EACH(p, panels) {
        const element *at = w + p * k * PANEL;
        for (long t = 0; t < tiles; t++) { /* tiles of like heights */
            long first = t * m / tiles, rows = (t + 1) * m / tiles - first, coming = p + worker->stride;
            const element *ahead = coming < 0 || coming >= panels ? at : w + coming * k * PANEL + t * pace * k;
            rows_of_panel(rows, wide + first * k, at, ahead, pace, bias ? bias + p * PANEL : 0,
                          y + first * stride + p * PANEL, k, stride, n - p * PANEL);
        }
    }
}

void product(const element *x, const element *w, const float *bias, element *y, float *wide, long m, long k, long n) {
    struct phase phases[2] = {0};
#pragma omp parallel
    {
        struct worker self = joined(phases), *worker = &self;
        multiply(worker, x, w, bias, y, wide, m, k, n, n);
    }
}

/* Where in a row an adapted layer's output and its A x lie, and the second halves of its adapters. */
struct update {
    int64_t out, width, low, ranks;
    const element *up;    /* [ranks, width] */
    const int64_t *owner; /* [ranks] */
};

/* `width` vectors of an output: out += sum of factor up, whose sums do not wait for one another. */
INLINE void raised(const int width, element *out, const float *factor, const element **up, long count, long at) {
    vec v[4];
    for (int i = 0; i < width; i++) v[i] = load(out + at + i * LANES);
    for (long j = 0; j < count; j++)
#pragma GCC unroll 4
        for (int i = 0; i < width; i++) v[i] += factor[j] * load(up[j] + at + i * LANES);
    for (int i = 0; i < width; i++) store(out + at + i * LANES, v[i]);
}

/* Adds low up to the output of each updated layer, in a row y, for the ranks whose owner does not exclude the token:
   off [adapters], or null where all apply. Widths are multiples of LANES. */
static void adapt_row(element *y, const struct update *updates, long num_updates, const uint8_t *off) {
    for (const struct update *one = updates; one < updates + num_updates; one++) {
        float factor[one->ranks];
        const element *up[one->ranks];
        long count = 0;
        for (long j = 0; j < one->ranks; j++)
            if (!off || !off[one->owner[j]]) {
                factor[count] = number(y[one->low + j]);
                up[count++] = one->up + j * one->width;
            }
        long c = 0, width = count ? one->width : 0;
        for (; c + 4 * LANES <= width; c += 4 * LANES) raised(4, y + one->out, factor, up, count, c);
        for (; c < width; c += LANES) raised(1, y + one->out, factor, up, count, c);
    }
}

/* The same of rows y [m, stride] with excluded [m, adapters]. */
void adapt(element *y, const struct update *updates, const uint8_t *excluded, long num_updates, long m, long stride,
           long adapters) {
    PARALLEL
    for (long r = 0; r < m; r++) adapt_row(y + r * stride, updates, num_updates, excluded ? excluded + r * adapters : 0);
}

/* A layer's cache [rows, key heads, capacity, size], rows `row_stride` and heads `head_stride` apart. */
struct cache {
    element *keys, *values;
    int64_t row_stride, head_stride;
};

/* Key and value [key heads, size] of a token to its place. */
static void keep_one(const struct cache *cache, const element *key, const element *value, long row, long column,
                     long heads, long size) {
    for (long h = 0; h < heads; h++) {
        long to = row * cache->row_stride + h * cache->head_stride + column * size;
        memcpy(cache->keys + to, key + h * size, size * sizeof(element));
        memcpy(cache->values + to, value + h * size, size * sizeof(element));
    }
}

/* Keys and values of tokens [m, key heads, size], tokens `stride` apart, to (row, column). */
void keep(const element *key, const element *value, element *keys, element *values, const int64_t *rows,
          const int64_t *columns, long m, long heads, long size, long stride, long row_stride, long head_stride) {
    struct cache cache = {keys, values, row_stride, head_stride};
    for (long t = 0; t < m; t++)
        keep_one(&cache, key + t * stride, value + t * stride, rows[t], columns[t], heads, size);
}

/* y [d] = gain x / sqrt(mean(x^2) + epsilon); d is a multiple of LANES. */
static void normalise_row(const element *x, const element *gain, element *y, long d, double epsilon) {
    vec squares = all(0);
    for (long i = 0; i < d; i += LANES) {
        vec v = load(x + i);
        squares += v * v;
    }
    float scale = 1 / sqrtf(sum(squares) / d + (float)epsilon);
    for (long i = 0; i < d; i += LANES) store(y + i, load(x + i) * scale * load(gain + i));
}

void normalise(const element *x, const element *gain, element *y, long m, long d, double epsilon) {
    PARALLEL
    for (long r = 0; r < m; r++) normalise_row(x + r * d, gain, y + r * d, d, epsilon);
}

/* y [n] = silu(gate) up, of a row [gate, up, ...]; n is a multiple of LANES. */
static void gate_row(const element *x, element *y, long n) {
    for (long i = 0; i < n; i += LANES) {
        vec gate = load(x + i), up = load(x + n + i);
        store(y + i, gate / (1 + exponential(-gate)) * up);
    }
}

/* The same of rows x `stride` apart. */
void gated(const element *x, element *y, long m, long n, long stride) {
    PARALLEL
    for (long r = 0; r < m; r++) gate_row(x + r * stride, y + r * n, n);
}

/* Rotary positions, in place: the first `heads` heads [size] of a row by cos and sin [size], whose halves are equal;
   size / 2 is a multiple of LANES. */
static void rotate_row(element *x, const element *cosine, const element *sine, long heads, long size) {
    for (long h = 0; h < heads; h++)
        for (long i = 0; i < size / 2; i += LANES) {
            element *first = x + h * size + i, *second = first + size / 2;
            vec a = load(first), b = load(second), c = load(cosine + i), s = load(sine + i);
            store(first, a * c - b * s);
            store(second, b * c + a * s);
        }
}

/* The same of rows x `stride` apart. */
void rotate(element *x, const element *cosine, const element *sine, long m, long heads, long size, long stride) {
    PARALLEL
    for (long r = 0; r < m; r++) rotate_row(x + r * stride, cosine + r * size, sine + r * size, heads, size);
}

/* `width` vectors of a head: sum = faded sum + weights values, of `count` columns. A constant width, so that the sums
   stay in registers and do not wait for one another. */
INLINE void weighed(const int width, vec *summed, float faded, const float *weights, const element *values, long count,
                    long size) {
    vec v[4];
    for (int i = 0; i < width; i++) v[i] = summed[i] * faded;
    for (long c = 0; c < count; c++)
#pragma GCC unroll 4
        for (int i = 0; i < width; i++) v[i] += weights[c] * load(values + c * size + i * LANES);
    for (int i = 0; i < width; i++) summed[i] = v[i];
}

/* The columns of its row that a token sees, in the order of its text: from `first` to before `trunk`, then those of its
   path, as many as `length` says. */
struct seen {
    long first, trunk, length;
    const int64_t *path;
};

/* Some columns [count, size] of keys or values one behind the other in `together`. */
INLINE const element *gathered(const element *from, const int64_t *columns, long count, long size, element *together) {
    for (long c = 0; c < count; c++) memcpy(together + c * size, from + columns[c] * size, size * sizeof(element));
    return together;
}

/* One query [heads, size] per row over what it sees of its keys and values [key heads, columns, size]:
   the running softmax of FlashAttention (Dao et al., 2022). size is a multiple of LANES and at most 256. */
INLINE void attend_one(const element *q, const element *keys, const element *values, element *y, struct seen seen,
                       long group, long size, float scale) {
    float total[group], largest[group];
    element near_keys[CHUNK * size], near_values[CHUNK * size];
    long last = seen.trunk + seen.length;
    vec scores[CHUNK / LANES];
    vec summed[group][256 / LANES];
    for (long g = 0; g < group; g++) {
        total[g] = 0, largest[g] = -INFINITY;
        for (long i = 0; i < size / LANES; i++) summed[g][i] = all(0);
    }
    for (long start = seen.first, count; start < last; start += count) {
        const element *k = keys + start * size, *v = values + start * size;
        long left = (start < seen.trunk ? seen.trunk : last) - start;
        count = left < CHUNK ? left : CHUNK;
        if (start >= seen.trunk) {
            const int64_t *columns = seen.path + (start - seen.trunk);
            k = gathered(keys, columns, count, size, near_keys);
            v = gathered(values, columns, count, size, near_values);
        }
        for (long g = 0; g < group; g++) {
            vec top = all(largest[g]), weights = all(0);
            for (long c = 0; c < count; c += LANES) {
                vec dots[LANES];
#pragma GCC unroll 16
                for (int j = 0; j < LANES; j++) { /* behind the last column its own again, which is not counted */
                    const element *key = k + (c + j < count ? c + j : count - 1) * size;
                    dots[j] = all(0);
                    for (long i = 0; i < size; i += LANES) dots[j] += load(q + g * size + i) * load(key + i);
                }
                scores[c / LANES] = sums(dots) * scale;
                top = larger(scores[c / LANES], top);
            }
            float peak = largest_of(top);
            float faded = peak > largest[g] ? expf(largest[g] - peak) : 1;
            for (long c = 0; c < count; c += LANES) {
                vec w = exponential(scores[c / LANES] - peak);
                for (int j = 0; j < LANES && c + LANES > count; j++) w[j] = c + j < count ? w[j] : 0;
                scores[c / LANES] = w;
                weights += w;
            }
            total[g] = total[g] * faded + sum(weights);
            largest[g] = peak;
            const float *weight = (const float *)scores;
            long i = 0;
            for (; i + 4 <= size / LANES; i += 4)
                weighed(4, summed[g] + i, faded, weight, v + i * LANES, count, size);
            for (; i < size / LANES; i++)
                weighed(1, summed[g] + i, faded, weight, v + i * LANES, count, size);
        }
    }
    for (long g = 0; g < group; g++)
        for (long i = 0; i < size / LANES; i++) store(y + g * size + i * LANES, summed[g][i] / total[g]);
}

/* Where tokens go in the cache and what they see of it. Token t sees its row up to columns[t]; where texts branch, the
   first trunks[t] columns, then paths[starts[t]] to before paths[starts[t + 1]]. */
struct places {
    const int64_t *rows, *columns, *trunks, *starts, *paths;
};

INLINE struct seen seen_by(const struct places *places, long t, long window) {
    struct seen seen = {.trunk = places->columns[t] + 1};
    if (places->trunks) {
        seen.trunk = places->trunks[t], seen.path = places->paths + places->starts[t];
        seen.length = places->starts[t + 1] - places->starts[t];
    }
    long hidden = window ? seen.trunk + seen.length - window : 0;
    if (hidden > 0) seen.first = hidden < seen.trunk ? hidden : seen.trunk;
    if (hidden > seen.trunk) seen.path += hidden - seen.trunk, seen.length -= hidden - seen.trunk;
    return seen;
}

/* Token t and key head h of what `attend` does. */
static void attend_at(const element *q, const struct cache *cache, element *y, const struct places *places, long t,
                      long h, long group, long key_heads, long size, long token_stride, double scale, long window) {
    long place = places->rows[t] * cache->row_stride + h * cache->head_stride;
    struct seen seen = seen_by(places, t, window);
    q += t * token_stride + h * group * size, y += (t * key_heads + h) * group * size;
    const element *keys = cache->keys + place, *values = cache->values + place;
    if (size == 64) attend_one(q, keys, values, y, seen, group, 64, scale); /* constants: loops without counters */
    else if (size == 128) attend_one(q, keys, values, y, seen, group, 128, scale);
    else attend_one(q, keys, values, y, seen, group, size, scale);
}

/* y [n, heads, size] of queries q, tokens `token_stride` and heads `size` apart; each reads what `places` says of keys
   and values, rows `row_stride` and heads `head_stride` apart; window 0 is none. */
void attend(const element *q, element *keys, element *values, element *y, const struct places *places, long n,
            long heads, long key_heads, long size, long token_stride, long row_stride, long head_stride, double scale,
            long window) {
    struct cache cache = {keys, values, row_stride, head_stride};
#pragma omp parallel for collapse(2) schedule(dynamic, 2)
    for (long t = 0; t < n; t++)
        for (long h = 0; h < key_heads; h++)
            attend_at(q, &cache, y, places, t, h, heads / key_heads, key_heads, size, token_stride, scale, window);
}
