"""Where activation functions are, for operations that put another one in their place."""

from __future__ import annotations

import math

from surgeon.selection import Site

WEIGHING = ("Softmax", "Softmax2d", "LogSoftmax", "Sigmoid", "Hardsigmoid", "HardSigmoid")
"""Activations that weigh others: attention, and gates of squeeze-and-excitation. Methods for activations leave them."""


def with_fused(sites: list[Site]) -> list[Site]:
    """Return sites in which a norm and activation in one counts as an activation.

    Args:
        sites: Sites of a network.

    Returns:
        The same, in the same order.
    """
    return [s.model_copy(update={"kind": "activation"}) if s.fused else s for s in sites]


def function_at(site: Site) -> str:
    """Return the dotted name of the activation function itself.

    Args:
        site: An activation, or a norm and activation in one.

    Returns:
        The site's name, or that of the child `act` of a fused module.
    """
    return f"{site.name}.act" if site.fused else site.name


def numbers_at(site: Site) -> int:
    """Return how many numbers a site's calls write for one image.

    Args:
        site: The site.

    Returns:
        The sum over its calls; 0 if shapes are not known.
    """
    shapes = site.call_shapes or ((site.out_shape,) * site.calls if site.out_shape else ())
    return sum(math.prod(s) for s in shapes)
