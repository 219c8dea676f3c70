"""Whether images are of the kind that a network was trained on: its first batch norm has seen those, and says.

What a batch norm is given on the images it was trained on lies, channel by channel, about one of its stored standard
deviations from its stored mean (root mean square). Images 255 times too large put it 50 deviations and more away, images that were
not normalised mostly less than half of one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from surgeon.edits import Note, Plan
from surgeon.errors import DataError
from surgeon.graph.measure import images_of
from surgeon.graph.trace import mode
from surgeon.graph.watch import left_alone
from surgeon.images import check_taken, times
from surgeon.models.facts import input_size_of, input_std_of, normalization_of
from surgeon.surgery.drift import logits_of
from surgeon.torch_private import BatchNorm

_WRONG = 20.0
"""Deviations that no change of subject, camera or weather makes: another scale."""
_ODD = (0.4, 3.0)
_FARTHEST_PIXEL = 20.0
"""Normalised pixels end at 3 or so; only those of 0–255 go farther."""
_BATCH = 16


class NormInputs(NamedTuple):
    """A batch norm, and its inputs' root mean square in stored deviations from the stored means, the median over channels."""

    name: str
    deviations: float


def first_norm_inputs(model: nn.Module, images: Tensor) -> NormInputs | None:
    """What the images are to the batch norm that is called first in evaluation mode; None without one that has statistics.

    images: (N, C, H, W) as the network takes them; the first 16 are looked at.
    """
    found: list[NormInputs] = []
    handles = [
        module.register_forward_pre_hook(_listener(name, found))
        for name, module in model.named_modules()
        if isinstance(module, BatchNorm) and module.running_mean is not None
    ]
    like = next((p for p in model.parameters() if p.is_floating_point()), images)
    try:
        if handles:
            with left_alone(model), mode(model, False), torch.no_grad(), torch.random.fork_rng(devices=[]):
                model(*[images[:_BATCH].to(like)] * images_of(model))
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else None


def _listener(name: str, found: list[NormInputs]) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    def listen(norm: nn.Module, inputs: tuple[Any, ...]) -> None:
        if not found:
            found.append(NormInputs(name, _deviations(norm, inputs[0])))

    return listen


def _deviations(norm: nn.Module, x: Tensor) -> float:
    shape = (1, -1, *[1] * (x.dim() - 2))
    mean, variance = norm.get_buffer("running_mean").double(), norm.get_buffer("running_var").double()
    squares = (x.double() - mean.view(shape)).square().mean([0, *range(2, x.dim())])
    return float((squares / (variance + getattr(norm, "eps"))).sqrt().median())


def check_calibration(model: nn.Module, images: Tensor, made: Plan, *, stated: bool) -> list[Note]:
    """Notes on calibration images (N, C, H, W) that are odd to a network and the plan for it.

    stated: whether the plan's size was given, and not the configuration's.

    Raises DataError for images of other channels or of another size than was stated, for those that the network does not run
    on, and for those that are surely not what it was trained on.
    """
    check_taken(images, model, "calibration images")
    notes = [n for n in (_size(model, images, made, stated),) if n]
    try:
        seen = first_norm_inputs(model, images) if _has_statistics(model) else None
        logits_of(model, images[:1])
    except Exception as error:
        line = " ".join(str(error).split())[:200]
        raise DataError(
            f"{made.model} does not run on calibration images of {times(images.shape[1:])}: {line}"
        ) from error
    if seen is None:
        _refuse_bytes(model, images)
        return notes
    return [*notes, *judged(seen, images)]


def _size(model: nn.Module, images: Tensor, made: Plan, stated: bool) -> Note | None:
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
        text=f"calibration images are {here}, and costs are counted for {there}, as the model is configured: pass {remedy}",
    )


def _has_statistics(model: nn.Module) -> bool:
    """Whether any batch norm's running means have moved from where they start."""
    means = (m.running_mean for m in model.modules() if isinstance(m, BatchNorm))
    return any(bool(m.any()) for m in means if m is not None)


def judged(seen: NormInputs, images: Tensor) -> list[Note]:
    """A note where images are odd to a batch norm that has been trained.

    Raises DataError where they are at a scale that is none of its.
    """
    told = (
        f"batch-norm inputs of layer {seen.name} lie {seen.deviations:.2g} stored deviations from its stored mean, where "
        "about 1 is usual"
    )
    low, high = (float(v) for v in images.aminmax())
    if not seen.deviations <= _WRONG:
        remedy = "divide them by 255, then " if low >= 0 and high > 2 else ""
        raise DataError(
            f"calibration images are not what this network was trained on: they range over [{low:.3g}, {high:.3g}], and {told}; "
            f"{remedy}normalise them as in training (surgeon.models.normalized(pixels, model) does as its configuration says)"
        )
    if _ODD[0] <= seen.deviations <= _ODD[1]:
        return []
    text = f"calibration images may not be what this network was trained on: {told}; are they normalised as in training?"
    return [Note(code="images", text=text)]


def _refuse_bytes(model: nn.Module, images: Tensor) -> None:
    low, high = (float(v) for v in images.aminmax())
    if low >= 0 and high > _FARTHEST_PIXEL and normalization_of(model) is not None:
        raise DataError(
            f"calibration images range over [{low:.3g}, {high:.3g}], and the network's configuration normalises pixels in [0, 1] "
            f"by a std of {', '.join(f'{s:.3g}' for s in input_std_of(model) or ())}: divide them by 255, then "
            "surgeon.models.normalized(images, model)"
        )
