"""Two kernels for a GPU: the weight map's product and filter in one, and the filter alone. `weight_map_gpu.py` calls them.

All activations are (N, H, W, C) in memory, channels_last, and all sums are in float32. A product at a position is needed by
the windows of its neighbours too: the first kernel goes along two rows at a time and keeps the sums of the last columns, so
that each product is computed twice in place of nine times, and neither it nor its sum ever lies in the GPU's memory.
"""

# Triton reads the source of what is compiled: constants are annotated by `tl.constexpr` itself.
import triton
import triton.language as tl


@triton.jit
def filtered(
    m, bias, out, sums, images, height, width, channels, box, centre,
    rows_k: tl.constexpr, columns_k: tl.constexpr, row_0: tl.constexpr, column_0: tl.constexpr,
    centre_row: tl.constexpr, centre_column: tl.constexpr, has_centre: tl.constexpr, has_bias: tl.constexpr,
    has_sums: tl.constexpr, chunk: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """out[p] = box · (the sum of m over a window of rows_k × columns_k from p - (row_0, column_0)) + centre · m[its middle] + bias.

    A program has a part of one row, (column, channel) as they lie, of `chunk` images. bias: (C, H, W); sums: (chunks, H, W, C),
    m added up over the images.
    """
    parts = tl.cdiv(width * channels, block)
    row = tl.program_id(0) // parts
    place = (tl.program_id(0) % parts) * block + tl.arange(0, block)
    there = place < width * channels
    column = place // channels
    image = height * width * channels
    offset = row * width * channels + place
    total = tl.zeros([block], tl.float32)
    added = tl.zeros([block], tl.float32)
    if has_bias:
        at = (place % channels) * (height * width) + row * width + column
        added = tl.load(bias + at, mask=there, other=0).to(tl.float32)
    for i in range(chunk):
        n = tl.program_id(1) * chunk + i
        here = m + n.to(tl.int64) * image + offset
        window = tl.zeros([block], tl.float32)
        for dh in tl.static_range(rows_k):
            inside = (n < images) & (row + dh - row_0 >= 0) & (row + dh - row_0 < height)
            for dw in tl.static_range(columns_k):
                ok = there & inside & (column + dw - column_0 >= 0) & (column + dw - column_0 < width)
                shift = ((dh - row_0) * width + dw - column_0) * channels
                window += tl.load(here + shift, mask=ok, other=0).to(tl.float32)
        result = window * box + added
        if has_centre:
            inside = (n < images) & (row + centre_row - row_0 >= 0) & (row + centre_row - row_0 < height)
            at_column = column + centre_column - column_0
            shift = ((centre_row - row_0) * width + centre_column - column_0) * channels
            ok = there & inside & (at_column >= 0) & (at_column < width)
            result += centre * tl.load(here + shift, mask=ok, other=0).to(tl.float32)
        if has_sums:
            total += tl.load(here, mask=there & (n < images), other=0).to(tl.float32)
        tl.store(out + n.to(tl.int64) * image + offset, result.to(out.dtype.element_ty), mask=there & (n < images))
    if has_sums:
        tl.store(sums + tl.program_id(1).to(tl.int64) * image + offset, total, mask=there)


@triton.jit
def _product(
    total, x, maps, n, o, images, row, column, height, width, c_in, c_out,
    block_k: tl.constexpr, rounds: tl.constexpr, unroll: tl.constexpr,
):  # fmt: skip
    """total + x[n, row, column, :] · maps[row, column, :, o], (block_n, block_o); total alone outside of the image."""
    inside = (row >= 0) & (row < height) & (column < width)
    place = (row * width + column).to(tl.int64)
    k = tl.arange(0, block_k)
    left = x + n.to(tl.int64)[:, None] * (height * width * c_in) + (place * c_in + k[None, :])
    right = maps + place * c_in * c_out + (k[:, None] * c_out + o[None, :])
    if unroll:
        for i in tl.static_range(rounds):
            total = _added(total, left, right, n, o, k, i * block_k, inside, images, c_in, c_out)
    else:
        for i in range(rounds):
            total = _added(total, left, right, n, o, k, i * block_k, inside, images, c_in, c_out)
    return total


@triton.jit
def _added(total, left, right, n, o, k, first, inside, images, c_in, c_out):
    within = inside & (first + k < c_in)
    a = tl.load(left + first, mask=within[None, :] & (n < images)[:, None], other=0)
    b = tl.load(right + first * c_out, mask=within[:, None] & (o < c_out)[None, :], other=0)
    return tl.dot(a, b.to(a.dtype), total)


@triton.jit
def _write(out, bias, value, n, o, images, row, column, height, width, c_out, has_bias: tl.constexpr):
    ok = (n < images)[:, None] & (o < c_out)[None, :] & (row < height) & (column >= 0)
    if has_bias:
        at = o * (height * width) + row * width + column
        added = tl.load(bias + at, mask=(o < c_out) & (row < height) & (column >= 0), other=0)
        value += added.to(tl.float32)[None, :]
    place = (row * width + column).to(tl.int64)
    at = out + n.to(tl.int64)[:, None] * (height * width * c_out) + (place * c_out + o[None, :])
    tl.store(at, value.to(out.dtype.element_ty), mask=ok)


@triton.jit
def mapped_and_filtered(
    x, maps, bias, out, images, height, width, c_in, c_out, box, centre, has_centre: tl.constexpr, has_bias: tl.constexpr,
    block_n: tl.constexpr, block_o: tl.constexpr, block_k: tl.constexpr, rounds: tl.constexpr,
    unroll: tl.constexpr,
):  # fmt: skip
    """A weight map with a window of 3 × 3 in the middle of its zeros: x (N, H, W, C_in), maps (H·W, C_in, C_out), out (N, H, W, C_out).

    A program has two rows of block_n images and block_o output channels; rounds · block_k ≥ C_in.
    """
    tiles_o, tiles_n = tl.cdiv(c_out, block_o), tl.cdiv(images, block_n)
    tile = tl.program_id(0)
    o = (tile % tiles_o) * block_o + tl.arange(0, block_o)
    n = (tile // tiles_o % tiles_n) * block_n + tl.arange(0, block_n)
    row = tile // (tiles_o * tiles_n) * 2
    zero = tl.zeros([block_n, block_o], tl.float32)
    upper_1, lower_1 = zero, zero  # box · the sum of three rows, a column back
    upper, lower = zero, zero  # what the output there has so far
    for column in range(width + 1):
        above = _product(zero, x, maps, n, o, images, row - 1, column, height, width, c_in, c_out, block_k, rounds, unroll)
        below = _product(zero, x, maps, n, o, images, row + 2, column, height, width, c_in, c_out, block_k, rounds, unroll)
        here = _product(zero, x, maps, n, o, images, row, column, height, width, c_in, c_out, block_k, rounds, unroll)
        if has_centre:
            next_row = _product(zero, x, maps, n, o, images, row + 1, column, height, width, c_in, c_out, block_k, rounds, unroll)
            both = here + next_row
        else:
            both = _product(here, x, maps, n, o, images, row + 1, column, height, width, c_in, c_out, block_k, rounds, unroll)
        above = (above + both) * box
        below = (below + both) * box
        _write(out, bias, upper + above, n, o, images, row, column - 1, height, width, c_out, has_bias)
        _write(out, bias, lower + below, n, o, images, row + 1, column - 1, height, width, c_out, has_bias)
        upper, lower = upper_1 + above, lower_1 + below
        if has_centre:
            upper += here * centre
            lower += next_row * centre
        upper_1, lower_1 = above, below
