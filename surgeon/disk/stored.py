"""Tensors that a file can hold: plain ones, with values. Others are refused before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from surgeon.errors import ArtifactError
from surgeon.values import has_values

_QUANTISED = "save the network before it is quantised, and quantise what surgeon.load gives"


def stored(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Convert a state dict to independent, contiguous tensors on the CPU; shared memory is duplicated.

    Args:
        state: name → tensor.

    Raises:
        ArtifactError: a file cannot hold an entry: quantised or distributed weights, sparse tensors, tensors
            on the meta device, and entries that are not tensors.
    """
    seen: set[int] = set()
    tensors: dict[str, Tensor] = {}
    for name, value in state.items():
        problem = _problem(value)
        if problem:
            raise ArtifactError(f"{name} {problem}")
        tensor = value.detach().resolve_conj().resolve_neg().cpu().contiguous()  # as its numbers are read
        storage = tensor.untyped_storage().data_ptr()
        tensors[name] = tensor.clone() if storage in seen and tensor.numel() else tensor
        seen.add(storage)
    return tensors


def _problem(value: object) -> str:
    """Why a file cannot hold a value; '' where it can."""
    if not isinstance(value, Tensor):
        return (
            f"is a {type(value).__name__} and no tensor, so that it cannot be saved: "
            f"{_QUANTISED}, or leave it out of the state dict"
        )
    kind = type(value)
    if is_lazy(value):
        return "has no shape yet: run the network once on an image"
    if not has_values(value):
        return "is without values (a fake tensor, or on the meta device): load weights first"
    if hasattr(value, "device_mesh"):
        return "is spread over devices (DTensor): save the network that torch.distributed.checkpoint.state_dict gathers"
    if kind.__torch_dispatch__ is not Tensor.__torch_dispatch__ and kind is not torch.nn.Parameter:
        return f"is a {kind.__name__} of {kind.__module__}, no plain tensor, so that it cannot be saved: {_QUANTISED}"
    if value.is_quantized:
        return f"is of {value.dtype}, which a file of plain tensors does not hold: {_QUANTISED}"
    if value.dtype in (torch.complex128, torch.complex32):
        return f"is of {value.dtype}, which a file of plain tensors does not hold: convert it to torch.complex64 first"
    if value.layout != torch.strided:
        return f"is laid out as {value.layout}: make it dense first (to_dense())"
    return ""
