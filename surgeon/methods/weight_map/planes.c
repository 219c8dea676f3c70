/* Weight maps on a CPU: products per position, then a filter of ones, on float planes (N, C, H, W).
 *
 * The numbers of a plane lie side by side, so that one vector holds L positions of one image and one channel, and
 * a product of matrices per position becomes a product of matrices of vectors. Weights lie with the position
 * outermost, (H*W, C_in, C_out), and are turned L positions at a time as they are packed.
 *
 * Every sum is taken in one order, whatever the number of threads, images or positions.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512F__) /* 32 registers of 16 numbers: 24 sums */
#define L 16
#define LEFT 4
#define RIGHT 6
#define LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#else /* 16 registers of 8 numbers: 12 sums */
#define L 8
#define LEFT 4
#define RIGHT 3
#define LOW 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH 4, 12, 5, 13, 6, 14, 7, 15
#endif
#define CHUNK 256 /* rows of the left operand that are packed at a time */
#define DEPTH 128 /* terms of a sum that are packed at a time, so that they stay in the nearest caches */
#define ALIGNED 64

typedef float Vector __attribute__((vector_size(4 * L)));
typedef float Anywhere __attribute__((vector_size(4 * L), aligned(4), may_alias));

#if defined(__clang__) || __GNUC__ >= 12
#define ZIP(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
typedef int32_t Order __attribute__((vector_size(4 * L)));
#define ZIP(a, b, ...) __builtin_shuffle(a, b, (Order){__VA_ARGS__})
#endif

/* The number (row, term, place) of an operand stands at row * by_row + term * by_term + place * by_place. */
typedef struct {
    float *at;
    int64_t by_row, by_term, by_place;
} Operand;

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t parts_of(int64_t all, int64_t part) { return (all + part - 1) / part; }

static inline Vector load(const float *at, int64_t count) {
    if (count >= L) return *(const Anywhere *)at;
    Vector v = {0};
    memcpy(&v, at, count * sizeof(float));
    return v;
}

static inline void store(float *at, Vector v, int64_t count) {
    if (count >= L) *(Anywhere *)at = v;
    else memcpy(at, &v, count * sizeof(float));
}

/* Turn L vectors about the diagonal, by log2(L) perfect shuffles. */
static inline void turn(Vector rows[L]) {
    Vector next[L];
#pragma GCC unroll 4
    for (int done = 1; done < L; done *= 2) {
#pragma GCC unroll 16
        for (int i = 0; i < L / 2; i++) {
            next[2 * i] = ZIP(rows[i], rows[i + L / 2], LOW);
            next[2 * i + 1] = ZIP(rows[i], rows[i + L / 2], HIGH);
        }
#pragma GCC unroll 16
        for (int i = 0; i < L; i++) rows[i] = next[i];
    }
}

/* Pack L places of some rows and terms as to[row / side][term][row % side]; rows past the last are zeros. */
static void pack(Operand from, int64_t rows, int64_t terms, int64_t places, int side, Vector *to) {
    int64_t all = parts_of(rows, side) * side;
    if (from.by_place == 1) {
        for (int64_t row = 0; row < all; row++) {
            Vector *out = to + row / side * terms * side + row % side;
            const float *in = from.at + row * from.by_row;
            for (int64_t term = 0; term < terms; term++)
                out[term * side] = row < rows ? load(in + term * from.by_term, places) : (Vector){0};
        }
        return;
    }
    for (int64_t row = rows; row < all; row++)
        for (int64_t term = 0; term < terms; term++) to[(row / side * terms + term) * side + row % side] = (Vector){0};
    int by_rows = from.by_row == 1; /* which of the two lies side by side */
    int64_t outer = by_rows ? terms : rows, inner = by_rows ? rows : terms;
    int64_t step = by_rows ? from.by_term : from.by_row;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < inner; i += L) {
            Vector block[L];
            const float *in = from.at + o * step + i;
            for (int p = 0; p < L; p++)
                block[p] = p < places ? load(in + p * from.by_place, inner - i) : (Vector){0};
            turn(block);
            for (int j = 0; j < least(L, inner - i); j++) {
                int64_t row = by_rows ? i + j : o, term = by_rows ? o : i + j;
                to[(row / side * terms + term) * side + row % side] = block[j];
            }
        }
}

static inline void multiply(const Vector *left, const Vector *right, int64_t terms, Vector out[LEFT][RIGHT]) {
    Vector sums[LEFT][RIGHT] = {0};
    for (int64_t term = 0; term < terms; term++, left += LEFT, right += RIGHT) {
#pragma GCC unroll 6
        for (int j = 0; j < RIGHT; j++)
#pragma GCC unroll 4
            for (int i = 0; i < LEFT; i++) sums[i][j] += left[i] * right[j];
    }
#pragma GCC unroll 4
    for (int i = 0; i < LEFT; i++)
#pragma GCC unroll 6
        for (int j = 0; j < RIGHT; j++) out[i][j] = sums[i][j];
}

static inline void put(float *at, Vector v, int64_t count, int more) {
    store(at, more ? load(at, count) + v : v, count);
}

