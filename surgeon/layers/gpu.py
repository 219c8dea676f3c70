"""What the layers' ways on a GPU share: whether kernels can be compiled, and for which tensors.

Kernels are written in Triton, which comes with torch where that is made for CUDA, and are imported on first use alone.
"""

from __future__ import annotations

import functools
import importlib.util

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor

from surgeon.layers.recording import recording

FLOATS = (torch.float16, torch.bfloat16, torch.float32)


def takes(*tensors: Tensor) -> bool:
    """Whether kernels may compute with these: numbers of at most 32 bits on a GPU, run and not recorded, under no transform."""
    return all(t.is_cuda and t.dtype in FLOATS for t in tensors) and _runs(*tensors) and has_kernels()


def _runs(*tensors: Tensor) -> bool:
    return not recording() and not any(is_functorch_wrapped_tensor(t) for t in tensors)


@functools.cache
def has_kernels() -> bool:
    """Whether Triton is there, for CUDA."""
    return torch.version.hip is None and importlib.util.find_spec("triton") is not None


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on that device, from a CPU without waiting for what the device still has to do."""
    if tensor.device.type == "cpu" and device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
