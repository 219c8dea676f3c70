"""Annealing: layers whose effect grows from nothing to full while the network is trained."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from torch import nn

from surgeon.edits import Edit, Plan
from surgeon.methods.base import Operation
from surgeon.methods.registry import parse


def growing(model: nn.Module) -> tuple[str, ...]:
    """List the layers whose effect a training is to grow: the annealed ones that have not their whole effect yet.

    Args:
        model: A network, rewritten or stock.

    Returns:
        Their dotted names.
    """
    return tuple(place for op, edit, place, layer in annealed(model) if not op.whole(edit, layer))


def anneal(model: nn.Module, progress: float, only: Collection[str] | None = None) -> None:
    """Set every annealed layer to its share of the effect.

    The operations in the model's record decide which layers are annealed and how (`Operation.anneals`,
    `Operation.anneal`). A stock network is left unchanged.

    Args:
        model: The network.
        progress: From 0 (the network as before the surgery) to 1 (the full method); clipped to this range.
        only: Dotted names of the layers to set; None for all.

    Raises:
        LayerError: A layer cannot go back: the convolution of a weight map is dropped at its end.

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
    for operation, edit, place, layer in annealed(model):
        if only is None or place in only:
            operation.anneal(edit, layer, progress)


def annealed(model: nn.Module) -> Iterator[tuple[Operation, Edit, str, nn.Module]]:
    """Yield each annealed layer of a model, with its operation, its edit and its name.

    Args:
        model: A network, rewritten or stock.

    Yields:
        (operation, edit, dotted name, layer).
    """
    record = getattr(model, "surgery", None)
    if not isinstance(record, Plan):
        return
    operations = {key: parse(settings) for key, settings in record.operations.items()}
    for edit in record.edits:
        operation, place = operations[edit.operation], edit.layer or (edit.site if edit.replaces else None)
        if place is not None and operation.anneals(edit):
            yield operation, edit, place, model.get_submodule(place)
