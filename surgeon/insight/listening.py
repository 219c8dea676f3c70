"""Record the outputs of a network's layers by temporary hooks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from surgeon.errors import PictureError
from surgeon.graph.trees.fused import TAIL, is_opened
from surgeon.graph.trees.leaves import is_activation, is_norm
from surgeon.graph.trees.paths import has
from surgeon.insight.door import seen_by
from surgeon.models.pixels import Normalized
from surgeon.models.quiet import held_still
from surgeon.surgery.door import surgery_of
from surgeon.tensors.instead import convolves
from surgeon.wrappers import unwrapped


class Output(NamedTuple):
    """A layer's output: the module that gave it last, and its value (N, …)."""

    module: str
    value: Tensor


def network_of(model: nn.Module) -> nn.Module:
    """Return the network inside `Normalized` and what `torch.compile`, `DataParallel` or an average put around it.

    Args:
        model: A network or wrapper, also of a wrapper.

    Returns:
        The network; `model` itself where it is no wrapper.

    Examples:
        >>> network = nn.Linear(2, 2)
        >>> network_of(Normalized(nn.DataParallel(Normalized(network)))) is network, network_of(network) is network
        (True, True)
    """
    while (inside := model.model if isinstance(model, Normalized) else unwrapped(model)) is not model:
        model = inside
    return model


def layers(network: nn.Module, *, activations: bool = False) -> dict[str, str]:
    """Find the layers of a network: every convolution, weight map, norm and linear layer.

    What a surgery inserted behind a layer belongs to the layer, so that a convolution with its pooling is
    compared with the stock convolution at the same place. The same holds for the activation that was split
    from a fused norm.

    Args:
        network: A network, rewritten or stock.
        activations: Whether activations count as layers too.

    Returns:
        Name of a module → the layer that it belongs to.
    """
    layer_of: dict[str, str] = {}
    for name, module in network.named_modules():
        if any(name.startswith(outer + ".") for outer in layer_of):
            continue
        layer = convolves(module) or is_norm(module) or isinstance(module, nn.Linear)
        if layer or (activations and is_activation(module)):
            layer_of[name] = name
    for name in list(layer_of):
        if is_opened(network.get_submodule(name)):
            layer_of |= {f"{name}.{part}": name for part in TAIL}
    record = surgery_of(network)
    for edit in record.edits if record else ():
        if edit.layer and edit.site in layer_of and has(network, edit.layer):
            layer_of[edit.layer] = edit.site
    return layer_of


@contextlib.contextmanager
def listening(
    network: nn.Module, names: Mapping[str, str], hear: Callable[[str, Tensor], None]
) -> Iterator[None]:
    """Call `hear(module name, output)` at the first call of each named module, within the context.

    The output is the tensor itself, which a later in-place operation may overwrite: copy it to keep it.

    Args:
        network: The network.
        names: Names of modules, the keys of the mapping.
        hear: The function to call.

    Yields:
        None.
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
    """Compute the output of each layer in evaluation mode.

    A module that is called several times contributes its first call; one that is never called is absent.

    Args:
        model: Takes [0, 1] pixels.
        images: (N, C, H, W) in [0, 1].
        activations: Whether activations count as layers too.
        seed: Seed for a model that is random.

    Returns:
        Layer → copy of its output, in execution order.

    Raises:
        PictureError: The model calls no such layer.
        DataError: The images are not such pixels.
    """
    network, images = network_of(model), seen_by(model, images)
    names = layers(network, activations=activations)
    by_layer: dict[str, Output] = {}

    def keep(name: str, value: Tensor) -> None:
        by_layer[names[name]] = Output(name, value.detach().clone())

    with held_still(model, seed), listening(network, names, keep):
        model(images)
    if not by_layer:
        raise PictureError(f"{type(network).__name__} calls no convolution, weight map, norm or linear layer")
    return by_layer
