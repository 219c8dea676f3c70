"""Weights that are NaN or infinite: a training that diverged leaves such files, and all that follows fails oddly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from surgeon.errors import ArtifactError
from surgeon.values import has_values

_NAMED = 3


def check_finite_weights(model: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Check that weights are finite where the network's own values are: a mask may be infinite on purpose.

    Args:
        model: the network.
        weights: name → tensor; names that the network lacks are ignored.
        source: where the weights come from, for the message.

    Raises:
        ArtifactError: some are not; the message names up to three tensors with the number of such values.
    """
    own = model.state_dict()
    odd = [
        f"{name} ({number:,} of {tensor.numel():,} values)"
        for name, tensor in weights.items()
        if name in own and (number := _odd(tensor)) and not _odd(own[name])
    ]
    if odd:
        more = f", and {len(odd) - _NAMED} more" if len(odd) > _NAMED else ""
        raise ArtifactError(
            f"{source} holds weights that are NaN or infinite: {', '.join(odd[:_NAMED])}{more}; a training that "
            "diverged leaves such weights: take those from before"
        )


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no value of any tensor is NaN or infinite.

    Args:
        tensors: tensors of any type; those that hold no floats are finite.
    """
    return not any(map(_odd, tensors))


def _odd(tensor: object) -> int:
    """How many values of a tensor are not finite; 0 for what has no values or is not a plain tensor of floats."""
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or not has_values(tensor):
        return 0
    plain = tensor.float() if tensor.element_size() == 1 else tensor  # torch asks no 8-bit float
    # One pass that writes nothing: no sum is finite that has NaN or an infinite value in it. One of large values may
    # overflow, so the values are asked then.
    if bool(plain.sum().isfinite()):
        return 0
    return int((~plain.isfinite()).sum())
