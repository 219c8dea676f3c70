"""Learning rates by epoch: timm's schedules by name, and the plateau rule of the noise paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from surgeon.errors import RecipeError
from surgeon.recipe import Training

PATIENCE = 5


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


def schedule(optimizer: Any, settings: Training) -> Callable[[int, Sequence[float]], None]:
    """A function of (epoch, losses of the epochs before) that sets the rates of the optimizer's groups.

    Names are timm's, "plateau" above, and "constant". Here: timm's step and multistep decay, at fixed epochs
    by default, is placed by the length of the training: every third of it, or at its half and three quarters.

    No rate falls below `floor(settings)`.

    Raises RecipeError for an unknown name.
    """
    name, epochs = settings.schedule, max(settings.epochs, 1)
    lowest = floor(settings)
    if name in ("plateau", "constant"):
        base = [group["lr"] / settings.lr for group in optimizer.param_groups]

        def by_loss(epoch: int, losses: Sequence[float]) -> None:
            now = settings.lr if name == "constant" else plateau(losses, settings.lr, lowest)
            for group, share in zip(optimizer.param_groups, base, strict=True):
                group["lr"] = now * share

        return by_loss

    from timm.scheduler import create_scheduler_v2

    fault = f"schedule={name!r} is not known; 'cosine', 'step', 'multistep', 'plateau' and 'constant' are"
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
    scheduler: Any = made

    def by_epoch(epoch: int, losses: Sequence[float]) -> None:
        scheduler.step(epoch)
        for group in optimizer.param_groups:
            group["lr"] = max(group["lr"], lowest * group.get("lr_scale", 1.0))

    return by_epoch
