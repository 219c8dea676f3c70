"""Which modules give a tensor that may be written to: a new one at each call, which their gradient does not read."""

from __future__ import annotations

from torch import nn

_KINDS: tuple[type[nn.Module], ...] = (
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear),
)
_METHODS = ("__call__", "_call_impl", "forward")
_TORCHS = {kind: tuple(getattr(kind, name) for name in _METHODS) for kind in _KINDS}
"""The methods that a call runs, as torch defines them."""


def makes_its_own(module: nn.Module) -> bool:
    """Say whether nothing else reads what a call of a module gives.

    An activation's gradient is computed from its output, and an identity gives its input: neither may be written to.

    Args:
        module: The module.

    Returns:
        Whether it is a batch norm, a convolution or a linear layer of torch's own class, whose methods nobody replaced.

    Examples:
        >>> makes_its_own(nn.BatchNorm2d(3)), makes_its_own(nn.Identity())
        (True, False)
    """
    own = _TORCHS.get(type(module))
    return own is not None and own == tuple(getattr(type(module), name) for name in _METHODS)
