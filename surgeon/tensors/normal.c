/* Normal numbers from the stream of a torch generator on the CPU, the same ones up to rounding, several times as fast.
 *
 * torch draws 32 bits at a time by a Mersenne twister (Matsumoto and Nishimura 1998), keeps 24 of them as a number of
 * [0, 1), and makes 16 normal numbers of 16 by Box and Muller 1958: of the first eight, u, come radii
 * sqrt(-2 ln(1 - u)), of the other eight angles. Here the twister and the formula go along vectors.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define WORDS 624
#define AHEAD 397
#define BLOCK 16
#define CHUNK (64 * BLOCK)

typedef struct {
    uint32_t words[WORDS];
    int64_t next; /* the word that is drawn next; WORDS if all were drawn */
} Twister;

static inline uint32_t twisted(uint32_t one, uint32_t two) {
    uint32_t both = (one & 0x80000000u) | (two & 0x7fffffffu);
    return (both >> 1) ^ (-(two & 1u) & 0x9908b0dfu);
}

static void renew(uint32_t *w) {
    for (int i = 0; i < WORDS - AHEAD; i++) w[i] = w[i + AHEAD] ^ twisted(w[i], w[i + 1]);
    for (int i = WORDS - AHEAD; i < WORDS - 1; i++) w[i] = w[i + AHEAD - WORDS] ^ twisted(w[i], w[i + 1]);
    w[WORDS - 1] = w[AHEAD - 1] ^ twisted(w[WORDS - 1], w[0]);
}

/* Draw numbers of [0, 1) with 24 bits. */
static void draw(Twister *t, float *to, int64_t count) {
    while (count > 0) {
        if (t->next == WORDS) renew(t->words), t->next = 0;
        int64_t some = WORDS - t->next < count ? WORDS - t->next : count;
        const uint32_t *w = t->words + t->next;
        for (int64_t i = 0; i < some; i++) {
            uint32_t y = w[i];
            y ^= y >> 11;
            y ^= (y << 7) & 0x9d2c5680u;
            y ^= (y << 15) & 0xefc60000u;
            y ^= y >> 18;
            to[i] = (float)(int32_t)(y & 0xffffffu) * 0x1p-24f;
        }
        t->next += some, to += some, count -= some;
    }
}

/* ln of a number of (0, 1], by its binary exponent and a polynomial on [sqrt(1/2), sqrt(2)). */
static inline float logarithm(float x) {
    int32_t bits;
    memcpy(&bits, &x, 4);
    int32_t shifted = bits - 0x3f3504f3; /* sqrt(1/2) */
    float exponent = (float)(shifted >> 23);
    bits = (shifted & 0x007fffff) + 0x3f3504f3;
    float m;
    memcpy(&m, &bits, 4);
    float f = m - 1.0f, s = f / (2.0f + f), z = s * s; /* ln m = 2 artanh(s) */
    float series = 0.22222222f * z * z * z * z + 0.28571429f * z * z * z + 0.4f * z * z + 0.66666667f * z;
    return exponent * 0.693147181f + (s * series + 2.0f * s);
}

/* Turn 16 numbers of [0, 1) into normal numbers of deviation sigma. */
static inline void normal(float *x, float sigma) {
    for (int j = 0; j < BLOCK / 2; j++) {
        float radius = sqrtf(-2.0f * logarithm(1.0f - x[j])) * sigma;
        float turns = 4.0f * x[j + BLOCK / 2]; /* the angle in quarters of a turn */
        int32_t quarter = (int32_t)(turns + 0.5f);
        float a = (turns - (float)quarter) * 1.57079633f, b = a * a; /* within an eighth of a turn */
        float sine = -1.98412698e-4f + b * 2.75573192e-6f;
        sine = a * (1.0f + b * (-0.166666667f + b * (8.33333333e-3f + b * sine)));
        float cosine = -1.38888889e-3f + b * (2.48015873e-5f - b * 2.75573192e-7f);
        cosine = 1.0f + b * (-0.5f + b * (4.16666667e-2f + b * cosine));
        float along = quarter & 1 ? sine : cosine, across = quarter & 1 ? cosine : sine;
        along = (quarter + 1) & 2 ? -along : along; /* the cosine is below 0 in the second and third quarter */
        across = quarter & 2 ? -across : across;
        x[j] = radius * along;
        x[j + BLOCK / 2] = radius * across;
    }
}

/* Fill `to` with `count` >= 16 normal numbers. Of a count that is no multiple of 16 the last 16 are drawn anew. */
void surgeon_normals(Twister *t, float *to, int64_t count, float sigma) {
    int64_t whole = count / BLOCK * BLOCK;
    for (int64_t i = 0; i < whole; i += CHUNK) {
        int64_t some = whole - i < CHUNK ? whole - i : CHUNK;
        draw(t, to + i, some);
        if (i + some == whole && whole < count) draw(t, to + whole, count - whole);
        for (int64_t j = 0; j < some; j += BLOCK) normal(to + i + j, sigma);
    }
    if (whole < count) {
        draw(t, to + count - BLOCK, BLOCK);
        normal(to + count - BLOCK, sigma);
    }
}
