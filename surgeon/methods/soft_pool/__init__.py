"""Max pooling gives way to an average, or to a convolution with the same stride that is fitted to it.

Springenberg, Dosovitskiy, Brox, Riedmiller, "Striving for Simplicity: The All Convolutional Net" (arXiv 1412.6806),
put a convolution of stride s in place of max pooling of stride s, with the window as its kernel. Verifiers that bound
what a network gives over a whole set of inputs, such as auto_LiRPA (Xu et al., arXiv 2002.12920), bound linear layers
without loss, and a maximum loosely or not at all.

Of a window of k numbers u, with padding as 0,

    average      out = (1 / k) Σ u
    depthwise    out = w · u + b               w and b of each channel, fitted
    conv         out = Σ_c w_c · u_c + b       over the windows of all channels c, fitted

With y the maximum that the stock network gives at the same place of the same calibration image, w and b minimise

    E (w · u + b − y)² + r (‖w − w₀‖² + b²)     w₀: the average; r: `ridge` times the mean square of u and 1

Here: the papers train from scratch; this start is ours. Where a norm that subtracts the mean follows, b stays 0. It is
not SoftPool (Stergiou et al., arXiv 2101.00440), whose weights depend on the numbers.

Files: `operation.py` has what recipes name, `maths.py` kernels and least squares, `cut.py` the modules that stand there
afterwards. All of them are torch's own, and stay when a network is folded.
"""

from surgeon.lazy import lazily
from surgeon.methods.soft_pool.operation import SoftPooling

_HERE = "surgeon.methods.soft_pool."
_LAYERS = {"fitted_kernels": _HERE + "maths", "mean_kernels": _HERE + "maths"}
__all__ = ["SoftPooling", *_LAYERS]  # noqa: PLE0604
__getattr__, __dir__ = lazily(__name__, _LAYERS)
