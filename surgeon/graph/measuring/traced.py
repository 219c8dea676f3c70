"""What a trace is made with, and what it gives, as data."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import fx

Example = tuple[tuple[int, ...] | torch.Tensor | None, ...]
"""Shapes of a method's inputs, batch included, or tensors of such shapes and types on the meta device; None
for an input that is not a tensor."""
PLAIN_CONSTANT = "_plain_constant"
"""The prefix of the names of tensors that a network's code makes without any parameter or buffer."""
CONSTANTS = ("_tensor_constant", PLAIN_CONSTANT)
"""The prefixes of the names of all tensors that graphs hold."""
Behind = Mapping[str, Sequence[str]]
"""Layers that stand after a module, by its name."""


@dataclass(frozen=True)
class Asked:
    """What code asked for while it was traced, whose answers the graphs hold.

    settings: attributes of modules, and of objects that they hold, as (module's name, attribute). types: parameters
    and buffers whose type was asked. by_type: whether code decided by the type of an input or of what it had computed.
    looked_into: modules whose children the code may have gone through, by name, whether it called any or not; walked:
    those that a walk of torch's went through for it. modes: whether anything read or set a module's mode, or may have;
    otherwise the code does the same in both.
    """

    settings: tuple[tuple[str, str], ...] = ()
    types: tuple[str, ...] = ()
    by_type: bool = False
    looked_into: tuple[str, ...] = ()
    walked: tuple[str, ...] = ()
    modes: bool = True

    def __or__(self, other: Asked) -> Asked:
        return Asked(
            tuple(sorted({*self.settings, *other.settings})),
            tuple(sorted({*self.types, *other.types})),
            self.by_type or other.by_type,
            tuple(sorted({*self.looked_into, *other.looked_into})),
            tuple(sorted({*self.walked, *other.walked})),
            self.modes or other.modes,
        )


@dataclass
class Traced:
    """The graphs of one method: `train` and `eval`, the modules that were kept whole because tracing failed
    inside them (dotted name → reason), tensors that the code made on the way, whether the graphs hold
    for one input size only, what the code asked for, and what of an export it asked, where the graphs hold for
    the answer no alone (`exporting.py`)."""

    train: fx.Graph
    eval: fx.Graph
    opaque: dict[str, str] = field(default_factory=dict)
    constants: dict[str, torch.Tensor] = field(default_factory=dict)
    sized: bool = False
    asked: Asked = Asked()
    questions: tuple[str, ...] = ()


def copied(traced: Traced) -> Traced:
    """A trace of its own graphs and constants, to be changed."""
    return Traced(
        copy.deepcopy(traced.train),
        copy.deepcopy(traced.eval),
        dict(traced.opaque),
        {k: v.clone() for k, v in traced.constants.items()},
        traced.sized,
        traced.asked,
        traced.questions,
    )
