"""Learning rates: timm's schedules by name, and the plateau rule of the noise paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from surgeon.errors import RecipeError
from surgeon.recipe import Training

if TYPE_CHECKING:
    from torch.optim import Optimizer


PATIENCE = 5
SetRate = Callable[[float, Sequence[float]], None]


def floor(settings: Training) -> float:
    """The smallest learning rate: `min_lr`, or `lr` where that is smaller still."""
    return min(settings.min_lr, settings.lr)


def plateau(losses: Sequence[float], lr: float, min_lr: float) -> float:
    """The learning rate after epochs with these validation losses (You et al. 2019).

    Halved, at most once in five epochs and not below `min_lr`, when none of the last five losses is below
    all earlier ones. A function of the losses alone, so that a resumed training has the same rates.
    """
    held = 0
    for end in range(1, len(losses) + 1):
        held += 1
        earlier, last = losses[: max(end - PATIENCE, 0)], losses[max(end - PATIENCE, 0) : end]
        if held >= PATIENCE and earlier and min(last) >= min(earlier):
            lr, held = max(lr / 2, min_lr), 0
    return lr


def schedule(optimizer: Optimizer, settings: Training) -> SetRate:
    """A function of (epochs done, with fractions; losses of the finished epochs) that sets the groups' rates.

    Names are timm's, and "linear" (to min_lr), "plateau" above, "constant". Rates are set at every step; those of
    cosine, linear and their like fall with it, others by the epoch. Here: timm's step and multistep decay, at
    fixed epochs by default, is placed by the length of the training: every third of it, or at its half and three
    quarters. `warmup_epochs` before it the rate rises from 0, whatever its name.

    No rate falls below `floor(settings)` after the warm-up.

    Raises RecipeError for an unknown name.
    """
    lowest, epochs = floor(settings), max(settings.epochs, 1)
    base = [group["lr"] / settings.lr for group in optimizer.param_groups]
    ours: dict[str, Callable[[float, Sequence[float]], float]] = {
        "constant": lambda done, losses: settings.lr,
        "plateau": lambda done, losses: plateau(losses, settings.lr, lowest),
        "linear": lambda done, losses: settings.lr + (lowest - settings.lr) * done / epochs,
    }
    theirs = None if settings.schedule in ours else _timm(optimizer, settings, lowest)

    def set_rate(done: float, losses: Sequence[float]) -> None:
        rising = min(1.0, done / settings.warmup_epochs) if settings.warmup_epochs else 1.0
        if theirs is not None:
            theirs.step(done)
        for group, share in zip(optimizer.param_groups, base, strict=True):
            now = group["lr"] if theirs is not None else ours[settings.schedule](done, losses) * share
            group["lr"] = max(now, lowest * share) * rising

    return set_rate


def _timm(optimizer: Optimizer, settings: Training, lowest: float) -> Any:
    from timm.scheduler import create_scheduler_v2

    name, epochs = settings.schedule, max(settings.epochs, 1)
    fault = f"schedule={name!r} is not known; 'cosine', 'linear', 'step', 'multistep', 'plateau' and 'constant' are"
    try:
        made, _ = create_scheduler_v2(
            optimizer, sched=name, num_epochs=epochs, min_lr=lowest, warmup_epochs=0,
            decay_epochs=max(1, round(epochs / 3)),
            decay_milestones=[max(1, epochs // 2), max(2, epochs * 3 // 4)],
        )  # fmt: skip
    except ValueError as error:
        raise RecipeError(f"{fault} ({error})") from None
    if made is None:
        raise RecipeError(fault)
    return made