/* Put a block of sums, [right][left], where the product has its places side by side. */
static void put_planes(Operand out, Vector block[LEFT][RIGHT], int64_t lefts, int64_t rights, int64_t places,
                       int more) {
    for (int64_t j = 0; j < least(RIGHT, rights); j++)
        for (int64_t i = 0; i < least(LEFT, lefts); i++)
            put(out.at + j * out.by_term + i * out.by_row, block[i][j], places, more);
}

/* Put rows of sums, [right][left], where the product has its left rows side by side. */
static void put_maps(Operand out, const Vector *sums, int64_t lefts, int64_t rights, int64_t places, int more) {
    for (int64_t j = 0; j < least(RIGHT, rights); j++)
        for (int64_t i = 0; i < lefts; i += L) {
            Vector block[L];
            memcpy(block, sums + j * (CHUNK + L) + i, sizeof block);
            turn(block);
            for (int p = 0; p < least(L, places); p++)
                put(out.at + p * out.by_place + j * out.by_term + i, block[p], lefts - i, more);
        }
}

/* out(left, right, place) = sum over terms of left(left, term, place) * right(right, term, place).
 *
 * The rows of `out` are those of `left`, its terms the rows of `right`. Of `left` and `out` places, or rows
 * (of `left` also terms), lie side by side; of `right` places do. Returns 0, or 1 where memory is short.
 */
int surgeon_products(Operand left, Operand right, Operand out, int64_t lefts, int64_t rights, int64_t terms,
                     int64_t places, int threads) {
    int64_t tiles = parts_of(places, L), side = CHUNK, part = rights;
    /* Enough tasks for the threads: by smaller chunks, before the same rows are packed for several parts. */
    while (tiles * parts_of(lefts, side) < 4 * threads && side > 2 * L && threads > 1) side /= 2;
    int64_t chunks = parts_of(lefts, side);
    while (tiles * chunks * parts_of(rights, part) < 4 * threads && part > 4 * RIGHT && threads > 1)
        part = parts_of(parts_of(part, 2), RIGHT) * RIGHT;
    int64_t parts = parts_of(rights, part), most = least(parts_of(lefts, L) * L, side);
    int failed = 0, planes = out.by_place == 1;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        Vector *a = aligned_alloc(ALIGNED, (most + LEFT) * DEPTH * sizeof(Vector));
        Vector *b = aligned_alloc(ALIGNED, RIGHT * DEPTH * sizeof(Vector));
        Vector *sums = aligned_alloc(ALIGNED, RIGHT * (CHUNK + L) * sizeof(Vector));
        int short_of_memory = !a || !b || !sums;
        if (short_of_memory) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp for schedule(dynamic)
        for (int64_t task = 0; task < tiles * chunks * parts; task++) {
            if (short_of_memory) continue;
            int64_t tile = task / (chunks * parts), chunk = task / parts % chunks, first = task % parts * part;
            int64_t here = least(L, places - tile * L), rows = least(side, lefts - chunk * side);
            int64_t last = least(rights, first + part);
            for (int64_t term = 0; term < terms; term += DEPTH) {
                int64_t depth = least(DEPTH, terms - term);
                Operand from = left;
                from.at += tile * L * left.by_place + chunk * side * left.by_row + term * left.by_term;
                pack(from, rows, depth, here, LEFT, a);
                for (int64_t j = first; j < last; j += RIGHT) {
                    Operand other = right, to = out;
                    other.at += tile * L * right.by_place + j * right.by_row + term * right.by_term;
                    to.at += tile * L * out.by_place + chunk * side * out.by_row + j * out.by_term;
                    pack(other, least(RIGHT, last - j), depth, here, RIGHT, b);
                    for (int64_t i = 0; i < rows; i += LEFT) {
                        Vector block[LEFT][RIGHT];
                        multiply(a + i * depth, b, depth, block);
                        if (planes) {
                            Operand at = to;
                            at.at += i * out.by_row;
                            put_planes(at, block, rows - i, last - j, here, term > 0);
                        } else
                            for (int r = 0; r < RIGHT; r++)
                                for (int l = 0; l < LEFT; l++) sums[r * (CHUNK + L) + i + l] = block[l][r];
                    }
                    if (!planes) put_maps(to, sums, rows, last - j, here, term > 0);
                }
            }
        }
        free(a), free(b), free(sums);
    }
    return failed;
}

/* The filter box * (ones of a window) + centre * (its middle), with zeros around. */
typedef struct {
    int64_t height, width, rows, columns, top, left, middle_row, middle_column;
    float box, centre;
} Filter;

#define ALWAYS static inline __attribute__((always_inline))

