"""Weights that are NaN or infinite, and variances below 0: a training that diverged, or a damaged file, leaves such
values, and all that follows fails oddly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from surgeon import tree
from surgeon.errors import ArtifactError
from surgeon.values import has_values

_NAMED = 3


def check_finite_weights(model: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Check that weights are finite and that variances have a root.

    A buffer may be infinite where the network's own is: a mask. A network's own parameters are not asked, since one
    that is made for the weights of a folder has not drawn them.

    Args:
        model: the network.
        weights: name → tensor; names that the network lacks are ignored.
        source: where the weights come from, for the message.

    Raises:
        ArtifactError: some are or have not; the message names up to three tensors with the number of such values.
    """
    own = model.state_dict()
    parameters = {n for n, _ in model.named_parameters(remove_duplicate=False)}
    odd = _words(
        (n, t) for n, t in weights.items() if n in own and _odd(t) and (n in parameters or not _odd(own[n]))
    )
    if words := odd or _below_zero(model, weights):
        raise ArtifactError(f"{source} {words}")


def not_finite(model: nn.Module) -> str:
    """Say that weights of a network are NaN or infinite, or variances below 0, in the words of `check_finite_weights`.

    Nothing else tells what is meant in a network by itself, so that infinite buffers count as masks.

    Args:
        model: the network.

    Returns:
        "holds weights that are NaN or infinite: …" or "holds variances below 0: …", to be put behind the name of the
        network; "" where none are.

    Examples:
        >>> import torch
        >>> not_finite(torch.nn.Linear(1, 1))
        ''
    """
    parameters = dict(model.named_parameters())
    every = {**dict(model.named_buffers()), **parameters}
    plain = {
        n: t for n, t in every.items() if type(t) in (Tensor, nn.Parameter) and t.layout == torch.strided
    }
    odd = _words((n, t) for n, t in plain.items() if _odd(t) and (n in parameters or bool(t.isnan().any())))
    return odd or _below_zero(model, plain)


def _below_zero(model: nn.Module, values: Mapping[str, Tensor]) -> str:
    """The words for norms' variances that have no root, also with the norm's eps; "" without such."""
    named = []
    for name, module in tree.modules(model):
        key = f"{name}.running_var" if name else "running_var"
        variance, eps = values.get(key), getattr(module, "eps", None)
        if not isinstance(variance, Tensor) or not isinstance(eps, float) or not has_values(variance):
            continue
        if below := int((variance.double() + eps < 0).sum()):
            named.append(f"{key} ({below:,} of {variance.numel():,} values)")
    if not named:
        return ""
    return (
        f"holds variances below 0: {_few(named)}; no training leaves them: the file is damaged, "
        "or its values were changed"
    )


def _few(named: list[str]) -> str:
    """The first names, and how many more there are."""
    more = f", and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    return f"{', '.join(named[:_NAMED])}{more}"


def _words(odd: Iterable[tuple[str, Tensor]]) -> str:
    """The words for tensors with values that are not finite; "" without such tensors."""
    named = [f"{name} ({_odd(tensor):,} of {tensor.numel():,} values)" for name, tensor in odd]
    if not named:
        return ""
    return (
        f"holds weights that are NaN or infinite: {_few(named)}; a training that "
        "diverged leaves such weights: take those from before"
    )


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no value of any tensor is NaN or infinite.

    Args:
        tensors: tensors of any type; those of whole numbers are finite.
    """
    return not any(map(_odd, tensors))


def _odd(tensor: object) -> int:
    """How many values of a tensor are not finite; 0 for what has no values or holds no real or complex numbers."""
    if not isinstance(tensor, Tensor) or not (tensor.is_floating_point() or tensor.is_complex()):
        return 0
    if not has_values(tensor):
        return 0
    plain = tensor.float() if tensor.element_size() == 1 else tensor  # torch asks no 8-bit float
    # One pass that writes nothing: no sum is finite that has NaN or an infinite value in it. One of large values may
    # overflow, so the values are asked then.
    if bool(plain.sum().isfinite()):
        return 0
    return int((~plain.isfinite()).sum())
