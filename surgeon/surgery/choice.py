"""Choose the start of a trained network: compare starts on calibration images that none was fitted to.

Starts are tried from the cheapest on: fitted to the weights alone, with the stock network's batch-norm
statistics; the same with statistics re-estimated on images; and weights fitted to images. A more expensive
start is used only if the logits drift clearly less with it and predictions do not clearly suffer. So with few
images, to which a fit adapts too closely, a start without images wins. The network that was measured is kept:
it is not fitted again to the held-out images, since nothing would then measure it.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from surgeon.edits import Note, Plan
from surgeon.effects import Drift
from surgeon.execution import Choice, Trial
from surgeon.methods.records import needs_data, restates
from surgeon.models.calibration import FEWEST, halves
from surgeon.models.logits import drift_of, logits_of
from surgeon.models.norm_statistics import (
    put_back,
    separate_statistics,
)
from surgeon.progress import step
from surgeon.surgery.attempt import Attempt
from surgeon.surgery.fitting import fitted
from surgeon.surgery.reference import Reference, as_it_is, reference, statistics_of

_CLEARLY = 0.9
"""A more expensive start is used if its drift is below this share of the cheaper one's."""
_UNASKED = 128
"""Images for starts that were not asked for; they are only reported, so they must not cost much."""


class Started(NamedTuple):
    """The network that is kept, and how it was chosen.

    Attributes:
        attempt: The network after the cut.
        choice: The trials and the reason, or None if nothing had to be chosen.
        drift: Its drift on images it was not fitted to, or None.
        notes: Remarks.
    """

    attempt: Attempt
    choice: Choice | None
    drift: Drift | None
    notes: tuple[Note, ...] = ()


Cut = Callable[[Plan], Attempt]


def started(
    stock: nn.Module,
    images: Tensor,
    cut: Cut,
    options: Sequence[Plan],
    unasked: Callable[[], Iterable[Plan]],
    seed: int,
) -> Started:
    """Cut a network with each of several starts, and keep the best.

    Args:
        stock: The network before the cut.
        images: (N, C, H, W) calibration images, already checked.
        cut: Carries a plan out.
        options: Plans that differ in their starts, cheapest first; the last one is the one that was asked
            for.
        unasked: Returns plans with starts that were not asked for; they are tried only to report what they
            would keep.
        seed: Seed of the split into fitted and held-out images.

    Returns:
        The chosen network.
    """
    asked = options[-1]
    if asked.effect == "exact":
        return Started(fitted(cut(asked), stock, images), None, None)
    parts = halves(images, seed)
    if parts is None:
        return _from_few(stock, images, cut, options)
    aim = reference(stock, *parts) if restates(asked) else as_it_is(stock, parts.held_out)
    found = _Trials(stock, parts.held_out, cut, aim)
    for option in options:
        found.add(option, parts.fitted)
    if found.best is None:  # the outputs cannot be compared
        return Started(fitted(cut(asked), stock, images), None, None)
    attempt, used = found.best
    others = _Trials(stock, parts.held_out, cut, aim, "start that was not asked for:")
    for plan in unasked() if asked.effect != "folds" else ():
        others.add(plan, parts.fitted[:_UNASKED])
    choice = Choice(
        fitted=len(parts.fitted),
        held_out=len(parts.held_out),
        trials=tuple(t.model_copy(update={"used": t is used}) for t in found.trials),
        why=_why(used, found.trials, len(parts.held_out)),
    )
    drift = used.drift
    if aim.note is not None:  # record the drift from the stock network itself
        drift = drift_of(aim.stock, logits_of(attempt.network, parts.held_out), "calibration") or drift
    notes = (aim.note, _note_of_less(used, found.trials), _note_of_more(used, others.trials))
    return Started(attempt, choice, drift, tuple(n for n in notes if n is not None))


class _Trials:
    """Starts tried one after the other; only the best network so far is kept in memory."""

    def __init__(
        self, stock: nn.Module, held_out: Tensor, cut: Cut, aim: Reference, tried: str = "start"
    ) -> None:
        self.tried = tried
        self.stock, self.held_out, self.cut, self.aim = stock, held_out, cut, aim
        self.trials: list[Trial] = []
        self.best: tuple[Attempt, Trial] | None = None

    def add(self, plan: Plan, images: Tensor) -> None:
        """Try a plan; without a fit to images, try both stock and re-estimated statistics."""
        with step(f"{self.tried} {start_of(plan)}"):
            self._add(plan, images)

    def _add(self, plan: Plan, images: Tensor) -> None:
        """Try a plan, and keep its network if it is the best so far."""
        attempt = self.cut(plan)
        fits = attempt.fits
        trial = self._trial(self._fitted(attempt, images) if fits else attempt)
        if trial is None:
            return
        if not fits and attempt.approximates:
            # Re-estimating writes into the norms: keep the stock statistics, in case they were better.
            displaced = attempt.displaced.statistics
            theirs = separate_statistics(attempt.network)
            again = self._trial(self._fitted(attempt, images))
            if again is not None and keeps_more(again.drift, trial.drift):
                trial = again
            else:
                put_back(theirs)
                attempt.statistics, attempt.displaced.statistics = 0, displaced
        if self.best is None or keeps_more(trial.drift, self.best[1].drift):
            self.best = attempt, trial

    def _fitted(self, attempt: Attempt, images: Tensor) -> Attempt:
        """Fit an attempt to images, with the stock network in the state that starts are compared with."""
        lags = self.aim.note is not None
        with statistics_of(self.stock, images) if lags else contextlib.nullcontext():
            return fitted(attempt, self.stock, images, lags=lags)

    def _trial(self, attempt: Attempt) -> Trial | None:
        """Measure an attempt on the held-out images."""
        drift = drift_of(self.aim.logits, logits_of(attempt.network, self.held_out), "calibration")
        if drift is None:
            return None
        self.trials.append(Trial(start=start_of(attempt.made), statistics=attempt.statistics, drift=drift))
        return self.trials[-1]


