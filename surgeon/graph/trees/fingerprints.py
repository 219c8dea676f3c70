"""Hashes by which a network is known again before it is cut, whatever its weights."""

from __future__ import annotations

import hashlib

from torch import nn

from surgeon.extra_state import without_extra
from surgeon.graph.trees.implants import fixed_settings


def fingerprint(model: nn.Module) -> str:
    """Hash a network's structure: its class name, and the names and shapes of its tensors.

    Args:
        model: The network.

    Returns:
        16 hexadecimal digits; values of tensors do not matter.
    """
    digest = hashlib.sha256(type(model).__name__.encode())
    # torch's own: a class may give another form
    for name, tensor in sorted(without_extra(nn.Module.state_dict(model)).items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
    return digest.hexdigest()[:16]


def layers_hash(model: nn.Module) -> str:
    """Hash what the modules of a network are: their classes and plain settings, such as a stride.

    Args:
        model: The network.

    Returns:
        16 hexadecimal digits. What code sets while the network runs does not matter.
    """
    digest = hashlib.sha256()
    for name, module in model.named_modules(remove_duplicate=False):
        own = sorted((name, repr(value)) for name, value in fixed_settings(module))
        digest.update(f"{name} {type(module).__qualname__} {own}".encode())
    return digest.hexdigest()[:16]


def hashes_of_layers(model: nn.Module) -> dict[str, str]:
    """Hash the class and the plain settings of each module of a network.

    Args:
        model: The network.

    Returns:
        8 hexadecimal digits for each name; that of the network itself is empty. What code sets while the network runs
        does not matter.
    """
    hashes = {}
    for name, module in model.named_modules(remove_duplicate=False):
        own = sorted((n, repr(v)) for n, v in fixed_settings(module))
        hashes[name] = hashlib.sha256(f"{type(module).__qualname__} {own}".encode()).hexdigest()[:8]
    return hashes
