"""Layers that stand where a layer of another kind stood, and are asked for what that one had."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from surgeon.errors import LayerError
from surgeon.torch_private import ConvNd


class NotHere(LayerError, AttributeError):
    """A layer has not the attribute that the layer which it replaced had.

    It is an AttributeError too, so that `hasattr` and `getattr` with a default say what they say of any layer.
    """


class Instead(nn.Module):
    """Base of layers that replace another kind of layer: an error says which attributes only the old kind has.

    Code that was written for the old layer, such as a loop that fuses norms into convolutions, reads its attributes.
    """

    as_convolution: ClassVar[bool] = False
    """Whether it stands for a convolution: its outputs are maps of channels."""
    _was: tuple[str, str, tuple[str, ...]] = ("", "", ())
    """The name of the place, the class that stood there, and the names of what it had and this layer lacks."""

    def stands_for(self, site: str, old: nn.Module) -> None:
        """Take note of the layer that was here.

        Args:
            site: Dotted name of the place.
            old: The layer that was there.
        """
        had = {*old.__dict__, *old._parameters, *old._buffers}
        lacks = sorted(name for name in had if not hasattr(self, name))
        self.__dict__["_was"] = (site, type(old).__name__, tuple(lacks))

    def unfit(self, state: Mapping[str, Tensor], prefix: str) -> str:
        """Say why weights are not accepted that are those of the layer which was here, and what would work.

        Args:
            state: The state dict.
            prefix: Prefix of the layer's names in it.

        Returns:
            The reason, or "" if there are no such weights. Default: "".
        """
        return ""

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            site, old, lacks = self._was
            if name not in lacks:
                raise
        raise NotHere(
            f"{site} was a {old}, and surgeon.apply put a {type(self).__name__} in its place, which has no {name}: "
            f"run code that reads it, such as a loop that fuses norms into convolutions, before surgeon.apply or "
            f"after surgeon.revert, or cut with a select that leaves {site} out"
        )


def convolves(module: nn.Module) -> bool:
    """Say whether a module is a convolution, or a layer that stands in the place of one.

    Args:
        module: The module.

    Returns:
        Whether it is.
    """
    return isinstance(module, ConvNd) or (isinstance(module, Instead) and module.as_convolution)
