"""The smallest kernel: it copies a tensor, to find out whether Triton compiles here."""

# mypy: disable-error-code="no-untyped-def"
# Triton reads the source of what is compiled: constants are annotated by `tl.constexpr` itself.
import triton
import triton.language as tl


@triton.jit
def copied(source, target, size, block: tl.constexpr):
    """target[i] = source[i] for i below `size`, at most `block`."""
    place = tl.arange(0, block)
    tl.store(target + place, tl.load(source + place, mask=place < size), mask=place < size)
