"""Forward hooks that call their own layer."""

from __future__ import annotations

from typing import Any

from torch import nn


class PastOwnCalls:
    """A forward hook that is passed over in the calls of the layer which it makes itself.

    So what stands in a layer's place may compute with that layer.

    Args:
        hook: The hook, as torch calls it.
    """

    def __init__(self, hook: Any) -> None:
        self.hook, self.inside = hook, False

    def __call__(self, layer: nn.Module, given: tuple[Any, ...], output: Any) -> Any:
        if self.inside:
            return None
        self.inside = True
        try:
            return self.hook(layer, given, output)
        finally:
            self.inside = False
