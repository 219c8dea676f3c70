"""A second set of a norm's tensors, and the block in which a network uses it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from surgeon.tensors.optional_state import OptionalState
from surgeon.tensors.traced import Proxy, called


class Auxiliary(OptionalState):
    """Base of layers behind a norm that keep other tensors for it, under the same names. The input passes as it is."""

    swapped = False
    """Whether the main norm has these tensors now, and this layer those of the main norm."""

    def swap(self, norm: nn.Module) -> None:
        """Exchange tensors with the main norm; a second call gives them back.

        Args:
            norm: The main norm.
        """
        kinds: Any = ((self._parameters, norm._parameters), (self._buffers, norm._buffers))
        for mine, theirs in kinds:
            for name in mine.keys() & theirs.keys():
                mine[name], theirs[name] = theirs[name], mine[name]
        self.swapped = not self.swapped

    def forward(self, x: Tensor) -> Tensor:
        return called(self, x) if isinstance(x, Proxy) else x


@contextlib.contextmanager
def auxiliary_norms(model: nn.Module) -> Iterator[None]:
    """Have a network normalise by its auxiliary batch norms, in training and in evaluation mode.

    Their tensors take the places of the main norms', so that a call costs what it did. A backward pass may come after
    the block: gradients go to the norms that were used. Within the block the network's state dict, and what is saved of
    it, has the two sets exchanged.

    Args:
        model: A network, also wrapped in DistributedDataParallel or torch.compile; without auxiliary norms nothing
            happens.

    Yields:
        None.

    Examples:
        >>> import surgeon, torch
        >>> from torch import nn
        >>> from surgeon.training import auxiliary_norms
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        >>> model = surgeon.apply(network, "advprop", input_size=(3, 4, 4)).train()
        >>> with auxiliary_norms(model):
        ...     output = model(torch.rand(6, 3, 4, 4))
        >>> [int(model.get_submodule(n).num_batches_tracked) for n in ("1", "1.auxiliary")]
        [0, 1]
    """
    pairs = [(norm, layer) for norm, layer in _pairs(model) if not layer.swapped]
    for norm, layer in pairs:
        layer.swap(norm)
    try:
        yield
    finally:
        for norm, layer in pairs:
            layer.swap(norm)


def has_auxiliary_norms(model: nn.Module) -> bool:
    """Say whether a network has auxiliary norms.

    Args:
        model: A network.

    Returns:
        Whether it has.

    Examples:
        >>> import surgeon
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        >>> has_auxiliary_norms(network), has_auxiliary_norms(surgeon.apply(network, "advprop", input_size=(3, 4, 4)))
        (False, True)
    """
    return any(True for _ in _pairs(model))


def _pairs(model: nn.Module) -> Iterator[tuple[nn.Module, Auxiliary]]:
    """Yield each main norm and its auxiliary one."""
    for module in model.modules():
        for child in module.children():
            if isinstance(child, Auxiliary):
                yield module, child
