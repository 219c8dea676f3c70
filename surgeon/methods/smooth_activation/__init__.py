"""Smooth activations: ReLU gives way to a function with a continuous gradient.

Xie, Tan, Gong, Yuille, Le, "Smooth Adversarial Training" (arXiv 2006.14536).

With f one of the functions below, ReLU(z) becomes

    out = f(β z) / β

    silu      f(z) = z sigmoid(z)
    gelu      f(z) = z Φ(z)          Φ: the standard normal distribution function
    softplus  f(z) = log(1 + exp z)

The gradient of ReLU jumps at 0, which makes the attacks of adversarial training weaker and its steps worse, the paper
argues; it trains with a smooth function from the start. The larger β is, the closer it is to ReLU: the difference is
at most c / β, with c = 0.28, 0.17 and log 2 ≈ 0.69.

Here a trained network may start close to what it was: on calibration images the largest smoothness 1/β is searched
that changes at most a share `budget` of the predictions. Without images β is 1, as usual for networks to be trained.

Files: `operation.py` has what recipes name, `maths.py` the equation, `module.py` the layer.
"""

from surgeon.lazy import lazily
from surgeon.methods.smooth_activation.operation import SmoothActivation

_HERE = "surgeon.methods.smooth_activation."
_LAYERS = {"SmoothReLU": _HERE + "module", "smooth_relu": _HERE + "maths"}
__all__ = ["SmoothActivation", *_LAYERS]  # noqa: PLE0604
__getattr__, __dir__ = lazily(__name__, _LAYERS)
