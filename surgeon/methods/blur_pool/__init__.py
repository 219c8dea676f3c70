"""Anti-aliased downsampling: a blur before the values between two steps of a stride are left out.

Zhang, "Making Convolutional Networks Shift-Invariant Again" (ICML 2019, arXiv 1904.11486).

A stride of s keeps every s-th value. What changes faster than that shows up as something else (aliasing), so that an
image moved by one pixel gives other outputs. With a binomial filter a of m numbers for each axis, here m = 3,

    a = (1, 2, 1) / 4
    max pooling of stride s     →  max pooling of stride 1, then the blur with stride s
    convolution of stride s     →  the blur with stride 1, then the convolution of stride s

Both keep the size of the output. A blur and a convolution, of kernel W and dilation d, are one larger convolution,
whose kernel is the product

    W'[i] = Σ_j W[j] a[i − d j]

so that a blurred convolution folds. A maximum is not linear, and a blurred max pooling does not fold.

Here: the paper blurs behind the convolution and the ReLU after it. A blur in front of a convolution gives what one
directly behind it would give, since both are sums over shifts. The blur extends the image as the convolution itself
pads it, which makes folding exact at the border too; behind a max pooling the last values are repeated, where the
authors' code reflects them, since that needs a map larger than the filter.

Files: `operation.py` has what recipes name, `maths.py` filter and product, `module.py` the blur, `cut.py` the modules
that stand there afterwards.
"""

from surgeon.lazy import lazily
from surgeon.methods.blur_pool.operation import BlurPooling

_HERE = "surgeon.methods.blur_pool."
_LAYERS = {"Blur": _HERE + "module", "blur_filter": _HERE + "maths", "with_blur": _HERE + "maths"}
__all__ = ["BlurPooling", *_LAYERS]  # noqa: PLE0604
__getattr__, __dir__ = lazily(__name__, _LAYERS)
