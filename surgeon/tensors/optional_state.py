"""Layers whose state a state dict may lack: a stock checkpoint loads strictly into a cut model."""

from __future__ import annotations

from collections.abc import Mapping

from surgeon.errors import SurgeryWarning
from surgeon.tensors.emptied import Emptied
from surgeon.warned import warn


class OptionalState(Emptied):
    """Base of inserted layers whose parameters and buffers have a meaning without the checkpoint.

    `load_state_dict(strict=True)` with none of the layer's own keys present keeps the values that it has and
    reports nothing missing, so the weights of the uncut network load into the cut one. A layer with some keys
    present and some missing is still an error, and so are keys that do not belong there. Values that it does
    not have, on the meta device or after `to_empty`, are missing like any other's.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> class Scale(OptionalState):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.factor = nn.Parameter(torch.tensor(1.0))
        ...
        ...     def forward(self, x):
        ...         return x * self.factor
        >>> network = nn.Sequential(nn.Linear(2, 2), Scale())
        >>> network.load_state_dict({"0.weight": torch.eye(2), "0.bias": torch.zeros(2)})
        <All keys matched successfully>
    """

    def takes(self, weights: Mapping, prefix: str) -> set[str]:
        """Say which keys the layer loads although it has no tensors of such names now: it makes them.

        Args:
            weights: The state dict.
            prefix: Prefix of the layer's names in it.

        Returns:
            The keys, with the prefix. Default: none.

        Examples:
            >>> OptionalState().takes({"0.rank": 1}, "0.")
            set()
        """
        return set()

    def _load_from_state_dict(
        self,
        state_dict: Mapping,
        prefix: str,
        local_metadata: dict,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        names = [*self._parameters, *(b for b in self._buffers if b not in self._non_persistent_buffers_set)]
        own = {prefix + name for name in names}
        absent = own.isdisjoint(state_dict)  # before: batch norms add a key to state dicts that lack it
        known = list(
            missing_keys
        )  # among them this layer's own, where other layers' are there (`partly_loaded.py`)
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
        if absent:
            own -= {prefix + name for name in self.lacking()}
            new = missing_keys[len(known) :]
            missing_keys[:] = [*known, *(key for key in new if key not in own and key not in known)]


def tell(text: str) -> None:
    """Warn of what a layer makes of the state dict that it is given.

    Args:
        text: What it says.
    """
    warn(text, SurgeryWarning)
