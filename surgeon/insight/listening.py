"""What the layers of a network give, heard by hooks that are gone afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from surgeon.errors import PictureError
from surgeon.graph.fused import TAIL, is_opened
from surgeon.graph.leaves import is_activation, is_convolution, is_norm
from surgeon.methods.weight_map.blend import WeightMapBlend
from surgeon.methods.weight_map.module import WeightMap2d
from surgeon.models.pixels import Normalized
from surgeon.models.quiet import held_still
from surgeon.surgery.door import surgery_of
from surgeon.surgery.tree import has


class Output(NamedTuple):
    """What a layer gave: the module that gave it last, and its value (N, ...)."""

    module: str
    value: Tensor


def network_of(model: nn.Module) -> nn.Module:
    """The network inside its normalisation, or the model itself."""
    while isinstance(model, Normalized):
        model = model.model
    return model


def is_spatial(module: nn.Module) -> bool:
    """Whether the module is a convolution, or a weight map in the place of one."""
    return is_convolution(module) or isinstance(module, (WeightMap2d, WeightMapBlend))


def layers(network: nn.Module, *, activations: bool = False) -> dict[str, str]:
    """Module name → the layer that it is part of: every convolution, weight map, norm and linear layer.

    What a surgery inserted behind a layer belongs to it, so that a convolution with its pooling compares with
    the stock convolution in its place. So does the activation that a fused norm was parted from. activations:
    those too.
    """
    found: dict[str, str] = {}
    for name, module in network.named_modules():
        if any(name.startswith(outer + ".") for outer in found):
            continue
        layer = is_spatial(module) or is_norm(module) or isinstance(module, nn.Linear)
        if layer or (activations and is_activation(module)):
            found[name] = name
    for name in list(found):
        if is_opened(network.get_submodule(name)):
            found |= {f"{name}.{part}": name for part in TAIL}
    record = surgery_of(network)
    for edit in record.edits if record else ():
        if edit.layer and edit.site in found and has(network, edit.layer):
            found[edit.layer] = edit.site
    return found


@contextlib.contextmanager
def listening(
    network: nn.Module, names: Mapping[str, str], hear: Callable[[str, Tensor], None]
) -> Iterator[None]:
    """Call `hear(module name, output)` at the first call of each module in `names`, as long as the context
    lasts.

    The output is the tensor itself, which a later in-place operation may overwrite.
    """
    heard: set[str] = set()

    def hook(name: str) -> Callable[..., None]:
        def take(_module: nn.Module, _args: object, output: object) -> None:
            if name not in heard and isinstance(output, Tensor):
                heard.add(name)
                hear(name, output)

        return take

    handles = []
    try:
        for name in names:
            handles.append(network.get_submodule(name).register_forward_hook(hook(name)))
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def outputs(
    model: nn.Module, images: Tensor, *, activations: bool = False, seed: int = 0
) -> dict[str, Output]:
    """What each layer gives for images (N, C, H, W), in execution order, copied: `layers`' name → output.

    In evaluation mode. A module called several times gives its first call; one never called is absent.

    Raises PictureError for a model that calls no such layer.
    """
    network = network_of(model)
    names = layers(network, activations=activations)
    found: dict[str, Output] = {}

    def keep(name: str, value: Tensor) -> None:
        found[names[name]] = Output(name, value.detach().clone())

    with held_still(model, seed), listening(network, names, keep):
        model(images)
    if not found:
        raise PictureError(f"{type(network).__name__} calls no convolution, weight map, norm or linear layer")
    return found
