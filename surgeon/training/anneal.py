"""Annealing: layers whose effect grows from nothing to full while the network is trained."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from surgeon.methods.annealed import annealed


def anneal(model: nn.Module, progress: float, only: Collection[str] | None = None) -> None:
    """Set every annealed layer to its share of the effect.

    The operations in the records of the model, and of networks inside it, decide which layers are annealed and how
    (`Operation.anneals`, `Operation.anneal`). A stock network is left unchanged.

    Args:
        model: The network, or a module around it.
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
