"""Layers whose state a state dict may lack: a stock checkpoint loads strictly into a cut model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

from torch import nn

from surgeon.values import empties


class OptionalState(nn.Module):
    """Base of inserted layers whose parameters and buffers have a meaning without the checkpoint.

    `load_state_dict(strict=True)` with none of the layer's own keys present keeps the values that it has and
    reports nothing missing, so the weights of the uncut network load into the cut one. A layer with some keys
    present and some missing is still an error, and so are keys that do not belong there. So it is after `to("meta")` and
    `to_empty`: the values that it had are gone then, and its keys are missing like any other.
    """

    _emptied = False
    """Whether memory was given to it that nothing was written to."""

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        before = self._on_meta()
        super()._apply(fn, recurse)
        if (before or empties(fn)) and not self._on_meta():
            self._emptied = True
        return self

    def _on_meta(self) -> bool:
        return any(t.is_meta for t in (*self.parameters(recurse=False), *self.buffers(recurse=False)))

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
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
        if not absent:
            self._emptied = False
        elif not self._emptied:
            missing_keys[:] = [key for key in missing_keys if key not in own]
