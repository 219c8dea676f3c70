"""Dual norms: adversarial images in training are normalised by batch norms of their own.

Xie, Tan, Gong, Wang, Yuille, Le, "Adversarial Examples Improve Image Recognition" (AdvProp, CVPR 2020, arXiv
1911.09665).

Attacked images have other statistics than clean ones. Each batch norm gets an auxiliary one, with scale γ', shift β'
and running statistics of its own; all other weights are shared. A step of training (Algorithm 1) is

    xᵃ = attack(x, auxiliary norms)
    minimise  L(x; main norms) + L(xᵃ; auxiliary norms)

In use, and under attack, the network is the one with the main norms: the stock network.

The auxiliary norms begin as copies of the main ones, and are used where a caller says so:

    with auxiliary_norms(model):
        loss = loss + loss_fn(model(attacked), y)

`surgeon train` does that with every adversary (`training.adversary`).

Files: `operation.py` has what recipes name, `module.py` the auxiliary tensors,
`tensors/auxiliary.py` the context.
"""

from surgeon.lazy import lazily
from surgeon.methods.dual_norm.operation import DualNorm

_HERE = "surgeon.methods.dual_norm."
_LAYERS = {
    "AuxiliaryNorm": _HERE + "module",
    "auxiliary_norms": "surgeon.tensors.auxiliary",
    "has_auxiliary_norms": "surgeon.tensors.auxiliary",
}
__all__ = ["DualNorm", *_LAYERS]  # noqa: PLE0604
__getattr__, __dir__ = lazily(__name__, _LAYERS)
