"""Where activation functions are, for operations that stand before them or put another one in their place."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from surgeon.edits import Note
from surgeon.methods.base import Operation, usable_of
from surgeon.selection import PassedOver, Site

WEIGHING = ("Softmax", "Softmax2d", "LogSoftmax", "Sigmoid", "Hardsigmoid", "HardSigmoid")
"""Activations that weigh others: attention, and gates of squeeze-and-excitation. Methods for activations leave them."""


def activations(
    operation: Operation, sites: Sequence[Site], unfit: Callable[[Site], str]
) -> tuple[list[Site], tuple[PassedOver, ...], tuple[Note, ...]]:
    """Choose activations, also those in one module with a norm, and leave out those that weigh others.

    Args:
        operation: The operation, whose selector chooses.
        sites: The sites of the network.
        unfit: Returns why a site cannot be used, or "" if it can.

    Returns:
        The usable sites, those passed over with their reasons, and remarks for the plan.

    Raises:
        SelectionError: No site is left.

    Examples:
        >>> from surgeon.methods import Site, parse
        >>> sites = [Site(name=n, kind="activation", cls=n, index=i) for i, n in enumerate(("ReLU", "Sigmoid"))]
        >>> usable, passed, notes = activations(parse({"op": "kwta"}), sites, lambda site: "")
        >>> [s.name for s in usable], passed[0].reason
        (['ReLU'], 'Sigmoid weighs other activations')
    """

    def why(site: Site) -> str:
        kind = site.activation or site.cls
        return f"{kind} weighs other activations" if kind in WEIGHING else unfit(site)

    return usable_of(operation.chosen(with_fused(sites)), operation.name, why)


def with_fused(sites: Sequence[Site]) -> list[Site]:
    """Return sites in which a norm and activation in one counts as an activation.

    Args:
        sites: Sites of a network.

    Returns:
        The same, in the same order.

    Examples:
        >>> from surgeon.methods import Site
        >>> site = Site(name="bn1", kind="norm", cls="BatchNormAct2d", index=0, fused=True)
        >>> with_fused([site])[0].kind
        'activation'
    """
    return [s.model_copy(update={"kind": "activation"}) if s.fused else s for s in sites]


def function_at(site: Site) -> str:
    """Return the dotted name of the activation function itself.

    Args:
        site: An activation, or a norm and activation in one.

    Returns:
        The site's name, or that of the child `act` of a fused module.

    Examples:
        >>> from surgeon.methods import Site
        >>> function_at(Site(name="bn1", kind="norm", cls="BatchNormAct2d", index=0, fused=True))
        'bn1.act'
    """
    return f"{site.name}.act" if site.fused else site.name


def numbers_at(site: Site) -> int:
    """Return how many numbers a site's calls write for one image.

    Args:
        site: The site.

    Returns:
        The sum over its calls; 0 if shapes are not known.

    Examples:
        >>> from surgeon.methods import Site
        >>> numbers_at(Site(name="relu", kind="activation", cls="ReLU", index=0, calls=2, out_shape=(8, 4, 4)))
        256
    """
    shapes = site.call_shapes or ((site.out_shape,) * site.calls if site.out_shape else ())
    return sum(math.prod(s) for s in shapes)
