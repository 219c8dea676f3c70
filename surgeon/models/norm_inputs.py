"""Check images against those a network was trained on, by the statistics of its first batch norm.

On its training images, a batch norm's input is, channel by channel, about one stored standard deviation from
the stored mean (root mean square). Images that are 255 times too large put it 50 deviations and more away;
images that were not normalised mostly less than half of one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from surgeon.edits import Note, Plan
from surgeon.errors import DataError
from surgeon.graph.measuring.measure import images_of
from surgeon.graph.trees.left_alone import left_alone
from surgeon.images import check_taken, times
from surgeon.kept_modes import mode
from surgeon.models.facts import input_size_of, input_std_of, normalization_of
from surgeon.models.logits import logits_of
from surgeon.torch_private import BatchNorm

_WRONG = 20.0
"""So many deviations come only from a wrong scale, never from other subjects, cameras or weather."""
_ODD = (0.4, 3.0)
_FARTHEST_PIXEL = 20.0
"""Normalised pixels end at about 3; only pixels in 0–255 reach farther."""
_BATCH = 16


class NormInputs(NamedTuple):
    """What a batch norm receives.

    Attributes:
        name: Dotted name of the norm.
        deviations: Root mean square of its inputs in stored deviations from the stored means, median over
            channels.
    """

    name: str
    deviations: float


def first_norm_inputs(model: nn.Module, images: Tensor) -> NormInputs | None:
    """Measure what the first batch norm receives in evaluation mode.

    Args:
        model: The network, which is left as it was.
        images: (N, C, H, W) as the network takes them; the first 16 are used.

    Returns:
        The measurement, or None if no batch norm has statistics.
    """
    inputs: list[NormInputs] = []
    handles = [
        module.register_forward_pre_hook(_listener(name, inputs))
        for name, module in model.named_modules()
        if isinstance(module, BatchNorm) and module.running_mean is not None
    ]
    like = next((p for p in model.parameters() if p.is_floating_point()), images)
    try:
        if handles:
            with left_alone(model), mode(model, False), torch.no_grad(), torch.random.fork_rng(devices=[]):
                model(*[images[:_BATCH].to(like, copy=True)] * images_of(model))
    finally:
        for handle in handles:
            handle.remove()
    return inputs[0] if inputs else None


def _farthest(images: Tensor) -> Tensor:
    """Return the images whose values reach farthest from zero, 16 at most: a wrong scale of any part shows there."""
    reach = images.detach().abs().flatten(1).amax(1)
    return images[reach.topk(min(_BATCH, len(images))).indices]


def _listener(name: str, heard: list[NormInputs]) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    """Return a hook that measures the first call of any norm."""

    def listen(norm: nn.Module, inputs: tuple[Any, ...]) -> None:
        if not heard:
            heard.append(NormInputs(name, _deviations(norm, inputs[0])))

    return listen


def _deviations(norm: nn.Module, x: Tensor) -> float:
    """Return the root mean square distance from the stored means, median over channels."""
    shape = (1, -1, *[1] * (x.dim() - 2))
    mean, variance = norm.get_buffer("running_mean").double(), norm.get_buffer("running_var").double()
    squares = (x.double() - mean.view(shape)).square().mean([0, *range(2, x.dim())])
    return float((squares / (variance + getattr(norm, "eps"))).sqrt().median())


def check_calibration(model: nn.Module, images: Tensor, made: Plan, *, stated: bool) -> list[Note]:
    """Check calibration images against a network and the plan for it.

    Args:
        model: The network.
        images: (N, C, H, W).
        made: The plan.
        stated: Whether the plan's size was stated, instead of read from the configuration.

    Returns:
        Notes on what looks unusual.

    Raises:
        DataError: The images have the wrong channels, or another size than was stated; the network does not
            run on them; or they are certainly not normalised as its training images were.
    """
    check_taken(images, model, "calibration images")
    notes = [n for n in (_size(model, images, made, stated),) if n]
    try:
        seen = first_norm_inputs(model, images) if _has_statistics(model) else None
        if seen is not None:
            far = first_norm_inputs(model, _farthest(images)) or seen
            seen = seen if far.deviations <= _WRONG else far
        logits_of(model, images[:1])
    except Exception as error:  # the network's own code
        line = " ".join(str(error).split())[:200]
        raise DataError(
            f"{made.model} does not run on calibration images of {times(images.shape[1:])}: {line}"
        ) from error
    if seen is None:
        _refuse_bytes(model, images)
        return notes
    return [*notes, *judged(seen, images)]


def far_from_training(model: nn.Module, images: Tensor) -> str:
    """Say that images are far from those that a network's first batch norm has seen.

    Only the far side is told: behind noise or an averaging layer a norm's stored deviations are often too large.

    Args:
        model: The network, which is left as it was.
        images: (N, C, H, W) as the network takes them; the first 16 are used.

    Returns:
        A sentence without its end; "" if nothing is odd or no batch norm has statistics.

    Examples:
        >>> import torch
        >>> norm = torch.nn.BatchNorm2d(3)
        >>> norm.running_mean.fill_(0.5)
        tensor([0.5000, 0.5000, 0.5000])
        >>> far_from_training(norm, torch.full((4, 3, 8, 8), 9.0))
        'batch-norm inputs lie 8.5 stored deviations from the stored mean, where about 1 is usual'
    """
    seen = first_norm_inputs(model, images) if _has_statistics(model) else None
    if seen is None or seen.deviations <= _ODD[1]:
        return ""
    where = f" of layer {seen.name}" if seen.name else ""
    return (
        f"batch-norm inputs{where} lie {seen.deviations:.2g} stored deviations from the stored mean, where about "
        "1 is usual"
    )


def _size(model: nn.Module, images: Tensor, made: Plan, stated: bool) -> Note | None:
    """Return a note if images have another size than configured; raise DataError if one was stated."""
    if made.input_size is None or tuple(images.shape[1:]) == tuple(made.input_size):
        return None
    here, there = times(images.shape[1:]), times(made.input_size)
    remedy = f"input_size={tuple(images.shape[1:])}"
    sized = any({"size", "input_size"} & set(e.settings) for e in made.edits)
    if stated or sized or tuple(made.input_size) != input_size_of(model):
        raise DataError(
            f"calibration images are {here}, and the cut is made for {there}: pass {remedy}, or images of {there}"
        )
    return Note(
        code="images",
        severity="info",
        text=f"calibration images are {here}, and costs are counted for {there}, as the model is "
        f"configured: pass {remedy}",
    )


def _has_statistics(model: nn.Module) -> bool:
    """Say whether any batch norm's running mean has moved from its initial zeros."""
    means = (m.running_mean for m in model.modules() if isinstance(m, BatchNorm))
    return any(bool(m.any()) for m in means if m is not None)


