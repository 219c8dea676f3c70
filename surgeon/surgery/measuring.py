"""Run a rewritten network once, so that one that cannot run fails in `apply`, not at the first batch.

Without calibration images it is run on noise, if that is cheap, which gives its drift too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from surgeon.effects import Drift
from surgeon.errors import SurgeonError, SurgeryError
from surgeon.graph.measuring.measure import BATCH, Shape, images_of, on_fakes, on_meta
from surgeon.graph.measuring.norm_shapes import NormsKeepShapes
from surgeon.graph.trees.left_alone import left_alone
from surgeon.kept_modes import mode
from surgeon.models.logits import compare_logits
from surgeon.surgery.attempt import Attempt

_NOISE_IMAGES = 2
CHEAP = 2e9
"""Up to this many FLOPs per image, computing takes no longer than running on meta tensors; beyond it a cut without
calibration images computes nothing."""


def measured(model: nn.Module, attempt: Attempt) -> Drift | None:
    """Run a network once that was cut without calibration images, and measure its drift on noise if that is cheap.

    Args:
        model: The network before the cut.
        attempt: The network after it.

    Returns:
        The drift, or None if it says nothing or would take longer than the cut.

    Raises:
        SurgeryError: As for `rehearsed`.
    """
    with _told_of(attempt.network, attempt.made.input_size):
        drift = _noise_drift(model, attempt)
    if drift is None:
        rehearsed(model, attempt)
    return drift


def rehearsed(model: nn.Module, attempt: Attempt) -> Attempt:
    """Run a network once, in evaluation mode, on two black images: some faults show in no batch of one.

    Expensive networks are run on meta tensors, without values, and computed only if that fails. Both networks
    are left as they were.

    Args:
        model: The network before the cut. If it does not run at this size either, nothing is concluded.
        attempt: The network after it.

    Returns:
        `attempt`.

    Raises:
        SurgeryError: The rewritten network fails and the stock network does not.
    """
    network, size = attempt.network, attempt.made.input_size
    if size is None:
        return attempt
    if attempt.made.before.flops > CHEAP and _error(network, size, computed=False) is None:
        return attempt
    error = _error(network, size, computed=True)
    if error is None or _error(model, size, computed=True) is not None:
        return attempt
    with _told_of(network, size):
        raise error


@contextlib.contextmanager
def _told_of(network: nn.Module, size: Shape | None) -> Iterator[None]:
    """Context manager: an error inside is raised as a SurgeryError about the rewritten network."""
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


def _noise_drift(model: nn.Module, attempt: Attempt) -> Drift | None:
    """Return the drift of the logits on seeded noise, or None if it says nothing or would take longer than the cut.

    Cheap networks run once anyway. Where a run is dear, calibration images ask for it.
    """
    record = attempt.record
    if record.planned in ("exact", "destroyed") or not record.measured or record.input_size is None:
        return None
    if attempt.made.before.flops > CHEAP:
        return None
    generator = torch.Generator().manual_seed(record.seed)
    noise = torch.randn(_NOISE_IMAGES, *record.input_size, generator=generator)
    return compare_logits(model, attempt.network, noise, "noise")


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
                contextlib.nullcontext() if computed else NormsKeepShapes(),
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