def _from_few(stock: nn.Module, images: Tensor, cut: Cut, options: Sequence[Plan]) -> Started:
    """Start with too few images to hold some out: nothing is fitted to them unless that was asked for."""
    number = len(images)
    reason = f"{number} calibration images are too few to hold some out"
    free = [o for o in options if not needs_data(o)]
    attempt = cut(free[-1]) if free else fitted(cut(options[-1]), stock, images)
    drift = drift_of(logits_of(stock, images), logits_of(attempt.network, images), "calibration")
    start = start_of(attempt.made)
    why = f"{reason}, so that nothing is taken from them" if free else f"asked for; {reason}"
    choice = Choice(fitted=0 if free else number, held_out=number if free else 0, why=why)
    if drift is not None and free:
        trial = Trial(start=start, statistics=0, drift=drift, used=True)
        choice = choice.model_copy(update={"trials": (trial,)})
    note = Note(code="start", text=f"start {start!r}: {why}; give {FEWEST} or more, better some hundred")
    return Started(attempt, choice, drift, (note,) if attempt.approximates or attempt.observed else ())


def keeps_more(new: Drift, old: Drift) -> bool:
    """Say whether a drift is clearly smaller than another.

    Args:
        new: Drift of the more expensive start.
        old: Drift of the cheaper one.

    Returns:
        True if `new` is at most 0.9 times as large, and agrees on no fewer predictions than chance (1/√N)
        explains.
    """
    if not math.isfinite(new.relative):
        return False
    chance = 1 / math.sqrt(max(new.images, 1))
    return not new.relative >= _CLEARLY * old.relative and new.agreement >= old.agreement - chance


def different(plans: Sequence[Plan]) -> list[Plan]:
    """Drop plans that have the edits of an earlier one.

    Args:
        plans: The plans.

    Returns:
        The remaining plans, in order.
    """
    return [p for i, p in enumerate(plans) if all(p.edits != q.edits for q in plans[:i])]


def start_of(plan: Plan) -> str:
    """Name the start that most sites of each operation have.

    Args:
        plan: The plan.

    Returns:
        One name, or 'kap lstsq, defective random' for several operations; 'as built' if there are no starts.
    """
    found: dict[str, Counter[str]] = {}
    for edit in plan.edits:
        if "start" in edit.settings:
            found.setdefault(edit.operation, Counter())[str(edit.settings["start"])] += 1
    most = {name: starts.most_common(1)[0][0] for name, starts in found.items()}
    if len(most) == 1:
        return next(iter(most.values()))
    return ", ".join(f"{name} {start}" for name, start in most.items()) or "as built"


def _why(used: Trial, trials: Sequence[Trial], number: int) -> str:
    """Say in words why a start was chosen."""
    least = min(trials, key=lambda t: t.drift.relative)
    if len(trials) == 1:
        return f"the only one that was asked for, measured on {number} images held out"
    if least is used:
        return f"of {len(trials)} tried it keeps most on {number} images held out"
    return f"none of the dearer ones keeps clearly more on {number} images held out"


def _note_of_less(used: Trial, trials: Sequence[Trial]) -> Note | None:
    """Note that the most expensive start was passed over: a warning if it keeps less, otherwise a remark."""
    last = trials[-1]
    if last is used:
        return None
    worse = not last.drift.relative <= used.drift.relative
    reason = "it keeps more; more calibration images make better starts" if worse else "it is the cheaper one"
    text = f"start {used.label} is used, and not {last.label}, as {reason}: {_kept(used, last)}"
    return Note(code="start", severity="warning" if worse else "info", text=text)


def _note_of_more(used: Trial, others: Sequence[Trial]) -> Note | None:
    """Note that a start which was not asked for would keep clearly more."""
    better = [t for t in others if keeps_more(t.drift, used.drift)]
    if not better:
        return None
    best = min(better, key=lambda t: t.drift.relative)
    text = (
        f"start {used.label} is used as asked for, and {best.label} would keep more ('auto' "
        f"chooses it): {_kept(used, best)}"
    )
    return Note(code="start", text=text)


def _kept(one: Trial, other: Trial) -> str:
    """Compare two trials in words."""
    results = [
        f"{100 * t.drift.agreement:.0f} % (drift of the logits {t.drift.relative:.2g})" for t in (one, other)
    ]
    return f"{' against '.join(results)} of the predictions are kept on {one.drift.images} images held out"
