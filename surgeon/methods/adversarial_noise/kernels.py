"""GPU kernels for the noise of eq. 4: statistics of a gradient and of activations, and adding the noise.

`gpu.py` calls them. A tensor is rows of `size` numbers in memory order, one row per sample. Sums are in
float32.
"""

# mypy: disable-error-code="no-untyped-def"
# Triton reads the source of what is compiled: constants are annotated by `tl.constexpr` itself.
import triton
import triton.language as tl


@triton.jit
def peaks(g, labels, speaking, peak, size, part, block: tl.constexpr):
    """Write peak[n, p]: the largest |g| of part p of row n, inf if one is not finite.

    Only rows that are cached for their class.
    """
    n, p = tl.program_id(0), tl.program_id(1)
    most = tl.zeros([block], tl.float32)
    speaks = tl.load(speaking + tl.load(labels + n)) == n
    end = tl.where(speaks, tl.minimum(size, (p + 1) * part), 0)
    for start in range(p * part, end, block):
        place = start + tl.arange(0, block)
        # 64 bits: images times their numbers may exceed 2³¹.
        x = tl.load(g + n.to(tl.int64) * size + place, mask=place < end, other=0).to(tl.float32)
        # NaN counts as inf: a maximum may drop a NaN, and the row would pass for a finite one.
        most = tl.maximum(most, tl.where(x == x, tl.abs(x), float("inf")))
    tl.store(peak + n * tl.num_programs(1) + p, tl.max(most, 0))


@triton.jit
def measured(h, g, rows, peak, means, squares, size, part, has_rows: tl.constexpr, block: tl.constexpr):
    """Measure part p of row n: the largest |g| of row rows[n], inf if one is not finite; and of h, the mean
    and the summed squared differences from it.
    """
    n, p = tl.program_id(0), tl.program_id(1)
    row = n.to(tl.int64)
    if has_rows:
        row = tl.load(rows + n)
    end = tl.minimum(size, (p + 1) * part)
    most = tl.zeros([block], tl.float32)
    count, mean, square = 0.0, 0.0, 0.0
    for start in range(p * part, end, block):
        place = start + tl.arange(0, block)
        ok = place < end
        x = tl.load(g + row * size + place, mask=ok, other=0).to(tl.float32)
        # As above: a maximum may drop a NaN.
        most = tl.maximum(most, tl.where(x == x, tl.abs(x), float("inf")))
        x = tl.load(h + n.to(tl.int64) * size + place, mask=ok, other=0).to(tl.float32)
        own = tl.minimum(block, end - start).to(tl.float32)
        # Deviations from a running mean, combined block by block: the difference of two large sums would lose its
        # digits.
        middle = tl.sum(x, 0) / own
        apart = tl.where(ok, x - middle, 0)
        step = middle - mean
        square += tl.sum(apart * apart, 0) + step * step * count * own / (count + own)
        mean += step * own / (count + own)
        count += own
    at = n * tl.num_programs(1) + p
    tl.store(peak + at, tl.max(most, 0))
    tl.store(means + at, mean)
    tl.store(squares + at, square)


@triton.jit
def factors(
    largest,
    means,
    squares,
    r,
    factor,
    images,
    size,
    part,
    parts,
    single: tl.constexpr,
    block: tl.constexpr,
    per_row: tl.constexpr,
):
    """Write factor[n] = r[n] · std(h) / ‖g‖∞, 0 where that row of g is zero or not finite.

    A single program, which combines what `measured` found. single: r has one number. per_row: a power of two,
    at least `parts`.
    """
    # Parts are weighed by their numbers, and the last part of a row has fewer.
    last = size - (parts - 1) * part
    total = 0.0
    for start in range(0, images * parts, block):
        place = start + tl.arange(0, block)
        ok = place < images * parts
        own = tl.where(place % parts == parts - 1, last, part).to(tl.float32)
        total += tl.sum(tl.where(ok, own * tl.load(means + place, mask=ok, other=0), 0), 0)
    # Floats, since the product of the integers may exceed 32 bits.
    count = (images * 1.0) * (size * 1.0)
    mean = total / count
    total = 0.0
    for start in range(0, images * parts, block):
        place = start + tl.arange(0, block)
        ok = place < images * parts
        own = tl.where(place % parts == parts - 1, last, part).to(tl.float32)
        apart = tl.load(means + place, mask=ok, other=0) - mean
        total += tl.sum(tl.where(ok, tl.load(squares + place, mask=ok, other=0) + own * apart * apart, 0), 0)
    std = tl.sqrt(total / count)
    at = tl.arange(0, per_row)
    for start in range(0, images, 32):
        n = start + tl.arange(0, 32)
        inside = (n < images)[:, None] & (at < parts)[None, :]
        peak = tl.max(tl.load(largest + n[:, None] * parts + at[None, :], mask=inside, other=0), 1)
        which = n
        if single:
            which = n * 0
        amplitude = tl.load(r + which, mask=n < images, other=0) * std
        usable = (peak > 0) & (peak < float("inf"))
        # 1 in its place: `where` computes both of its sides, also a division by 0.
        quotient = amplitude / tl.where(usable, peak, 1)
        fine = usable & (tl.abs(quotient) < float("inf"))  # which nan is not
        tl.store(factor + n, tl.where(fine, quotient, 0), mask=n < images)


@triton.jit
def perturbed(h, g, rows, factor, out, size, has_rows: tl.constexpr, block: tl.constexpr):
    """Write out[n] = h[n] + factor[n] · g[rows[n]]."""
    blocks = tl.cdiv(size, block)
    n = tl.program_id(0) // blocks
    place = tl.program_id(0) % blocks * block + tl.arange(0, block)
    row = n.to(tl.int64)
    if has_rows:
        row = tl.load(rows + n)
    by = tl.load(factor + n)
    ok = place < size
    x = tl.load(h + n.to(tl.int64) * size + place, mask=ok, other=0).to(tl.float32)
    # A row that is not finite has the factor 0, and 0 · inf would be NaN: it is not read.
    if by != 0:
        x += by * tl.load(g + row * size + place, mask=ok, other=0).to(tl.float32)
    tl.store(out + n.to(tl.int64) * size + place, x.to(out.dtype.element_ty), mask=ok)


@triton.jit
def remembered(
    cache,
    g,
    labels,
    speaking,
    largest,
    size,
    parts,
    scaled: tl.constexpr,
    per_row: tl.constexpr,
    block: tl.constexpr,
):
    """Write cache[labels[n]] = g[n], for rows that are cached for their class.

    scaled: divide by the peak, and write 0 if that is 0 or not finite.
    """
    blocks = tl.cdiv(size, block)
    n = tl.program_id(0) // blocks
    place = tl.program_id(0) % blocks * block + tl.arange(0, block)
    row = tl.load(labels + n)
    ok = (place < size) & (tl.load(speaking + row) == n)
    x = tl.load(g + n.to(tl.int64) * size + place, mask=ok, other=0).to(tl.float32)
    if scaled:
        at = tl.arange(0, per_row)
        peak = tl.max(tl.load(largest + n * parts + at, mask=at < parts, other=0), 0)
        usable = (peak > 0) & (peak < float("inf"))
        x = tl.where(usable, x / tl.where(usable, peak, 1), 0)
    tl.store(cache + row * size + place, x.to(cache.dtype.element_ty), mask=ok)
