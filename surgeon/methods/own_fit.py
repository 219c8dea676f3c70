"""Call an operation's `fit`, and look at what it leaves: a start that nothing else would measure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from surgeon.edits import Edit
from surgeon.errors import SurgeonError, SurgeryError, line_of
from surgeon.methods.base import Observed, Operation, Unfitted


def fit_of(operation: Operation, edit: Edit, seen: Observed) -> float | None:
    """Let an operation fit one edit.

    Args:
        operation: The operation.
        edit: The edit.
        seen: The calibration images at the edit.

    Returns:
        The remaining relative error, or None.

    Raises:
        SurgeryError: `fit` raised something else than a SurgeonError, gave no number, changed a tensor's shape, or
            wrote values that are not finite, although those of two or more images are.
        Unfitted: The site keeps its initial start.
        SurgeonError: Raised by `fit`; the message names operation and site.
    """
    place = f"{edit.operation} at {edit.site}, fit"
    before = {name: (t.shape, _finite(t)) for name, t in _tensors(seen)}
    try:
        error: Any = operation.fit(edit, seen)
    except (Unfitted, torch.OutOfMemoryError):
        raise
    except SurgeonError as raised:
        raised.at(place)
        raise
    except Exception as raised:  # an operation of another package may raise anything
        raise SurgeryError(f"{place}: {type(raised).__name__}: {line_of(raised)}") from raised
    if isinstance(error, Tensor) and error.numel() == 1:
        error = error.item()
    if error is not None and (isinstance(error, bool) or not isinstance(error, Real)):
        raise SurgeryError(
            f"{place}: it returned {_shown(error)}; return the relative error that remains as a number, or None"
        )
    # Of one image a norm before this site may have no variance, and that is told where it is measured.
    sound = _finite(seen.inputs) and len(seen.inputs) > 1
    for name, tensor in _tensors(seen):
        shape, finite = before.get(name, (tensor.shape, True))
        if tensor.shape != shape:
            raise SurgeryError(
                f"{place}: {name} has the shape {tuple(tensor.shape)} afterwards and had {tuple(shape)}: copy the "
                "values into it (copy_)"
            )
        if sound and finite and not _finite(tensor):
            raise SurgeryError(f"{place}: it wrote values into {name} that are not finite")
    if error is not None and sound and not math.isfinite(error):
        raise SurgeryError(
            f"{place}: the error that it returned is {float(error)}; return None where it is not known"
        )
    return None if error is None else float(error)


def _tensors(seen: Observed) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors that a fit may write, by name."""
    parts: tuple[tuple[str, nn.Module | None], ...] = (("layer", seen.layer), ("module", seen.module))
    for part, module in parts:
        if part == "module" and (module is None or not list(module.parameters(recurse=False))):
            continue  # the input's module is the network itself
        for name, tensor in (module.state_dict(keep_vars=True) if module is not None else {}).items():
            if isinstance(tensor, Tensor):
                yield f"{part}.{name}", tensor.detach()


def _finite(tensor: Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex()) or bool(torch.isfinite(tensor).all())


def _shown(value: object) -> str:
    text = " ".join(repr(value).split())
    return f"{text[:40]} (a {type(value).__name__})"
