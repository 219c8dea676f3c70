/* The adversarial noise of eq. 4 (You et al.) and CANL's cache, on rows of floats: h + r s(h) g / max |g|.
 *
 * s(h) is one deviation of all numbers. Every sum is taken in one order, whatever the number of threads.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 2048
#define NOT_FINITE 0x7f800000

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* max |g| as its bits, which order as the numbers do; infinities and NaN are the largest. */
static int32_t peak(const int32_t *g, int64_t size) {
    int32_t most = 0;
    for (int64_t i = 0; i < size; i++) {
        int32_t bits = g[i] & 0x7fffffff;
        most = bits > most ? bits : most;
    }
    return most;
}

/* A count, a mean and a sum of squared deviations from it. */
typedef struct {
    double count, mean, squares;
} Moments;

/* Chan, Golub and LeVeque 1979. */
static void join(Moments *a, Moments b) {
    double all = a->count + b.count, apart = b.mean - a->mean;
    if (b.count == 0) return;
    a->squares += b.squares + apart * apart * a->count * b.count / all;
    a->mean += apart * b.count / all;
    a->count = all;
}

static Moments moments(const float *h, int64_t size) {
    Moments all = {0};
    for (int64_t at = 0; at < size; at += BLOCK) {
        int64_t some = least(BLOCK, size - at);
        const float *x = h + at;
        float parts[16] = {0};
        double squares[16] = {0}; /* of numbers near the ends of float, squares are beyond them */
        int64_t i = 0;
        for (; i + 16 <= some; i += 16)
            for (int j = 0; j < 16; j++) parts[j] += x[i + j];
        double sum = 0, squared = 0;
        for (int j = 0; j < 16; j++) sum += parts[j];
        for (int64_t k = i; k < some; k++) sum += x[k];
        float mean = sum / some;
        for (i = 0; i + 16 <= some; i += 16)
            for (int j = 0; j < 16; j++) {
                double apart = x[i + j] - mean;
                squares[j] += apart * apart;
            }
        for (int j = 0; j < 16; j++) squared += squares[j];
        for (; i < some; i++) squared += (double)(x[i] - mean) * (x[i] - mean);
        join(&all, (Moments){some, mean, squared});
    }
    return all;
}

/* out = h + r s(h) g / max |g| of each image's row of g, which `labels` names, or its own where they are NULL.
 *
 * A row that is all zeros, or not finite, gives no noise. `one`: r is one number for all images. Returns 0, 1 where
 * memory is short, or 2 where a label is not a row. */
int surgeon_perturbed(const float *h, const float *g, const int64_t *labels, const float *r, float *out, int64_t images,
                      int64_t rows, int64_t size, int one, int threads) {
    float deviation = 0;
    for (int64_t n = 0; labels && n < images; n++)
        if (labels[n] < 0 || labels[n] >= rows) return 2;
    int32_t *peaks = malloc(rows * sizeof(int32_t));
    Moments *each = malloc(images * sizeof(Moments));
    if (!peaks || !each) {
        free(peaks), free(each);
        return 1;
    }
    for (int64_t k = 0; k < rows; k++) peaks[k] = labels ? -1 : 0; /* -1: no image has it */
    for (int64_t n = 0; labels && n < images; n++) peaks[labels[n]] = 0;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
#pragma omp for schedule(static) nowait
        for (int64_t k = 0; k < rows; k++)
            if (peaks[k] == 0) peaks[k] = peak((const int32_t *)(g + k * size), size);
#pragma omp for schedule(static)
        for (int64_t n = 0; n < images; n++)
            each[n] = moments(h + n * size, size);
#pragma omp single
        {
            for (int64_t n = 1; n < images; n++) join(each, each[n]);
            deviation = sqrt(each->squares / each->count);
        }
#pragma omp for schedule(static)
        for (int64_t n = 0; n < images; n++) {
            int64_t row = labels ? labels[n] : n;
            const float *x = h + n * size, *direction = g + row * size;
            float *y = out + n * size, top, factor = 0;
            memcpy(&top, peaks + row, 4);
            if (peaks[row] > 0 && peaks[row] < NOT_FINITE) factor = r[one ? 0 : n] * deviation / top;
            if (factor == 0 || !isfinite(factor)) memcpy(y, x, size * sizeof(float));
            else
                for (int64_t i = 0; i < size; i++) y[i] = x[i] + factor * direction[i];
        }
    }
    free(peaks), free(each);
    return 0;
}

/* Write, for each class of a batch, the row of its sample of the highest rank into the cache. Returns as above. */
int surgeon_remembered(float *cache, const float *gradient, const int64_t *labels, const int64_t *rank, int64_t images,
                       int64_t classes, int64_t size) {
    for (int64_t n = 0; n < images; n++)
        if (labels[n] < 0 || labels[n] >= classes) return 2;
    int64_t *speaking = malloc(classes * sizeof(int64_t));
    if (!speaking) return 1;
    for (int64_t c = 0; c < classes; c++) speaking[c] = -1;
    for (int64_t n = 0; n < images; n++) {
        int64_t before = speaking[labels[n]];
        if (before < 0 || rank[n] > rank[before]) speaking[labels[n]] = n;
    }
    for (int64_t c = 0; c < classes; c++)
        if (speaking[c] >= 0) memcpy(cache + c * size, gradient + speaking[c] * size, size * sizeof(float));
    free(speaking);
    return 0;
}
