"""Squeeze-and-excitation: each channel is weighed by what all channels see in the whole image.

Hu, Shen, Sun, "Squeeze-and-Excitation Networks" (CVPR 2018, arXiv 1709.01507).

Behind a convolution with C channels, with z_c the mean of channel c over all positions,

    s = σ(W₂ max(0, W₁ z + b₁) + b₂)        W₁: C / r × C, W₂: C × C / r
    out_c = 2 s_c u_c

r is the setting `reduction`. As inserted, W₂ and b₂ are 0, so that every weight 2 s_c is exactly 1: a trained network
keeps its function, and training moves it from there.

Here: the factor 2, without which sigmoids that are 1/2 would halve all channels; biases; at least 4 hidden numbers; and
the layer stands behind each chosen convolution, where the paper has one at the end of each residual block.

Files: `operation.py` has what recipes name, `maths.py` the equation, `module.py` the layer.
"""

from surgeon.lazy import lazily
from surgeon.methods.squeeze_excite.operation import SqueezeExcitation

_HERE = "surgeon.methods.squeeze_excite."
_LAYERS = {"SqueezeExcite": _HERE + "module", "squeeze_excite": _HERE + "maths"}
__all__ = ["SqueezeExcitation", *_LAYERS]  # noqa: PLE0604
__getattr__, __dir__ = lazily(__name__, _LAYERS)
