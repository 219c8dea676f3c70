"""Networks inside a module of other code that are given pixels as the module is, so that nothing normalises them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from surgeon import tree
from surgeon.graph.trees.left_alone import left_alone
from surgeon.kept_modes import mode
from surgeon.models.facts import input_size_of, name_of, normalised_in_words, normalization_of
from surgeon.models.normalisation import contradicted
from surgeon.wrappers import in_python, is_scripted, unwrapped


def handed_on(model: nn.Module, images: Tensor | None = None) -> tuple[str, nn.Module] | None:
    """Find a part of a network that says how its images are normalised, and is given pixels as the network is.

    Args:
        model: The network, which is left as it was.
        images: (N, C, H, W) of a size that it takes, of any values: pixels are drawn. By default they are of the size
            that it, or else its first part that says how images are normalised, is configured for.

    Returns:
        Where the first such part is, as Python writes it (`model[0]`), and the part. None where the network itself
        says how images are normalised, where its own code normalises them for the part, and where it does not run.
    """
    inside = unwrapped(model)
    if normalization_of(inside) is not None:
        return None
    parts = [(n, m) for n, m in tree.modules(model) if n and normalization_of(m) is not None]
    size = None if not parts else input_size_of(inside) or input_size_of(parts[0][1])
    if not parts or (images is None and size is None):
        return None
    shape = (size or ()) if images is None else images.shape[1:]
    image = torch.rand(1, *shape, generator=torch.Generator("cpu").manual_seed(0), device="cpu")
    given: list[tuple[str, nn.Module]] = []
    handles: list[RemovableHandle] = []
    try:
        image = image.to(next((p for p in inside.parameters() if p.is_floating_point()), image))
        for name, part in parts:
            # A graph calls the part's own modules alone: what the first of them is given, the part is given.
            for module in dict.fromkeys([part, *(m for _, m in tree.modules(part) if not is_scripted(m))]):
                listen = _listener((in_python(name), part), image, given, whole=module is part)
                handles.append(module.register_forward_pre_hook(listen, with_kwargs=True))
        with left_alone(inside), mode(inside, False), torch.no_grad(), torch.random.fork_rng(devices=[]):
            inside(image.clone())
    except Exception:  # whoever runs it next says why, in words of its own
        return None
    finally:
        for handle in handles:
            handle.remove()
    return given[0] if given else None


def _listener(
    part: tuple[str, nn.Module], image: Tensor, given: list[tuple[str, nn.Module]], *, whole: bool
) -> Callable[..., None]:
    """Return a hook that notes a part whose first tensor is the image itself, or, of a whole part, one of its range."""

    def listen(_module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        x = next((v for v in (*inputs, *named.values()) if isinstance(v, Tensor)), None)
        if x is None or not x.is_floating_point():
            return
        same = x.shape == image.shape and torch.equal(x, image.to(x))
        if same or (whole and x.dim() == image.dim() and _of_pixels(x.double())):
            given.append(part)

    return listen


def _of_pixels(x: Tensor) -> bool:
    """Whether values are those of pixels that were drawn evenly from [0, 1], also resized or with a little noise."""
    return abs(float(x.mean()) - 0.5) < _OFF and float(x.std()) < _WIDE


_OFF, _WIDE = 0.1, 0.4
"""How far from 0.5 the mean of drawn pixels may be, and their deviation at most, which is 0.29 as they are drawn:
normalised ones have another mean, or a deviation that is larger by 1/std."""


def unsaid(model: nn.Module, images: Tensor | None = None) -> str:
    """Say that images reach a network unnormalised, since what is around it does not say how they are normalised.

    Args:
        model: A network, or a module around one.
        images: As for `handed_on`.

    Returns:
        A sentence; empty where the network itself says it, where nothing in it does, or its own code normalises.
    """
    if said := unkept(model, None):
        return said
    part, inside = handed_on(model, images) or ("", model)
    known = contradicted(inside, None) if part else None
    if known is None:
        return ""
    return (
        f"{part} in this {type(model).__name__}, a {name_of(inside)}, is given images that are not normalised, and by "
        f"its configuration they are {normalised_in_words(inside)}: "
        f"surgeon.models.set_normalization(model, {known[0]}, {known[1]}) says it of the whole"
    )


def unkept(model: nn.Module, normalize: tuple[Sequence[float], Sequence[float]] | None) -> str:
    """Say that TorchScript keeps nothing of how a network's images are normalised, where nobody says it.

    Args:
        model: A network.
        normalize: (mean, std) that its images are normalised by; None where they are pixels.

    Returns:
        A sentence; empty for a network that is not compiled by it.
    """
    inside = unwrapped(model)
    if normalize is not None or not is_scripted(inside) or normalization_of(inside) is not None:
        return ""
    return (
        "this network is compiled by TorchScript, which keeps nothing of how images are normalised, and is given them "
        "as they are: surgeon.models.set_normalization(model, mean, std) says how they were in training, with 0 and 1 "
        "that they were not"
    )
