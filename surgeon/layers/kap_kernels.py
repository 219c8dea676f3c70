"""Kernel average pooling as one kernel for a GPU; `kap_gpu.py` calls it."""

# mypy: disable-error-code="no-untyped-def"
# Triton reads the source of what is compiled: constants are annotated by `tl.constexpr` itself.
import triton
import triton.language as tl


@triton.jit
def _covered(place, side, half):
    """How many places of a side a window around `place` covers, half of it on each hand."""
    return tl.minimum(place + half, side - 1) - tl.maximum(place - half, 0) + 1


@triton.jit
def pooled(
    x, out, count, inner, rows, columns, half_rows: tl.constexpr, half_columns: tl.constexpr, adjoint: tl.constexpr,
    block: tl.constexpr,
):  # fmt: skip
    """Means of windows of the sheet (rows, columns); the adjoint divides each number by its own window's places.

    x, out: `count` numbers, (any, rows · columns, inner) as they lie.
    """
    channels = rows * columns
    first = tl.program_id(0).to(tl.int64) * block
    e = tl.arange(0, block)
    there = e < count - first
    channel = (
        (first // inner % channels).to(tl.int32) + ((first % inner).to(tl.int32) + e) // inner
    ) % channels
    row, column = channel // columns, channel % columns
    total = tl.zeros([block], tl.float32)
    for dr in tl.static_range(-half_rows, half_rows + 1):
        for dc in tl.static_range(-half_columns, half_columns + 1):
            r, c = row + dr, column + dc
            ok = there & (r >= 0) & (r < rows) & (c >= 0) & (c < columns)
            number = tl.load(x + first + e + (dr * columns + dc) * inner, mask=ok, other=0).to(tl.float32)
            if adjoint:
                number /= tl.where(
                    ok, _covered(r, rows, half_rows) * _covered(c, columns, half_columns), 1
                ).to(tl.float32)
            total += number
    if not adjoint:
        total /= (_covered(row, rows, half_rows) * _covered(column, columns, half_columns)).to(tl.float32)
    tl.store(out + first + e, total.to(out.dtype.element_ty), mask=there)
