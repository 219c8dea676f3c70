"""What the layers' GPU code shares: whether kernels can be compiled, and for which tensors.

Kernels are written in Triton, which comes with CUDA builds of torch, and are imported on first use.
"""

from __future__ import annotations

import functools
import importlib.util

import torch
from torch import Tensor

from surgeon.tensors.recording import plain, recording
from surgeon.warned import warn

FLOATS = (torch.float16, torch.bfloat16, torch.float32)


def takes(*tensors: Tensor) -> bool:
    """Say whether kernels may compute with tensors.

    Args:
        *tensors: The tensors.

    Returns:
        True for floats of at most 32 bits on a GPU, eager, outside compile, export and functorch.
    """
    return all(t.is_cuda and t.dtype in FLOATS for t in tensors) and plain(*tensors) and has_kernels()


@functools.cache
def has_kernels() -> bool:
    """Say whether Triton is installed and compiles for this GPU; a warning says why, if it does not compile.

    Returns:
        Whether it does.
    """
    if torch.version.hip is not None or importlib.util.find_spec("triton") is None:
        return False
    try:
        from surgeon.tensors.probe_kernel import copied

        x = torch.zeros(16, device="cuda")
        copied[(1,)](x, x, 16, 16)
    except Exception as error:  # no C compiler, an unknown GPU, …: use torch's operations
        warn(f"layers run without kernels of their own, since Triton cannot make them here: {error}")
        return False
    return True


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device; from the CPU without waiting for work that is queued on the device.

    Args:
        tensor: The tensor.
        device: The device.

    Returns:
        The tensor on it.
    """
    if tensor.device.type == "cpu" and device.type == "cuda" and not recording():
        # Only out of pinned memory a copy does not have the CPU wait.
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
