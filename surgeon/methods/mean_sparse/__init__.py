"""MeanSparse: activations close to their channel's mean are replaced by the mean.

Amini, Teymoorianfard, Ma, Houmansadr, "MeanSparse: Post-Training Robustness Enhancement Through Mean-Centered
Feature Sparsification" (arXiv 2406.05927).

Before an activation function stands, per channel with mean μ and deviation σ over the training images,

    out = μ   where |z − μ| ≤ α σ
    out = z   elsewhere

Small variations around the mean are frequent and tell little, but an attacker can use them. The network is trained
before, usually on adversarial examples, and is not trained again. α is as large as the loss of accuracy allows.

The threshold has no gradient inside the band: an attack that follows gradients is weakened by that alone, and
robustness must be judged by attacks that put the identity in its place (BPDA), as RobustBench's footnotes do.

Files: `operation.py` has what recipes name, `maths.py` the equation, `module.py` the layer.
"""

from surgeon.lazy import lazily
from surgeon.methods.mean_sparse.operation import MeanSparse

_HERE = "surgeon.methods.mean_sparse."
_LAYERS = {"MeanSparsification": _HERE + "module", "mean_sparse": _HERE + "maths"}
__all__ = ["MeanSparse", *_LAYERS]  # noqa: PLE0604
__getattr__, __dir__ = lazily(__name__, _LAYERS)
