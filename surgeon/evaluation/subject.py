"""What is really evaluated: a model that folds exactly is folded first."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from surgeon.errors import VerificationError
from surgeon.evaluation.quiet import held_still
from surgeon.surgery import fold
from surgeon.surgery.tree import surgery_of
from surgeon.verification import FOLD_TOLERANCE, relative


class Evaluated(NamedTuple):
    """The network to attack, and by how much it differs from the one that was given; None where it is the same."""

    model: nn.Module
    error: float | None


def folded(model: nn.Module, images: Tensor) -> Evaluated:
    """The stock network that a rewritten one folds into, after checking on `images` that both agree; else the model.

    images: (N, C, H, W) as the model takes them, a few suffice.

    Raises VerificationError when the record says that the model folds, and the folded one differs.
    """
    record = surgery_of(model)
    if record is None or not record.folds:
        return Evaluated(model, None)
    found = fold(model)
    with held_still(model), held_still(found), torch.no_grad():
        error = relative(found(images), model(images))
    if error > 10 * FOLD_TOLERANCE:
        raise VerificationError(
            f"the folded network differs from the rewritten one by {error:.1e}; neither can be trusted"
        )
    return Evaluated(found, error)


def evaluated(model: nn.Module, images: Tensor) -> nn.Module:
    """The network of `folded` alone."""
    return folded(model, images).model
