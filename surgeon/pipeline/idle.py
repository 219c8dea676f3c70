"""Settings of a training and its images that change nothing in it: reported in one line each, as nobody can see it
in the result. `evaluation/unread.py` does so for an evaluation."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from torch import nn

from surgeon.data import Images, Sets
from surgeon.data.lazy_images import Stream
from surgeon.errors import either
from surgeon.models.calibration import MOST
from surgeon.processes import first, world
from surgeon.recipe import Data, Training
from surgeon.training.schedule import floor, part_of

CALIBRATION = 1024
"""Calibration images where nobody says how many."""


@dataclass(frozen=True)
class Facts:
    """What decides whether a setting is used.

    Attributes:
        noise: whether the network has adversarial noise layers.
        anneals: whether it has layers whose effect grows.
        norms: whether it has norms with running statistics.
        processes: how many share the training.
        images: number of training images; None for unknown.
        read: how they come.
        cut: whether validation or test images were cut from the training images.
    """

    noise: bool = False
    anneals: bool = False
    norms: bool = True
    processes: int = 1
    images: int | None = None
    read: Literal["digits", "stream", "files"] = "files"
    cut: bool = True


class Rule(NamedTuple):
    """A setting, when it changes nothing, and why."""

    name: str
    applies: Callable[[Training, Data, Facts], bool]
    why: str


RULES = (
    Rule("training.noise_share", lambda t, d, f: not f.noise, "the network has no adversarial noise layers"),
    Rule("training.anneal_share", lambda t, d, f: not f.anneals, "no layer of the network is annealed"),
    Rule(
        "training.min_lr",
        lambda t, d, f: t.schedule == "constant" and not f.noise,
        "schedule=constant never lowers the rate",
    ),
    Rule(
        "training.weight_decay_on", lambda t, d, f: t.weight_decay == 0, "weight_decay=0 makes nothing decay"
    ),
    Rule(
        "training.update_norms",
        lambda t, d, f: not f.norms,
        "the network has no norms with running statistics",
    ),
    Rule("training.exact", lambda t, d, f: f.processes == 1, "one process trains alone"),
    Rule(
        "data.stratified",
        lambda t, d, f: not f.cut,
        "the source's own validation and test images are used, and nothing is split",
    ),
    Rule("data.val_share", lambda t, d, f: f.read == "stream", "a stream is not split"),
    Rule("data.test_share", lambda t, d, f: f.read == "stream", "a stream is not split"),
    Rule("data.faults", lambda t, d, f: f.read == "stream", "a stream is read as it comes"),
    Rule("data.faults", lambda t, d, f: f.read == "digits", "the digits have no faults"),
    Rule("data.in_memory", lambda t, d, f: f.read == "stream", "a stream is read as it comes"),
    Rule("data.in_memory", lambda t, d, f: f.read == "digits", "the digits are always in memory"),
)
"""Each setting that may be without effect; the others always have one, or are refused where they have none."""


def facts(network: nn.Module, sets: Sets, source: str) -> Facts:
    """Find out what decides whether settings are used.

    Args:
        network: the network that is trained.
        sets: its images.
        source: where these are from.

    Returns:
        The facts.
    """
    from surgeon.methods.annealed import annealed
    from surgeon.training.two_rounds import noise_by_name

    train, stream = sets.train, isinstance(sets.train, Stream)
    return Facts(
        noise=bool(noise_by_name(network)),
        anneals=any(True for _ in annealed(network)),
        norms=any(getattr(m, "running_mean", None) is not None for m in network.modules()),
        processes=world(),
        images=None if stream else len(train.x) if isinstance(train, Images) else len(train),
        read="stream" if stream else "digits" if source == "digits" else "files",
        cut=sets.cut,
    )


def without_effect(training: Training, data: Data, known: Facts) -> tuple[str, ...]:
    """Name settings that differ from their defaults and change nothing.

    Args:
        training: settings of the training.
        data: settings of its images.
        known: what decides it.

    Returns:
        One sentence for each setting.

    Examples:
        >>> from surgeon.recipe import Data, Training
        >>> without_effect(Training(noise_share=1.0), Data(), Facts())
        ('training.noise_share=1 changes nothing: the network has no adversarial noise layers',)
        >>> without_effect(Training(noise_share=1.0), Data(), Facts(noise=True))
        ()
    """
    parts = {"training": training, "data": data}
    remarks = []
    for name, applies, why in RULES:
        part, _, key = name.partition(".")
        value = getattr(parts[part], key)
        if value != type(parts[part]).model_fields[key].default and applies(training, data, known):
            remarks.append(f"{name}={_written(value)} changes nothing: {why}")
    quiet = training.epochs - math.ceil(part_of(training.noise_share, training.epochs))
    if (
        known.noise
        and quiet > 0
        and floor(training) == 0
        and (training.swa is None or training.swa.lr is None)
    ):
        remarks.append(
            f"training.min_lr=0 leaves the last {quiet} of {training.epochs} epochs without a step: "
            f"from noise_share={training.noise_share:g} on noise is off and the rate at its lowest; give min_lr or "
            "noise_share=1"
        )
    said = "batch_size" in training.model_fields_set
    if said and known.images is not None and training.batch_size > known.images:
        remarks.append(
            f"training.batch_size={training.batch_size} is more than the {known.images:,} training images: "
            "each step takes all of them"
        )
    return tuple(remarks)


def of_calibration(count: int, there: int | None, why: str = "") -> tuple[str, ...]:
    """Say where a number of calibration images was asked for, and another is used.

    Args:
        count: the number that was asked for.
        there: how many images there are to draw from; None where none are used.
        why: why none are used.

    Returns:
        One sentence, or none; none where nobody said a number.

    Examples:
        >>> of_calibration(5000, 1077)
        ('calibration_count=5000, and there are 1,077 images to calibrate on: all of them are used',)
        >>> of_calibration(500, None, "the recipe has no surgery")
        ('calibration_count=500 changes nothing: the recipe has no surgery',)
    """
    if count == CALIBRATION:
        return ()
    said = either(f"calibration_count={count}", f"--calibration-count {count}")
    if there is None:
        return (f"{said} changes nothing: {why}",)
    if min(count, there) > MOST:
        return (f"{said}: starts are computed from {MOST:,} of these images at most",)
    if count > there:
        return (f"{said}, and there are {there:,} images to calibrate on: all of them are used",)
    return ()


def tell(label: str, sentences: Iterable[str]) -> None:
    """Write sentences to standard error, one line each, in the first process.

    Args:
        label: heads each line.
        sentences: the sentences.
    """
    for sentence in sentences:
        if first():
            print(f"{label}: {sentence}", file=sys.stderr, flush=True)


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
