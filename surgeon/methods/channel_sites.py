"""Where a layer that works by channels can stand, and where one that mixes channels folds again.

Each function returns a reason, or "" where nothing speaks against the layer: a reason stands in the plan, as
`Edit.note` or beside the site that is passed over. `surgeon.tensors.mixing` has the algebra.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from surgeon.selection import Site

UNKNOWN = "its size is not known"


def unopened(site: Site) -> str:
    """Say why nothing can stand between a norm and an activation that are one module.

    Args:
        site: Any site.

    Returns:
        The reason; "" where they are two modules, or one that surgeon opens.

    Examples:
        >>> from surgeon.methods import Site
        >>> site = Site(name="bn1", kind="norm", cls="InPlaceABN", index=0, fused=True, opens=False)
        >>> unopened(site), unopened(site.model_copy(update={"opens": True}))
        ('InPlaceABN is norm and activation in one, and surgeon cannot open it', '')
    """
    if site.fused and not site.opens:
        return f"{site.cls} is norm and activation in one, and surgeon cannot open it"
    return ""


def unfit(site: Site, *, each_call: bool = False) -> str:
    """Say why a site cannot take a layer with numbers for each channel.

    Args:
        site: Any site.
        each_call: Whether each call of a module that is called several times gets a layer of its own (`Edit.call`).
            Default: such a module is refused.

    Returns:
        The reason, or "".

    Examples:
        >>> from surgeon.selection import Site
        >>> site = Site(name="conv", kind="conv", cls="Conv2d", index=0, channels=8, channel_axis=0)
        >>> unfit(site), unfit(site.model_copy(update={"calls": 2}))
        ('', 'it is called 2 times a pass, and a layer has one set of numbers')
    """
    if closed := unopened(site):
        return closed
    if site.logits:
        return "its channels are the classes"
    if site.channel_axis is None:
        return "it is not known in which axis its channels are"
    if site.channels is None or (each_call and site.calls > 1 and len(site.call_shapes) != site.calls):
        return UNKNOWN
    if site.calls > 1 and not each_call:
        return f"it is called {site.calls} times a pass, and a layer has one set of numbers"
    return ""


def cannot_mix(site: Site, *, before: bool = False) -> str:
    """Say why a mixing of all channels does not fold into a convolution or linear layer.

    A mixing is y ↦ M·y at each position, M being (C, C): a 1×1 convolution. It may have a constant: see
    `cannot_shift`.

    Args:
        site: A convolution or linear layer.
        before: Whether the mixing stands in front of it. Default: behind it.

    Returns:
        The reason, or "".

    Examples:
        >>> from surgeon.selection import Site
        >>> cannot_mix(Site(name="a", kind="conv", cls="Conv2d", index=0, channels=8, groups=2))
        'a mixing crosses its 2 groups, so that the folded convolution would need groups=1'
    """
    if site.kind not in ("conv", "linear"):
        return f"{site.cls} is neither a convolution nor a linear layer"
    if site.altered:
        return site.altered
    if (site.in_channels if before else site.channels) is None:
        return UNKNOWN
    if (site.groups or 1) > 1:
        return (
            f"a mixing crosses its {site.groups} groups, so that the folded convolution would need groups=1"
        )
    if site.standardized == "weights":
        return "its kernels are standardised to unit variance, which mixed kernels do not have"
    if site.standardized and before:
        return "its kernels are standardised to mean 0, which those of mixed inputs do not have"
    return ""


def cannot_shift(site: Site, sites: Sequence[Site], *, before: bool = False) -> str:
    """Say why a constant for each channel does not fold into a convolution or linear layer.

    Names and shapes of the stock network stay, so that a bias or the running mean of a batch norm must be there.

    Args:
        site: A convolution or linear layer.
        sites: The sites of the network.
        before: Whether the constant is added in front of it. Default: behind it.

    Returns:
        The reason, or "".

    Examples:
        >>> from surgeon.methods import Site
        >>> site = Site(name="conv", kind="conv", cls="Conv2d", index=0, bias=True)
        >>> cannot_shift(site, [site]), cannot_shift(site.model_copy(update={"bias": False}), [site])
        ('', 'neither a bias nor a batch norm behind it can take up a constant')
    """
    if site.altered:
        return site.altered
    if before and site.kind == "conv":
        if site.transposed:
            return "a transposed convolution makes no constant of a constant at the border"
        if site.padding_mode == "zeros" and math.prod(site.kernel or (0,)) != 1:
            return "zeros that it may pad with are not shifted by the constant"
    if site.bias or (site.next_norm and {s.name: s.family for s in sites}.get(site.next_norm) == "batch"):
        return ""
    return "neither a bias nor a batch norm behind it can take up a constant"
