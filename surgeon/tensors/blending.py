"""Layers whose effect is blended in by a share, which is saved with the weights and may grow while training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from surgeon.errors import LayerError
from surgeon.tensors.emptied import Emptied
from surgeon.tensors.known_value import KnownValue


class Blending(Emptied):
    """Base of layers with a share: a float32 buffer `alpha` of one number in [0, 1].

    A subclass calls `_begin` in its constructor, may say which shares it cannot have (`_check_alpha`), and may do
    what follows from one (`_known`).
    """

    alpha: Tensor
    _share: KnownValue
    _ends: str = ""
    """What 0 and 1 mean, for the message."""
    drops: tuple[str, ...] = ()
    """Names of children that the layer drops by itself at one of its ends."""

    def _begin(self, value: float) -> None:
        """Register the buffer, and set it."""
        self.register_buffer("alpha", torch.zeros((), dtype=torch.float32))
        self._share = KnownValue(0.0)
        self.set_alpha(value)

    def set_alpha(self, value: float) -> None:
        """Set the share.

        Args:
            value: From 0 to 1.

        Raises:
            LayerError: The layer cannot have this share.
        """
        self._check_alpha(value)
        self.alpha.fill_(value)
        self._known(value)
        self.filled("alpha")

    def _check_alpha(self, value: float) -> None:
        """Raise LayerError for a share that the layer cannot have."""
        if not 0 <= value <= 1:
            raise LayerError(f"alpha={value} is outside [0, 1]{self._ends}")

    def _known(self, value: float) -> None:
        """Take note of the share that the buffer has now."""
        self._share.set(self.alpha, float(value))

    def absent(self, weights: Mapping[str, Tensor], prefix: str) -> set[str]:
        """Say which keys of this layer a state dict lacks by right: those of what the layer had dropped then.

        Args:
            weights: The state dict.
            prefix: Prefix of the layer's names in it.

        Returns:
            The keys, with the prefix. Default: none.
        """
        return set()

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing: list[str],
        unexpected: list[str],
        errors: list[str],
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing, unexpected, errors)
        if "alpha" in self.lacking():
            return
        value = float(self.alpha)
        try:
            self._check_alpha(value)
        except LayerError as fault:
            errors.append(f"{prefix}alpha: {fault}")
        else:
            self._known(value)
