"""The one door to torchattacks: its single attacks, every argument given.

Its defaults are not used: PGD's step does not scale with ε, and L2 attacks take Linf's ε. See
docs/architecture.md on what else is avoided. Its attacks put the whole model in evaluation mode, then all of
it in training mode, and seed the global random stream: here the model is held still around each of them.
"""

from __future__ import annotations

from types import ModuleType

from torch import Tensor, nn

from surgeon.ball import STEP
from surgeon.errors import SurgeonError
from surgeon.evaluation.quiet import held_still


def torchattacks() -> ModuleType:
    """The package, imported when it is needed. Raises SurgeonError where it is not installed."""
    try:
        import torchattacks as package
    except ImportError:
        raise SurgeonError(
            "attacks need torchattacks: pip install --no-deps torchattacks==3.5.1 (its own pins are harmful), or "
            "the extra 'surgeon[eval]'"
        ) from None
    return package


def fgsm(model: nn.Module, images: Tensor, labels: Tensor, *, eps: float, seed: int = 0) -> Tensor:
    """Fast gradient sign method (Goodfellow et al. 2015), Linf. images (N, C, H, W) in [0, 1], labels (N,)."""
    package = torchattacks()
    with held_still(model, seed):
        return package.FGSM(model, eps=eps)(images, labels)


def pgd(
    model: nn.Module, images: Tensor, labels: Tensor, *, eps: float, steps: int, norm: str = "linf",
    step_size: float | None = None, random_start: bool = True, seed: int = 0,
) -> Tensor:  # fmt: skip
    """Projected gradient descent (Madry et al. 2018), Linf or L2; `step_size` is STEP · eps / steps by default."""
    size = STEP * eps / steps if step_size is None else step_size
    if norm not in ("linf", "l2"):
        raise SurgeonError(f"norm {norm!r} is not known; 'linf' and 'l2' are")
    package = torchattacks()
    settings = dict(eps=eps, alpha=size, steps=steps, random_start=random_start)
    with held_still(model, seed):
        if norm == "linf":
            attack = package.PGD(model, **settings)
        else:
            attack = package.PGDL2(model, **settings, eps_for_division=1e-30)
        return attack(images.contiguous(), labels)
