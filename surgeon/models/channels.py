"""Create library networks for images with other than the default number of channels."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn

from surgeon.errors import ModelError
from surgeon.models.facts import input_size_of


class Making(Protocol):
    """Creates a network; in_chans is the number of image channels, None for the library's default."""

    def __call__(self, *, in_chans: int | None) -> nn.Module: ...


def for_channels(make: Making, in_chans: int | None, channels: int | None) -> tuple[nn.Module, int | None]:
    """Create a network for images with a given number of channels.

    A network whose default number of channels differs from `channels` is made again, from the same random
    state. It is left as it is where its library supports no other number.

    Args:
        make: creates the network.
        in_chans: the number of channels that the caller asked for; None for the default.
        channels: the number implied by the size of the images; None where unknown.

    Returns:
        The network, and the in_chans that it was made with (None for the library's default).
    """
    state = torch.get_rng_state()
    model = make(in_chans=in_chans)
    size = input_size_of(model) if channels else None
    if in_chans or not size or size[0] == channels:
        return model, in_chans
    torch.set_rng_state(state)
    try:
        return make(in_chans=channels), channels
    except ModelError:
        return model, None
