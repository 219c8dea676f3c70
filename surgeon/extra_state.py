"""Extra state that modules add to a state dict (`get_extra_state`): any object, or a tensor of any shape."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from surgeon.errors import ArtifactError
from surgeon.torch_private import EXTRA_STATE_KEY


def is_extra(name: str) -> bool:
    """Whether a key of a state dict is a module's extra state.

    Args:
        name: the key.
    """
    return name.rpartition(".")[2] == EXTRA_STATE_KEY


def without_extra(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The parameters and buffers of a state dict, whose names and shapes follow from the network's structure.

    Args:
        state: a state dict.
    """
    return {k: v for k, v in state.items() if not is_extra(k)}


def in_tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """A state dict without extra state that is not a tensor, which a file of tensors cannot hold.

    Args:
        state: a state dict.
    """
    return {k: v for k, v in state.items() if isinstance(v, Tensor) or not is_extra(k)}


def left_out(state: Mapping[str, Any]) -> list[str]:
    """The keys that `in_tensors` leaves out.

    Args:
        state: a state dict.
    """
    return [k for k, v in state.items() if is_extra(k) and not isinstance(v, Tensor)]


def with_extra(state: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A state dict with the extra state of `own` where it has no extra state.

    Args:
        state: a state dict.
        own: the network's own state dict.
    """
    return {**{k: v for k, v in own.items() if is_extra(k)}, **state}


def demand_plain(state: Mapping[str, Any], place: str) -> None:
    """Check that `torch.load(weights_only=True)` would read a state dict's extra state back.

    Args:
        state: a state dict.
        place: begins the message.

    Raises:
        ArtifactError: it would not.
    """
    for key in left_out(state):
        beside = io.BytesIO()
        try:
            torch.save(state[key], beside)
            beside.seek(0)
            torch.load(beside, weights_only=True)
        except (
            pickle.PicklingError,
            pickle.UnpicklingError,
            AttributeError,
            TypeError,
            RuntimeError,
        ) as error:
            raise ArtifactError(
                f"{place}: {key} is a {type(state[key]).__name__}, which no checkpoint holds "
                "that is read without running code; have "
                "get_extra_state give tensors and plain values, or train without a folder"
            ) from error
