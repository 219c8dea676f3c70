"""The precision of a folder's weights: a network that is loaded has it, whatever precision it was built in."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from surgeon.errors import ArtifactWarning
from surgeon.warned import warn


def take_precision(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give a network the floating-point types of the weights that it is about to load.

    Where all weights have one type, tensors that no file holds get it too, as by `network.to(dtype)`. Types of 8 bits,
    in which torch computes nothing by itself, are left to loading.

    Args:
        network: The network, changed in place.
        weights: Name → tensor.
    """
    own = network.state_dict()
    types = {k: v.dtype for k, v in weights.items() if k in own and v.is_floating_point() and v.itemsize > 1}
    if all(own[k].dtype == dtype or not own[k].is_floating_point() for k, dtype in types.items()):
        return
    if len(set(types.values())) == 1:
        network.to(next(iter(types.values())))
        return
    for prefix, module in network.named_modules(remove_duplicate=False):
        for held in (module._parameters, module._buffers):
            for name, tensor in held.items():
                dtype = types.get(f"{prefix}.{name}" if prefix else name)
                if tensor is None or dtype in (None, tensor.dtype) or not tensor.is_floating_point():
                    continue
                if isinstance(tensor, nn.Parameter):
                    tensor.data = tensor.data.to(dtype)
                else:
                    held[name] = tensor.to(dtype)


def types_of(network: nn.Module) -> list[str]:
    """Name the floating-point types of a network's parameters.

    Args:
        network: The network.
    """
    return sorted(
        {str(p.dtype).removeprefix("torch.") for p in network.parameters() if p.is_floating_point()}
    )


def in_float32(network: nn.Module, place: object) -> nn.Module:
    """Turn a network from a folder to float32, which trainings and attacks are made in, and say so.

    Args:
        network: The network, changed in place.
        place: Its folder.

    Returns:
        The network.

    Warns:
        ArtifactWarning: It was in another precision.
    """
    types = types_of(network)
    if types in ([], ["float32"]):
        return network
    rounded = ", rounded to it" if "float64" in types else ""
    warn(f"{place} is in {' and '.join(types)}: the network is used in float32{rounded}", ArtifactWarning)
    return network.float()
