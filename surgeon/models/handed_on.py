"""Networks inside a module of other code that are given the module's own images, so that nothing normalises them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from surgeon import tree
from surgeon.graph.trees.left_alone import left_alone
from surgeon.kept_modes import mode
from surgeon.models.facts import normalization_of
from surgeon.wrappers import unwrapped


def handed_on(model: nn.Module, images: Tensor) -> tuple[str, nn.Module] | None:
    """Find a part of a network that says how its images are normalised, and is given what the network is given.

    Args:
        model: The network, which is left as it was.
        images: (N, C, H, W) of a size that it takes, of any values; one is used.

    Returns:
        The first such part, by its name. None where the network itself says how images are normalised, where its own
        code makes other images for the part, and where it does not run.
    """
    inside = unwrapped(model)
    if normalization_of(inside) is not None:
        return None
    parts = [(n, m) for n, m in tree.modules(inside) if n and normalization_of(m) is not None]
    given: list[tuple[str, nn.Module]] = []
    image = images[:1]
    handles = [m.register_forward_pre_hook(_listener((n, m), image, given)) for n, m in parts]
    like = next((p for p in inside.parameters() if p.is_floating_point()), image)
    try:
        if handles:
            image = image.to(like, copy=True)
            with left_alone(inside), mode(inside, False), torch.no_grad(), torch.random.fork_rng(devices=[]):
                inside(image.clone())
    except Exception:  # whoever runs it next says why, in words of its own
        return None
    finally:
        for handle in handles:
            handle.remove()
    return given[0] if given else None


def _listener(
    part: tuple[str, nn.Module], image: Tensor, given: list[tuple[str, nn.Module]]
) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    """Return a hook that notes a part whose first argument is the image itself, number by number."""

    def listen(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        x = inputs[0] if inputs else None
        if isinstance(x, Tensor) and x.shape == image.shape and torch.equal(x, image.to(x)):
            given.append(part)

    return listen
