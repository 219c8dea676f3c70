"""Networks inside a module of other code that are given the module's own images, so that nothing normalises them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from surgeon import tree
from surgeon.graph.trees.left_alone import left_alone
from surgeon.kept_modes import mode
from surgeon.models.facts import input_size_of, name_of, normalised_in_words, normalization_of
from surgeon.models.normalisation import contradicted
from surgeon.wrappers import in_python, is_scripted, unwrapped


def handed_on(model: nn.Module, images: Tensor | None = None) -> tuple[str, nn.Module] | None:
    """Find a part of a network that says how its images are normalised, and is given what the network is given.

    Args:
        model: The network, which is left as it was.
        images: (N, C, H, W) of a size that it takes, of any values; one is used. By default one is made, of the size
            that it, or else its first part that says how images are normalised, is configured for.

    Returns:
        Where the first such part is, as Python writes it (`model[0]`), and the part. None where the network itself
        says how images are normalised, where its own code makes other images for the part, and where it does not run.
    """
    inside = unwrapped(model)
    if normalization_of(inside) is not None:
        return None
    parts = [(in_python(n), m) for n, m in tree.modules(model) if n and normalization_of(m) is not None]
    size = None if not parts else input_size_of(inside) or input_size_of(parts[0][1])
    if images is None and size is None:
        return None
    given: list[tuple[str, nn.Module]] = []
    image = torch.rand(1, *(size or ())) if images is None else images[:1]
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
        f"{part} in this {type(model).__name__}, a {name_of(inside)}, is given images as they are, and by its "
        f"configuration they are {normalised_in_words(inside)}: "
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
