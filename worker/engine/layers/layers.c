/* The layers of a decoder as Llama has them, all in one call: between two operations there is neither Python nor a
   barrier. A row's bits are those of the operations one by one (kernels.c). */

#include <stdlib.h>

#include "kernels.c"

/* y [m, out and ranks] = [W; A] x, and the adapters' second halves. */
struct linear {
    const element *panels;
    const float *bias;
    const struct update *updates;
    int64_t num_updates, in, out, ranks;
};

struct layer {
    struct linear inputs, output, gate_up, down;
    const element *gain, *second_gain;
    double epsilon, second_epsilon, scale;
    int64_t heads, key_heads, size, window;
};

/* The tokens of a forward: excluded [tokens, adapters] or null, cosine and sine [tokens, size]. */
struct line {
    struct places places;
    const element *cosine, *sine;
    const uint8_t *excluded;
    int64_t num_tokens, num_adapters, is_adapted;
};

/* What lies between the operations of a layer, for all tokens. */
struct scratch {
    element *normed, *joined, *attended, *output, *gates, *inner;
    float *wide;
};

INLINE long width_of(const struct linear *linear) { return linear->out + linear->ranks; }

static void multiply_by(struct worker *worker, const struct linear *linear, const struct line *line, const element *x,
                        element *y, float *wide) {
    multiply(worker, x, linear->panels, linear->bias, y, wide, line->num_tokens, linear->in,
             linear->out + (line->is_adapted ? linear->ranks : 0), width_of(linear));
}

/* A row y of a product, its adapters' second halves added. */
INLINE element *updated(const struct linear *linear, const struct line *line, element *y, long r) {
    y += r * width_of(linear);
    const uint8_t *off = line->excluded ? line->excluded + r * line->num_adapters : 0;
    if (line->is_adapted) adapt_row(y, linear->updates, linear->num_updates, off);
    return y;
}

INLINE void add_row(element *x, const element *y, long d) {
    for (long i = 0; i < d; i += LANES) store(x + i, load(x + i) + load(y + i));
}

static void attend_rows(struct worker *worker, const struct layer *l, const struct line *line, struct cache *cache,
                        struct scratch *s) {
    long size = l->size, stride = width_of(&l->inputs);
    EACH(r, line->num_tokens) {
        element *row = updated(&l->inputs, line, s->joined, r), *key = row + l->heads * size;
        rotate_row(row, line->cosine + r * size, line->sine + r * size, l->heads + l->key_heads, size);
        keep_one(cache, key, key + l->key_heads * size, line->places.rows[r], line->places.columns[r],
                 l->key_heads, size);
    }
    EACH(i, line->num_tokens * l->key_heads)
    attend_at(s->joined, cache, s->attended, &line->places, i / l->key_heads, i % l->key_heads, l->heads / l->key_heads,
              l->key_heads, size, stride, l->scale, l->window);
}

/* A layer of x [tokens, d], whose normed rows are made: x is overwritten, and normed for the layer behind it. */
static void run_layer(struct worker *worker, const struct layer *l, const struct layer *behind, const struct line *line,
                      struct cache *cache, element *x, struct scratch *s) {
    long d = l->inputs.in, inner = l->down.in;
    multiply_by(worker, &l->inputs, line, s->normed, s->joined, s->wide);
    attend_rows(worker, l, line, cache, s);
    multiply_by(worker, &l->output, line, s->attended, s->output, s->wide);
    EACH(r, line->num_tokens) {
        add_row(x + r * d, updated(&l->output, line, s->output, r), d);
        normalise_row(x + r * d, l->second_gain, s->normed + r * d, d, l->second_epsilon);
    }
    multiply_by(worker, &l->gate_up, line, s->normed, s->gates, s->wide);
    EACH(r, line->num_tokens) gate_row(updated(&l->gate_up, line, s->gates, r), s->inner + r * inner, inner);
    multiply_by(worker, &l->down, line, s->inner, s->output, s->wide);
    EACH(r, line->num_tokens) {
        add_row(x + r * d, updated(&l->down, line, s->output, r), d);
        if (behind) normalise_row(x + r * d, behind->gain, s->normed + r * d, d, behind->epsilon);
    }
}

#define PHASES_OF_LAYER 13 /* at most: four products of two */

/* x [tokens, d] through all layers, in place; 0 where there is no memory. */
int run_layers(const struct layer *layers, struct cache *caches, long num_layers, const struct line *line, element *x,
               struct scratch *scratch) {
    long d = layers->inputs.in;
    struct phase *phases = calloc(1 + PHASES_OF_LAYER * num_layers, sizeof(struct phase));
    if (!phases) return 0;
#pragma omp parallel
    {
        struct worker self = joined(phases), *worker = &self;
        EACH(r, line->num_tokens)
        normalise_row(x + r * d, layers->gain, scratch->normed + r * d, d, layers->epsilon);
        for (long i = 0; i < num_layers; i++)
            run_layer(worker, layers + i, i + 1 < num_layers ? layers + i + 1 : 0, line, caches + i, x, scratch);
    }
    free(phases);
    return 1;
}