/* Functions for rows of vectors of N numbers; the last vector of a row overlaps the one before it. */
#define ROWS(N)                                                                                                     \
    typedef float Row##N __attribute__((vector_size(4 * N), aligned(4), may_alias));                                \
    ALWAYS Row##N at##N(const float *s, const Filter *f, int64_t wide, int64_t rows, int64_t columns) {             \
        Row##N sum = {0};                                                                                           \
        for (int64_t r = 0; r < rows; r++) {                                                                        \
            Row##N across = {0};                                                                                    \
            for (int64_t c = 0; c < columns; c++) across += *(const Row##N *)(s + r * wide + c);                    \
            sum += across;                                                                                          \
        }                                                                                                           \
        sum *= f->box;                                                                                              \
        if (f->centre != 0) sum += f->centre * *(const Row##N *)(s + f->middle_row * wide + f->middle_column);      \
        return sum;                                                                                                 \
    }                                                                                                               \
    ALWAYS void plane##N(const float *in, const float *bias, float *out, float *s, const Filter *f, int64_t rows,   \
                         int64_t columns) {                                                                         \
        int64_t wide = f->width + f->columns - 1, last = f->width - N;                                              \
        float *to = s + f->top * wide + f->left;                                                                    \
        for (int64_t y = 0; y < f->height; y++, to += wide, in += f->width)                                         \
            for (int64_t x = 0; x < f->width; x += N) {                                                             \
                int64_t at = least(x, last);                                                                        \
                *(Row##N *)(to + at) = *(const Row##N *)(in + at);                                                  \
            }                                                                                                       \
        for (int64_t y = 0; y < f->height; y++, s += wide, out += f->width)                                         \
            for (int64_t x = 0; x < f->width; x += N) {                                                             \
                int64_t at = least(x, last);                                                                        \
                Row##N v = at##N(s + at, f, wide, rows, columns);                                                   \
                if (bias) v += *(const Row##N *)(bias + y * f->width + at);                                         \
                *(Row##N *)(out + at) = v;                                                                          \
            }                                                                                                       \
    }
ROWS(1)
ROWS(2)
ROWS(4)
ROWS(8)

/* The same for rows of at least 16, by sums along columns (`down`), then along rows: rows + columns terms for rows *
 * columns. Rows of `s` and `down` are whole vectors, so that the loads of the first step cross no line of the cache. */
typedef float Row16 __attribute__((vector_size(64), aligned(4), may_alias));
ALWAYS void plane16(const float *in, const float *bias, float *out, float *s, float *down, const Filter *f,
                    int64_t rows, int64_t columns) {
    int64_t wide = parts_of(f->width + f->columns - 1, 16) * 16, last = f->width - 16;
    for (int64_t y = 0; y < f->height; y++)
        for (int64_t x = 0; x < f->width; x += 16)
            *(Row16 *)(s + (y + f->top) * wide + f->left + least(x, last)) =
                *(const Row16 *)(in + y * f->width + least(x, last));
    for (int64_t y = 0; y < f->height; y++)
        for (int64_t x = 0; x < wide; x += 16) {
            Row16 sum = {0};
            for (int64_t r = 0; r < rows; r++) sum += *(const Row16 *)(s + (y + r) * wide + x);
            *(Row16 *)(down + y * wide + x) = sum;
        }
    const float *middle = s + f->middle_row * wide + f->middle_column;
    for (int64_t y = 0; y < f->height; y++)
        for (int64_t x = 0; x < f->width; x += 16) {
            int64_t at = least(x, last);
            Row16 v = {0};
            for (int64_t c = 0; c < columns; c++) v += *(const Row16 *)(down + y * wide + at + c);
            v *= f->box;
            if (f->centre != 0) v += f->centre * *(const Row16 *)(middle + y * wide + at);
            if (bias) v += *(const Row16 *)(bias + y * f->width + at);
            *(Row16 *)(out + y * f->width + at) = v;
        }
}
#define PLANE(N, ...)                                                                                               \
    f.rows == 3 && f.columns == 3 ? plane##N(from, add, to, padded, __VA_ARGS__ &f, 3, 3)                           \
                                  : plane##N(from, add, to, padded, __VA_ARGS__ &f, f.rows, f.columns)

/* Filter each of N * channels planes of (height, width) and add the bias of its channel; `out` may be `in`.
 *
 * Returns 0, or 1 where memory is short. */
int surgeon_filtered(const float *in, const float *bias, float *out, int64_t images, int64_t channels, Filter f,
                     int threads) {
    int64_t area = f.height * f.width;
    int failed = 0;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        int64_t wide = parts_of(f.width + f.columns - 1, 16) * 16, size = (f.height + f.rows - 1) * wide;
        float *padded = aligned_alloc(ALIGNED, size * sizeof(float));
        float *down = aligned_alloc(ALIGNED, size * sizeof(float));
        int short_of_memory = !padded || !down;
        if (padded) memset(padded, 0, size * sizeof(float));
        if (short_of_memory) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp for schedule(static)
        for (int64_t plane = 0; plane < images * channels; plane++) {
            if (short_of_memory) continue;
            const float *from = in + plane * area, *add = bias ? bias + plane % channels * area : NULL;
            float *to = out + plane * area;
            if (f.width >= 16) PLANE(16, down, );
            else if (f.width >= 8) PLANE(8, );
            else if (f.width >= 4) PLANE(4, );
            else if (f.width >= 2) PLANE(2, );
            else PLANE(1, );
        }
        free(padded), free(down);
    }
    return failed;
}
