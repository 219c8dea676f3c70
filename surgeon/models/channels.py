"""Libraries' networks for images of other channels than they have by default."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn

from surgeon.errors import ModelError
from surgeon.models.facts import input_size_of


class Making(Protocol):
    """Makes a network; in_chans: for images of so many channels, None for the library's default."""

    def __call__(self, *, in_chans: int | None) -> nn.Module: ...


def for_channels(make: Making, in_chans: int | None, channels: int | None) -> tuple[nn.Module, int | None]:
    """A network by `make`, and the in_chans that it was made with; None where that is the library's default.

    in_chans: as the caller says it. channels: of the images that it is for, where only their size says so; a network that takes
    others by default is then made anew, with the same random numbers, and left as it is where its library knows no other.
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
