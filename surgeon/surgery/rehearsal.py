"""Run a rewritten network once, so that one that cannot run fails in `apply`, not at the first batch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from surgeon.errors import SurgeonError, SurgeryError
from surgeon.graph.left_alone import left_alone
from surgeon.graph.measure import BATCH, Shape, images_of, on_fakes, on_meta
from surgeon.graph.one_mode import mode

CHEAP = 2e9
"""Up to this many FLOPs per image, computing takes no longer than running on meta tensors; beyond it a cut without
calibration images computes nothing."""


def rehearse(stock: nn.Module, network: nn.Module, size: Shape | None, flops: int) -> None:
    """Run a network once, in evaluation mode, on two black images: some faults show in no batch of one.

    Expensive networks are run on meta tensors, without values, and computed only if that fails. Both networks
    are left as they were.

    Args:
        stock: The network before the cut. If it does not run at this size either, nothing is concluded.
        network: The network after it.
        size: (C, H, W), or None to do nothing.
        flops: FLOPs of the stock network for one image.

    Raises:
        SurgeryError: The rewritten network fails and the stock network does not.
    """
    if size is None:
        return
    if flops > CHEAP and _error(network, size, computed=False) is None:
        return
    error = _error(network, size, computed=True)
    if error is None or _error(stock, size, computed=True) is not None:
        return
    with told_of(network, size):
        raise error


@contextlib.contextmanager
def told_of(network: nn.Module, size: Shape | None) -> Iterator[None]:
    """Context manager: an error inside is raised as a SurgeryError about the rewritten network.

    Args:
        network: The rewritten network.
        size: (C, H, W) that it runs on.

    Yields:
        Nothing.

    Raises:
        SurgeryError: The code inside failed.
    """
    try:
        yield
    except SurgeonError:
        raise
    except Exception as error:  # the network's own code
        text = " ".join(str(error).split())[:200]
        raise SurgeryError(
            f"the rewritten {type(network).__name__} does not run on images of {size}, which "
            "the network before the cut "
            f"takes: {type(error).__name__}: {text}; nothing was changed, and a recipe whose "
            "select leaves that part out may do"
        ) from error


def _error(model: nn.Module, size: Shape, *, computed: bool) -> Exception | None:
    """Return the error that a run raises, or None."""
    error: Exception | None = None
    for how in (_with_numbers,) if computed else (on_meta, on_fakes):
        try:
            with (
                left_alone(model),
                mode(model, False),
                torch.no_grad(),
                _stream_kept(model),
                how(model, size) as images,
            ):
                model(*[images] * images_of(model))
            return None
        except Exception as found:  # the network's own code
            error = found
    return error


@contextlib.contextmanager
def _with_numbers(model: nn.Module, size: Shape) -> Iterator[torch.Tensor]:
    """Yield images of zeros on the network's device."""
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    yield torch.zeros((BATCH, *size), device=like.device, dtype=like.dtype)


@contextlib.contextmanager
def _stream_kept(model: nn.Module) -> Iterator[None]:
    """Restore torch's random state at the end."""
    devices = {p.device.index for p in model.parameters() if p.device.type == "cuda"}
    with torch.random.fork_rng(devices=[d for d in devices if d is not None]):
        yield