def judged(seen: NormInputs, images: Tensor) -> list[Note]:
    """Judge images by what a trained batch norm receives.

    Args:
        seen: The measurement.
        images: The images, for the message.

    Returns:
        A note if the images look unusual.

    Raises:
        DataError: Their scale is certainly wrong.
    """
    finding = (
        f"batch-norm inputs of layer {seen.name} lie {seen.deviations:.2g} stored deviations "
        "from its stored mean, where "
        "about 1 is usual"
    )
    low, high = (float(v) for v in images.aminmax())
    if not seen.deviations <= _WRONG:
        remedy = "divide them by 255, then " if low >= 0 and high > 2 else ""
        raise DataError(
            "calibration images are not what this network was trained on: they range over "
            f"[{low:.3g}, {high:.3g}], and {finding}; "
            f"{remedy}normalise them as in training (surgeon.models.normalized(pixels, model) "
            "does as its configuration says)"
        )
    if _ODD[0] <= seen.deviations <= _ODD[1]:
        return []
    text = (
        f"calibration images may not be what this network was trained on: {finding}; are they "
        "normalised as in training?"
    )
    return [Note(code="images", text=text)]


def _refuse_bytes(model: nn.Module, images: Tensor) -> None:
    """Raise DataError for pixels in 0–255, if there is no batch norm to judge by."""
    low, high = (float(v) for v in images.aminmax())
    if low >= 0 and high > _FARTHEST_PIXEL and normalization_of(model) is not None:
        raise DataError(
            f"calibration images range over [{low:.3g}, {high:.3g}], and the network's "
            "configuration normalises pixels in [0, 1] "
            f"by a std of {', '.join(f'{s:.3g}' for s in input_std_of(model) or ())}: divide them by 255, then "
            "surgeon.models.normalized(images, model)"
        )
