/* Means over windows of a sheet of channels, and their adjoint, on floats (images, rows, columns, positions).
 *
 * Where there are many positions they fill vectors as they lie; where there are few, whole rows of the sheet do, out of
 * a copy with zeros around.
 */
#include <stdint.h>
#include <stdlib.h>

typedef struct {
    int64_t images, rows, columns, positions;
    int64_t height, width; /* of the window; of two middle channels the earlier is its centre */
    int64_t whole;         /* divide by the window's size at the border too */
    int64_t adjoint;
} Sheet;

#define PART 256 /* positions that are pooled at a time, so that the rows of a window stay in the first cache */
#define ALWAYS static inline __attribute__((always_inline))
#define ANYWHERE(N) __attribute__((vector_size(4 * N), aligned(4), may_alias))
typedef float Row1 ANYWHERE(1);
typedef float Row2 ANYWHERE(2);
typedef float Row4 ANYWHERE(4);
typedef float Row8 ANYWHERE(8);
typedef float Row16 ANYWHERE(16);

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/* 1 / the channels that a window of `side` about `at` has on a line of `length`, or 1 / side. */
static float share(int64_t at, int64_t length, int64_t side, int64_t whole) {
    if (whole) return 1.0f / side;
    return 1.0f / (least(length, at + side / 2 + 1) - most(0, at - (side - 1) / 2));
}

/* How far a window reaches before its centre; the adjoint's is turned round. */
static int64_t before(int64_t side, int64_t adjoint) { return adjoint ? side / 2 : (side - 1) / 2; }

/* Row i of an image's outputs, vectors of N positions; the last vector overlaps the one before it. */
#define MANY(N)                                                                                                     \
    ALWAYS void many##N(const float *in, float *out, const Sheet *s, const float *down, const float *across,        \
                        int64_t i) {                                                                                \
        int64_t top = before(s->height, s->adjoint), left = before(s->width, s->adjoint), n = s->positions;         \
        int64_t first = most(0, i - top), end = least(s->rows, i - top + s->height);                                \
        for (int64_t part = 0; part < n; part += PART)                                                              \
            for (int64_t j = 0; j < s->columns; j++) {                                                              \
                int64_t start = most(0, j - left), stop = least(s->columns, j - left + s->width);                   \
                float own = down[i] * across[j];                                                                    \
                for (int64_t x = part; x < least(n, part + PART); x += N) {                                         \
                    int64_t at = least(x, n - N);                                                                   \
                    Row##N sum = {0};                                                                               \
                    for (int64_t r = first; r < end; r++)                                                           \
                        for (int64_t c = start; c < stop; c++)                                                      \
                            sum += *(const Row##N *)(in + (r * s->columns + c) * n + at) *                          \
                                   (s->adjoint ? down[r] * across[c] : own);                                        \
                    *(Row##N *)(out + (i * s->columns + j) * n + at) = sum;                                         \
                }                                                                                                   \
            }                                                                                                       \
    }
MANY(8)
MANY(16)

/* One image, vectors of N numbers of a row. `shares`: of each number; `padded`: room with zeros around. */
#define FEW(N)                                                                                                      \
    ALWAYS void few##N(const float *in, float *out, float *padded, const float *shares, const Sheet *s,             \
                       int64_t height, int64_t width) {                                                             \
        int64_t n = s->positions, row = s->columns * n, wide = row + (s->width - 1) * n;                            \
        float *to = padded + before(s->height, s->adjoint) * wide + before(s->width, s->adjoint) * n;               \
        for (int64_t i = 0; i < s->rows; i++)                                                                       \
            for (int64_t x = 0; x < row; x += N) {                                                                  \
                int64_t at = least(x, row - N);                                                                     \
                Row##N v = *(const Row##N *)(in + i * row + at);                                                    \
                if (s->adjoint) v *= *(const Row##N *)(shares + i * row + at);                                      \
                *(Row##N *)(to + i * wide + at) = v;                                                                \
            }                                                                                                       \
        for (int64_t i = 0; i < s->rows; i++)                                                                       \
            for (int64_t x = 0; x < row; x += N) {                                                                  \
                int64_t at = least(x, row - N);                                                                     \
                Row##N sum = {0};                                                                                   \
                for (int64_t r = 0; r < height; r++)                                                                \
                    for (int64_t c = 0; c < width; c++)                                                             \
                        sum += *(const Row##N *)(padded + (i + r) * wide + at + c * n);                             \
                if (!s->adjoint) sum *= *(const Row##N *)(shares + i * row + at);                                   \
                *(Row##N *)(out + i * row + at) = sum;                                                              \
            }                                                                                                       \
    }
FEW(1)
FEW(2)
FEW(4)
FEW(8)
FEW(16)
#define CALL(N)                                                                                                     \
    s.height == 3 && s.width == 3 ? few##N(from, to, padded, shares, &s, 3, 3)                                      \
                                  : few##N(from, to, padded, shares, &s, s.height, s.width)

/* Pool `in` into `out`. Returns 0, or 1 where memory is short. */
int surgeon_sheets(const float *in, float *out, Sheet s, int threads) {
    int64_t row = s.columns * s.positions, size = s.rows * row;
    int64_t room = (s.rows + s.height - 1) * (row + (s.width - 1) * s.positions);
    int many = s.positions >= 8, failed = 0;
    float *down = malloc(s.rows * sizeof(float)), *across = malloc(s.columns * sizeof(float));
    float *shares = many ? NULL : malloc(size * sizeof(float));
    if (!down || !across || (!many && !shares)) {
        free(down), free(across), free(shares);
        return 1;
    }
    for (int64_t i = 0; i < s.rows; i++) down[i] = share(i, s.rows, s.height, s.whole);
    for (int64_t j = 0; j < s.columns; j++) across[j] = share(j, s.columns, s.width, s.whole);
    if (!many)
        for (int64_t k = 0; k < size; k++) shares[k] = down[k / row] * across[k % row / s.positions];
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        float *padded = many ? NULL : calloc(room, sizeof(float));
        int short_of_memory = !many && !padded;
        if (short_of_memory) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp for schedule(static)
        for (int64_t task = 0; task < (many ? s.images * s.rows : s.images); task++) {
            if (short_of_memory) continue;
            int64_t image = many ? task / s.rows : task, i = many ? task % s.rows : 0;
            const float *from = in + image * size;
            float *to = out + image * size;
            if (s.positions >= 16) many16(from, to, &s, down, across, i);
            else if (many) many8(from, to, &s, down, across, i);
            else if (row >= 16) CALL(16);
            else if (row >= 8) CALL(8);
            else if (row >= 4) CALL(4);
            else if (row >= 2) CALL(2);
            else CALL(1);
        }
        free(padded);
    }
    free(down), free(across), free(shares);
    return failed;
}
