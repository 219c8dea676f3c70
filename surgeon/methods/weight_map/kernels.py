"""The filter of a weight map as one GPU kernel, with the layer's bias; `gpu.py` calls it."""

# mypy: disable-error-code="no-untyped-def"
# Triton reads the source of what is compiled: constants are annotated by `tl.constexpr` itself.
import triton
import triton.language as tl


@triton.jit
def _of_a_row(
    here,
    row,
    column,
    height,
    width,
    channels,
    there,
    columns_k: tl.constexpr,
    column_0: tl.constexpr,
    block: tl.constexpr,
):
    """The sum over the window's columns in that row, whose numbers begin at `here`."""
    total = tl.zeros([block], tl.float32)
    inside = there & (row >= 0) & (row < height)
    for dw in tl.static_range(columns_k):
        ok = inside & (column + dw - column_0 >= 0) & (column + dw - column_0 < width)
        total += tl.load(here + (dw - column_0) * channels, mask=ok, other=0).to(tl.float32)
    return total


@triton.jit
def _written(
    total,
    here,
    out,
    row,
    column,
    height,
    width,
    channels,
    there,
    bias,
    box,
    centre,
    bias_at,
    centre_row: tl.constexpr,
    centre_column: tl.constexpr,
    has_centre: tl.constexpr,
    has_bias: tl.constexpr,
):
    """A row of the output; here: where its numbers lie in m."""
    ok = there & (row < height)
    result = total * box
    if has_centre:
        inside = ok & (row + centre_row >= 0) & (row + centre_row < height)
        inside = inside & (column + centre_column >= 0) & (column + centre_column < width)
        shift = (centre_row * width + centre_column) * channels
        result += centre * tl.load(here + shift, mask=inside, other=0).to(tl.float32)
    if has_bias:
        result += tl.load(bias + bias_at, mask=ok, other=0).to(tl.float32)
    tl.store(out, result.to(out.dtype.element_ty), mask=ok)


@triton.jit
def filtered(
    m,
    bias,
    out,
    sums,
    images,
    height,
    width,
    channels,
    box,
    centre,
    rows_k: tl.constexpr,
    columns_k: tl.constexpr,
    row_0: tl.constexpr,
    column_0: tl.constexpr,
    centre_row: tl.constexpr,
    centre_column: tl.constexpr,
    has_centre: tl.constexpr,
    has_bias: tl.constexpr,
    has_sums: tl.constexpr,
    chunk: tl.constexpr,
    block: tl.constexpr,
):
    """Write out[p] = box · (sum of m over a window) + centre · m[its middle] + bias.

    The window has rows_k × columns_k places, from p - (row_0, column_0) on.

    Activations are (N, H, W, C) in memory, channels_last. A program processes part of four rows, (column,
    channel) in memory order, of `chunk` images, and sums a row of m once for all of its windows. centre_row,
    centre_column: the middle relative to p. bias: (C, H, W). sums: (chunks, H, W, C), m summed over the
    images. Sums are in float32.
    """
    line = width * channels
    parts = tl.cdiv(line, block)
    row = tl.program_id(0) // parts * 4
    place = (tl.program_id(0) % parts) * block + tl.arange(0, block)
    column = place // channels
    image = height * line
    offset = row * line + place
    at = (place % channels) * (height * width) + row * width + column
    sum_0 = tl.zeros([block], tl.float32)
    sum_1 = tl.zeros([block], tl.float32)
    sum_2 = tl.zeros([block], tl.float32)
    sum_3 = tl.zeros([block], tl.float32)
    for i in range(chunk):
        n = tl.program_id(1) * chunk + i
        there = (place < line) & (n < images)
        here = m + n.to(tl.int64) * image + offset
        there_out = out + n.to(tl.int64) * image + offset
        row_sum_0 = tl.zeros([block], tl.float32)
        row_sum_1 = tl.zeros([block], tl.float32)
        row_sum_2 = tl.zeros([block], tl.float32)
        row_sum_3 = tl.zeros([block], tl.float32)
        for k in tl.static_range(rows_k + 3):
            of_row = _of_a_row(
                here + (k - row_0) * line,
                row + k - row_0,
                column,
                height,
                width,
                channels,
                there,
                columns_k,
                column_0,
                block,
            )
            if k < rows_k:
                row_sum_0 += of_row
            if k >= 1 and k < rows_k + 1:
                row_sum_1 += of_row
            if k >= 2 and k < rows_k + 2:
                row_sum_2 += of_row
            if k >= 3:
                row_sum_3 += of_row
        _written(
            row_sum_0,
            here,
            there_out,
            row,
            column,
            height,
            width,
            channels,
            there,
            bias,
            box,
            centre,
            at,
            centre_row,
            centre_column,
            has_centre,
            has_bias,
        )
        _written(
            row_sum_1,
            here + line,
            there_out + line,
            row + 1,
            column,
            height,
            width,
            channels,
            there,
            bias,
            box,
            centre,
            at + width,
            centre_row,
            centre_column,
            has_centre,
            has_bias,
        )
        _written(
            row_sum_2,
            here + 2 * line,
            there_out + 2 * line,
            row + 2,
            column,
            height,
            width,
            channels,
            there,
            bias,
            box,
            centre,
            at + 2 * width,
            centre_row,
            centre_column,
            has_centre,
            has_bias,
        )
        _written(
            row_sum_3,
            here + 3 * line,
            there_out + 3 * line,
            row + 3,
            column,
            height,
            width,
            channels,
            there,
            bias,
            box,
            centre,
            at + 3 * width,
            centre_row,
            centre_column,
            has_centre,
            has_bias,
        )
        if has_sums:
            sum_0 += tl.load(here, mask=there, other=0).to(tl.float32)
            sum_1 += tl.load(here + line, mask=there & (row + 1 < height), other=0).to(tl.float32)
            sum_2 += tl.load(here + 2 * line, mask=there & (row + 2 < height), other=0).to(tl.float32)
            sum_3 += tl.load(here + 3 * line, mask=there & (row + 3 < height), other=0).to(tl.float32)
    if has_sums:
        there_sums = sums + tl.program_id(1).to(tl.int64) * image + offset
        tl.store(there_sums, sum_0, mask=place < line)
        tl.store(there_sums + line, sum_1, mask=(place < line) & (row + 1 < height))
        tl.store(there_sums + 2 * line, sum_2, mask=(place < line) & (row + 2 < height))
        tl.store(there_sums + 3 * line, sum_3, mask=(place < line) & (row + 3 < height))
