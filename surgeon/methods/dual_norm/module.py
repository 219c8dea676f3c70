"""The tensors of an auxiliary batch norm, as a layer behind the main one that changes nothing."""

from __future__ import annotations

import torch
from torch import nn

from surgeon.tensors.auxiliary import Auxiliary

_NEW = {"weight": 1, "running_var": 1}
"""What a new batch norm's tensors are filled with; the others with 0."""


class AuxiliaryNorm(Auxiliary):
    """Keeps a second set of a batch norm's parameters and buffers, under the same names. It gives its input as it is.

    Args:
        norm: The main norm, whose tensors are copied.

    Examples:
        >>> import torch
        >>> main = torch.nn.BatchNorm1d(2)
        >>> auxiliary, weight = AuxiliaryNorm(main), main.weight
        >>> auxiliary.swap(main)
        >>> auxiliary.weight is weight, main.weight is weight
        (True, False)
    """

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        for name, parameter in norm._parameters.items():
            own = None if parameter is None else parameter.detach().clone()
            self.register_parameter(name, None if own is None else nn.Parameter(own, _trained(parameter)))
        for name, buffer in norm._buffers.items():
            persistent = name not in norm._non_persistent_buffers_set
            self.register_buffer(name, None if buffer is None else buffer.clone(), persistent=persistent)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Fill the tensors as those of a new batch norm."""
        for name, tensor in (*self._parameters.items(), *self._buffers.items()):
            if tensor is not None:
                tensor.fill_(_NEW.get(name, 0))
        self.filled()


def _trained(parameter: nn.Parameter | None) -> bool:
    """Say whether a parameter takes gradients."""
    return parameter is not None and parameter.requires_grad
