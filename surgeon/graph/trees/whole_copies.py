"""What the copy of a network lacks, or has otherwise, where a class says itself how it is copied.

Surgery works on a copy, so that the cut network is one of it. A class may leave a lock out of its copies, or a
counter; it may as well lose what its code computes with. Which of the two it is, the copy does not say.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from surgeon.errors import SurgeryWarning
from surgeon.graph.trees.own_attributes import OURS
from surgeon.graph.trees.remembered import PLAIN, in_words
from surgeon.graph.trees.slots import MISSING, slots_of
from surgeon.tree import modules
from surgeon.values import has_values
from surgeon.warned import warn

_TORCHS = frozenset(nn.Module().__dict__) - {"training"}
_HELD = ("_parameters", "_buffers")


def tell_of_others(new: object, module: nn.Module, under: str, way: str) -> None:
    """Warn of what is otherwise in a copy of a module than in the module.

    Args:
        new: The copy.
        module: The module.
        under: Its name in the network; "" for the network.
        way: What of a class says how it is copied, in words.
    """
    if not isinstance(new, nn.Module):
        return
    named = dict(modules(new))
    prefix = f"{under}." if under else ""
    differing = [
        f"{prefix}{what}"
        for name, part in modules(module)
        if name in named
        for what in _differing(name, part, named[name])
    ]
    if differing:
        more = f" (and {len(differing) - 1} more)" if len(differing) > 1 else ""
        warn(
            f"{under or 'the network'} is copied by {way}, and surgery works on a copy, in which {differing[0]}{more}: "
            "have the class copy what its code computes with",
            SurgeryWarning,
        )


def _differing(path: str, old: nn.Module, new: nn.Module) -> Iterator[str]:
    prefix = f"{path}." if path else ""
    for kind in _HELD:
        theirs = new.__dict__.get(kind, {})
        for key, tensor in old.__dict__[kind].items():
            if tensor is not None and not _equal(tensor, theirs.get(key)):
                yield f"{prefix}{key} {'is gone' if theirs.get(key) is None else 'has other values'}"
    mine, its = _attributes(old), _attributes(new)
    for key, value in mine.items():
        if key not in its:
            yield f"{prefix}{key} is gone"
        elif isinstance(value, (type(None), *PLAIN)) and not _alike(value, its[key]):
            yield f"{prefix}{key} is {in_words(its[key])} in place of {in_words(value)}"


def _attributes(module: nn.Module) -> dict[str, Any]:
    own = {**module.__dict__, **dict(slots_of(module))}
    return {k: v for k, v in own.items() if k not in _TORCHS and k not in OURS and v is not MISSING}


def _alike(value: Any, other: Any) -> bool:
    return value is other or (type(value) is type(other) and bool(value == other)) or value != value


def _equal(one: torch.Tensor, other: Any) -> bool:
    if not isinstance(other, torch.Tensor):
        return False
    if is_lazy(one) or is_lazy(other) or not (has_values(one) and has_values(other)):
        return True
    return one.shape == other.shape and bool(((one == other) | (one != one)).all())
