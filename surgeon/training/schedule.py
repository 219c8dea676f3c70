"""Learning rates: timm's schedules by name, decay at epochs, and the plateau rule of the noise paper."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from surgeon.errors import RecipeError
from surgeon.recipe import Training

if TYPE_CHECKING:
    from torch.optim import Optimizer


PATIENCE = 5
SetRate = Callable[[float, Sequence[float]], None]


def floor(settings: Training) -> float:
    """Return the lowest learning rate: the smaller of `min_lr` and `lr`.

    Args:
        settings: Settings of the training.

    Returns:
        The rate.
    """
    return min(settings.min_lr, settings.lr)


def part_of(share: float, number: int) -> float:
    """Return a share of a number of epochs or steps, without what floats add to it or take from it.

    Args:
        share: The share, as it was written: 0.29.
        number: The number.

    Returns:
        29.0 of 100, where 0.29 · 100 is 28.999999999999996.

    Examples:
        >>> from surgeon.training.schedule import part_of
        >>> part_of(0.29, 100), part_of(0.55, 100)
        (29.0, 55.0)
    """
    return float(Fraction(repr(share)) * number)


def first_averaged(settings: Training) -> int:
    """Return the first epoch whose weights `swa` averages, the number of epochs if it averages no epoch.

    Args:
        settings: Settings of the training.

    Returns:
        The epoch, counted from 0.
    """
    return (
        settings.epochs if settings.swa is None else math.floor(part_of(settings.swa.start, settings.epochs))
    )


def plateau(losses: Sequence[float], lr: float, min_lr: float) -> float:
    """Compute the learning rate after epochs with given validation losses (You et al. 2019).

    The rate is halved, at most once in five epochs and not below `min_lr`, if none of the last five losses is
    below all earlier ones. It depends on the losses only, so that a resumed training has the same rates.

    Args:
        losses: Validation loss of each finished epoch.
        lr: The initial rate.
        min_lr: The lowest rate.

    Returns:
        The rate of the next epoch.

    Examples:
        >>> from surgeon.training.schedule import plateau
        >>> plateau([1.0, 2.0, 2.0, 2.0, 2.0, 2.0], 0.1, 0.001)
        0.05
    """
    held = 0
    for end in range(1, len(losses) + 1):
        held += 1
        earlier, last = losses[: max(end - PATIENCE, 0)], losses[max(end - PATIENCE, 0) : end]
        if held >= PATIENCE and earlier and min(last) >= min(earlier):
            lr, held = max(lr / 2, min_lr), 0
    return lr


def schedule(optimizer: Optimizer, settings: Training) -> SetRate:
    """Make the function that sets the optimizer's learning rates.

    "linear" falls to min_lr from the end of the warm-up on; "step" decays every `decay_epochs`, "multistep" after
    each of the `milestones`, as torch's MultiStepLR does; "plateau" is `plateau`, "constant" is what it says; others
    are timm's. Rates are set at every step; cosine, linear and similar ones change with the step, others with the
    epoch. During the first `warmup_epochs` the rate rises linearly from 0, for any schedule. After that no rate falls
    below `floor(settings)`. From the epoch on that `swa` begins with, its own rate holds, if it has one.

    Args:
        optimizer: The optimizer, whose groups keep the ratios of their rates.
        settings: Settings of the training.

    Returns:
        A function of (epochs done, with fractions; validation losses of the finished epochs).

    Raises:
        RecipeError: The schedule is unknown.
    """
    lowest, epochs = floor(settings), max(settings.epochs, 1)
    base = [group["lr"] / settings.lr for group in optimizer.param_groups]
    ours: dict[str, Callable[[float, Sequence[float]], float]] = {
        "constant": lambda done, losses: settings.lr,
        "plateau": lambda done, losses: plateau(losses, settings.lr, lowest),
        "linear": lambda done, losses: (
            settings.lr + (lowest - settings.lr) * max(0.0, done - rise) / (epochs - rise)
        ),
        "step": lambda done, losses: settings.lr * settings.factor ** (done // every),
        "multistep": lambda done, losses: settings.lr * settings.factor ** bisect.bisect(milestones, done),
    }
    rise = min(settings.warmup_epochs, epochs - 1)
    every, milestones = settings.decay_epochs or max(1, round(epochs / 3)), settings.milestones_in_epochs()
    theirs = None if settings.schedule in ours else _timm(optimizer, settings, lowest)

    averaging = settings.swa.lr if settings.swa is not None else None

    def set_rate(done: float, losses: Sequence[float]) -> None:
        rising = min(1.0, done / settings.warmup_epochs) if settings.warmup_epochs else 1.0
        if theirs is not None:
            theirs.step(done)
        for group, share in zip(optimizer.param_groups, base, strict=True):
            now = group["lr"] if theirs is not None else ours[settings.schedule](done, losses) * share
            group["lr"] = max(now, lowest * share) * rising
            if averaging is not None and done >= first_averaged(settings):
                group["lr"] = averaging * share

    return set_rate


def _timm(optimizer: Optimizer, settings: Training, lowest: float) -> Any:
    from timm.scheduler import create_scheduler_v2

    name, epochs = settings.schedule, max(settings.epochs, 1)
    fault = f"schedule={name!r} is not known; 'cosine', 'linear', 'step', 'multistep', 'plateau' and 'constant' are"
    try:
        made, _ = create_scheduler_v2(
            optimizer,
            sched=name,
            num_epochs=epochs,
            min_lr=lowest,
            warmup_epochs=0,
        )
    except ValueError as error:
        raise RecipeError(f"{fault} ({error})") from None
    if made is None:
        raise RecipeError(fault)
    return made
