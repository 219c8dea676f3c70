"""Annealing: layers whose effect grows from nothing to all of it while the network is trained."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from surgeon.edits import Edit, Plan
from surgeon.methods.base import Operation
from surgeon.methods.registry import parse


def anneals(model: nn.Module) -> bool:
    """Whether any layer of the model is to be annealed."""
    return any(True for _ in _annealed(model))


def anneal(model: nn.Module, progress: float) -> None:
    """Set every annealed layer to its share at `progress`, 0 (the network as it was) to 1 (the whole method).

    Which layers anneal, and how, their operations say (`Operation.anneals`, `Operation.anneal`), by the model's record.
    """
    progress = min(max(progress, 0.0), 1.0)
    for operation, edit, layer in _annealed(model):
        operation.anneal(edit, layer, progress)


def _annealed(model: nn.Module) -> Iterator[tuple[Operation, Edit, nn.Module]]:
    record = getattr(model, "surgery", None)
    if not isinstance(record, Plan):
        return
    operations = {key: parse(settings) for key, settings in record.operations.items()}
    for edit in record.edits:
        operation, place = operations[edit.operation], edit.layer or (edit.site if edit.replaces else None)
        if place is not None and operation.anneals(edit):
            yield operation, edit, model.get_submodule(place)
