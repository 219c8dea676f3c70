"""The layers whose effect grows while a network is trained, and how much of it each has."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from surgeon.edits import Edit, Plan
from surgeon.errors import either
from surgeon.methods.base import Operation
from surgeon.methods.registry import parse
from surgeon.numerals import percent
from surgeon.values import has_values

if TYPE_CHECKING:
    from torch import nn


FOLDED_IN_PART = "folded-in-part"
"""The code of the note in the record of a network whose layers were folded with a part of their effect."""


def annealed(model: nn.Module) -> Iterator[tuple[Operation, Edit, str, nn.Module]]:
    """Yield each annealed layer of a model, with its operation, its edit and its name.

    Args:
        model: A network, rewritten or stock, or a module that has rewritten networks inside, such as a wrapper.

    Yields:
        (operation, edit, dotted name, layer).
    """
    for operation, edit, place in _places(model):
        yield operation, edit, place, model.get_submodule(place)


def growing(model: nn.Module) -> tuple[str, ...]:
    """List the layers whose effect a training is to grow: the annealed ones that have not their whole effect yet.

    Args:
        model: A network, rewritten or stock.

    Returns:
        Their dotted names.
    """
    return tuple(place for op, edit, place, layer in annealed(model) if op.share_of_effect(edit, layer) != 1)


def unfinished(model: nn.Module) -> str:
    """Say how many annealed layers have less than their whole effect, how much of it they have, and what to do.

    Args:
        model: A network, rewritten, folded or stock.

    Returns:
        One sentence; empty where all have their whole effect, or none is annealed.
    """
    if said := in_part(model):
        return f"{said}: " + either(
            "surgeon.training.anneal(model, 1) finishes the annealing",
            "surgeon train finishes the annealing, as does surgeon.training.anneal(model, 1) in Python",
        )
    notes = (n for _, record in _records(model, "folded_from", "surgery") for n in record.notes)
    return next((note.text for note in notes if note.code == FOLDED_IN_PART), "")


def in_part(model: nn.Module, edits: Collection[Edit] | None = None) -> str:
    """Say how many annealed layers have less than their whole effect, and how much of it they have.

    Layers that cannot say it are left out: those without values, what other code put in a layer's place, and those of
    an operation that does not answer `share_of_effect`.

    Args:
        model: A network, rewritten or stock.
        edits: The edits whose layers are meant; None for all.

    Returns:
        A sentence without its full stop; empty where all have their whole effect, or none is annealed.
    """
    shares, total = [], 0
    for operation, edit, place in _places(model):
        if edits is not None and edit not in edits:
            continue
        total += 1
        try:
            layer = model.get_submodule(place)
            if not all(map(has_values, (*layer.parameters(), *layer.buffers()))):
                continue
            share = operation.share_of_effect(edit, layer)
        except AttributeError:
            continue
        if share is not None and share < 1:
            shares.append(share)
    if not shares:
        return ""
    much = " to ".join(dict.fromkeys((_text(min(shares)), _text(max(shares)))))
    return (
        f"{len(shares)} of {total} annealed layers have {much} of their effect, so that this is not the whole "
        "method"
    )


def _text(share: float) -> str:
    return percent(round(share, 6)).replace(".0 %", " %")


def _places(model: nn.Module) -> Iterator[tuple[Operation, Edit, str]]:
    """The annealed layers of a network and of the networks inside it, each with its name in the whole."""
    for inside, record in _records(model, "surgery"):
        operations = {key: parse(settings) for key, settings in record.operations.items()}
        for edit in record.edits:
            operation, place = (
                operations[edit.operation],
                edit.layer or (edit.site if edit.replaces else None),
            )
            if place is not None and operation.anneals(edit):
                yield operation, edit, f"{inside}.{place}" if inside else place


def _records(model: nn.Module, *names: str) -> Iterator[tuple[str, Plan]]:
    """The records of a network and of those inside it, under the first of some names of attributes."""
    for inside, module in model.named_modules():
        record = next((r for n in names if isinstance(r := module.__dict__.get(n), Plan)), None)
        if record is not None:
            yield inside, record
