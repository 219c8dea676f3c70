"""Gaussian noise at the network's input, in [0, 1] pixels, as an edit that several operations use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from surgeon.edits import Edit, Growth, Traits
from surgeon.methods.base import Context
from surgeon.selection import INPUT, Site

InputNoise = Literal["auto"] | tuple[float, ...] | None
"""The standard deviation that pixels are divided by before the network: one number per channel, None for no
division, or "auto" for that of the network's own configuration."""


def noise_at_input(
    sites: Sequence[Site], sigma: float, pixel_std: InputNoise, context: Context, operation: str
) -> tuple[Edit, ...]:
    """Make the edit that adds N(0, σ²) to the input in training.

    Args:
        sites: The sites of the network.
        sigma: σ, in units of [0, 1] pixels.
        pixel_std: Standard deviation, per channel, that pixels are divided by; "auto" takes the network's.
        context: What is known of the network.
        operation: Name of the operation.

    Returns:
        One edit; empty if σ is 0, or if the input is in no traceable region.
    """
    site = next((s for s in sites if s.kind == INPUT), None)
    if not sigma or site is None:
        return ()
    std = context.input_std if pixel_std == "auto" else pixel_std
    if std is not None and site.channels is not None and len(std) != site.channels:
        std = None
    unit = "in units of the network's input" if std is None else f"pixel σ divided by the std {list(std)}"
    return (
        Edit(
            site=INPUT,
            operation=operation,
            layer=f"{INPUT}_noise",
            settings=dict(
                sigma=sigma,
                pixel_std=None if std is None else list(std),
                spatial_dims=None if site.out_shape is None else len(site.out_shape) - 1,
            ),
            traits=Traits(stochastic="train", train_only=True),
            note=f"σ={sigma}, {unit}",
            growth=Growth(),
        ),
    )
