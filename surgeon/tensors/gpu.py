"""What the layers' ways on a GPU share: whether kernels can be compiled, and for which tensors.

Kernels are written in Triton, which comes with torch where that is made for CUDA, and are imported on first use alone.
"""

from __future__ import annotations

import functools
import importlib.util
import warnings

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from surgeon.tensors.recording import recording
from surgeon.torch_private import dispatch_modes, transforms_are_active

FLOATS = (torch.float16, torch.bfloat16, torch.float32)
_OWN_TENSORS = (Tensor, nn.Parameter)


def takes(*tensors: Tensor) -> bool:
    """Whether kernels may compute with these: numbers of at most 32 bits on a GPU, run and not recorded, under no transform."""
    return all(t.is_cuda and t.dtype in FLOATS for t in tensors) and _real(*tensors) and has_kernels()


def _real(*tensors: Tensor) -> bool:
    """Whether they have memory of their own, and what is done with them is done: not recorded, fake, sharded or transformed."""
    return (
        not recording()
        and all(type(t) in _OWN_TENSORS for t in tensors)
        and not transforms_are_active()
        and not dispatch_modes()
        and forward_ad._current_level < 0  # kernels have no tangents
    )


@functools.cache
def has_kernels() -> bool:
    """Whether Triton is there and makes kernels for this GPU; where it is there and makes none, a warning says why."""
    if torch.version.hip is not None or importlib.util.find_spec("triton") is None:
        return False
    try:
        from surgeon.tensors.probe_kernel import copied

        x = torch.zeros(16, device="cuda")
        copied[(1,)](x, x, 16, 16)
    except Exception as error:  # no C compiler, an unknown GPU, …: torch's own operations do
        warnings.warn(
            f"layers run without kernels of their own, since Triton makes none here: {error}", stacklevel=2
        )
        return False
    return True


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on that device, from a CPU without waiting for what the device still has to do."""
    if tensor.device.type == "cpu" and device.type == "cuda" and not recording():
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
