"""Annealing: layers whose effect grows from none to full while the network is trained."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from surgeon.edits import Edit, Plan
from surgeon.methods.base import Operation
from surgeon.methods.registry import parse


def anneals(model: nn.Module) -> bool:
    """Return whether any layer of the model is annealed.

    Args:
        model: A network, rewritten or stock.

    Returns:
        Whether `anneal` changes it.
    """
    return any(True for _ in annealed(model))


def anneal(model: nn.Module, progress: float) -> None:
    """Set every annealed layer to its share of the effect.

    The operations in the model's record decide which layers are annealed and how (`Operation.anneals`,
    `Operation.anneal`). A stock network is left unchanged.

    Args:
        model: The network.
        progress: From 0 (the network as before the surgery) to 1 (the full method); clipped to this range.

    Examples:
        >>> import surgeon
        >>> from torch import nn
        >>> from surgeon.training import anneal
        >>> stock = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(16, 3))
        >>> settings = {"weight-map.start": "anneal"}
        >>> model = surgeon.apply(stock, "wm-smoothing", input_size=(3, 6, 6), settings=settings)
        >>> anneal(model, 0.5)  # in the middle of the training
    """
    progress = min(max(progress, 0.0), 1.0)
    for operation, edit, layer in annealed(model):
        operation.anneal(edit, layer, progress)


def annealed(model: nn.Module) -> Iterator[tuple[Operation, Edit, nn.Module]]:
    """Yield each annealed layer of a model, with its operation and its edit.

    Args:
        model: A network, rewritten or stock.

    Yields:
        (operation, edit, layer).
    """
    record = getattr(model, "surgery", None)
    if not isinstance(record, Plan):
        return
    operations = {key: parse(settings) for key, settings in record.operations.items()}
    for edit in record.edits:
        operation, place = operations[edit.operation], edit.layer or (edit.site if edit.replaces else None)
        if place is not None and operation.anneals(edit):
            yield operation, edit, model.get_submodule(place)
