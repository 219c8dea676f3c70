"""Which start a trained network gets: what each keeps is measured on calibration images that were held out of it.

Starts are tried from the cheapest on: the weights alone with the stock network's batch-norm statistics, the same with
statistics taken again on images, and weights fitted to images. A dearer one is used where the logits drift clearly less with
it, and predictions are not clearly fewer; so few images, which fit themselves alone, fall back to a start that needs none.
The network that was measured is the one that is kept: it is not fitted again to the images held out.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from surgeon.edits import Choice, Drift, Note, Plan, Trial
from surgeon.progress import step
from surgeon.surgery.attempt import Attempt
from surgeon.surgery.calibration import FEWEST, halves
from surgeon.surgery.drift import drift_of, logits_of
from surgeon.surgery.reference import Reference, reference, statistics_of
from surgeon.surgery.refit import needs_data, refit
from surgeon.surgery.statistics import (
    put_back,
    reestimate_statistics,
    running_statistics,
    separate_statistics,
)

_CLEARLY = 0.9
"""A dearer start's drift as a share of the cheaper one's, below which it is used."""
_UNASKED = 128
"""Images that starts are fitted to which nobody asked for, and which can only be told of."""


class Started(NamedTuple):
    """The network that is kept, how it was chosen, its drift on images that it has not seen, and remarks."""

    attempt: Attempt
    choice: Choice | None
    drift: Drift | None
    notes: tuple[Note, ...] = ()


Cut = Callable[[Plan], Attempt]


def started(
    stock: nn.Module, images: Tensor, cut: Cut, options: Sequence[Plan], unasked: Callable[[], Iterable[Plan]], seed: int
) -> Started:  # fmt: skip
    """Cut `stock` with the best of its starts.

    images: (N, C, H, W), checked. cut: carries a plan out. options: plans that differ in their starts, cheapest first.
    unasked: plans with starts that were not asked for, tried so as to say what they would have kept.
    """
    asked = options[-1]
    if asked.effect == "exact":
        return Started(_fitted(cut(asked), stock, images), None, None)
    parts = halves(images, seed)
    if parts is None:
        return _from_few(stock, images, cut, options)
    aim = reference(stock, *parts)
    found = _Trials(stock, parts.held_out, cut, aim)
    for option in options:
        found.add(option, parts.fitted)
    if found.best is None:  # the network gives nothing that could be compared
        return Started(_fitted(cut(asked), stock, images), None, None)
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
    if aim.note is not None:  # the record's drift is from the stock network all the same
        drift = drift_of(aim.stock, logits_of(attempt.network, parts.held_out), "calibration") or drift
    notes = (aim.note, _note_of_less(used, found.trials), _note_of_more(used, others.trials))
    return Started(attempt, choice, drift, tuple(n for n in notes if n is not None))


class _Trials:
    """Starts tried one after the other; only the best network so far is kept."""

    def __init__(
        self, stock: nn.Module, held_out: Tensor, cut: Cut, aim: Reference, tried: str = "start"
    ) -> None:
        self.tried = tried
        self.stock, self.held_out, self.cut, self.aim = stock, held_out, cut, aim
        self.trials: list[Trial] = []
        self.best: tuple[Attempt, Trial] | None = None

    def add(self, plan: Plan, images: Tensor) -> None:
        """Try a plan; one that fits nothing to images first with the stock network's batch-norm statistics, then with theirs."""
        with step(f"{self.tried} {start_of(plan)}"):
            self._add(plan, images)

    def _add(self, plan: Plan, images: Tensor) -> None:
        attempt = self.cut(plan)
        fits = bool(needs_data(plan))
        trial = self._trial(self._fitted(attempt, images) if fits else attempt)
        if trial is None:
            return
        if not fits and attempt.approximates:
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
        lags = self.aim.note is not None
        with statistics_of(self.stock, images) if lags else contextlib.nullcontext():
            return _fitted(attempt, self.stock, images)

    def _trial(self, attempt: Attempt) -> Trial | None:
        drift = drift_of(self.aim.logits, logits_of(attempt.network, self.held_out), "calibration")
        if drift is None:
            return None
        self.trials.append(Trial(start=start_of(attempt.made), statistics=attempt.statistics, drift=drift))
        return self.trials[-1]


def _from_few(stock: nn.Module, images: Tensor, cut: Cut, options: Sequence[Plan]) -> Started:
    """With images too few to hold some out: nothing is taken from them unless that was asked for."""
    number = len(images)
    told = f"{number} calibration images are too few to hold some out"
    free = [o for o in options if not needs_data(o)]
    attempt = cut(free[-1]) if free else _fitted(cut(options[-1]), stock, images)
    drift = drift_of(logits_of(stock, images), logits_of(attempt.network, images), "calibration")
    start = start_of(attempt.made)
    why = f"{told}, so that nothing is taken from them" if free else f"asked for; {told}"
    choice = Choice(fitted=0 if free else number, held_out=number if free else 0, why=why)
    if drift is not None and free:
        trial = Trial(start=start, statistics=0, drift=drift, used=True)
        choice = choice.model_copy(update={"trials": (trial,)})
    note = Note(code="start", text=f"start {start!r}: {why}; give {FEWEST} or more, better some hundred")
    return Started(attempt, choice, drift, (note,) if attempt.approximates else ())


def keeps_more(new: Drift, old: Drift) -> bool:
    """Whether `new` is clearly better: a tenth less drift, and not fewer equal predictions by more than chance gives."""
    if not math.isfinite(new.relative):
        return False
    chance = 1 / math.sqrt(max(new.images, 1))
    return not new.relative >= _CLEARLY * old.relative and new.agreement >= old.agreement - chance


def different(plans: Sequence[Plan]) -> list[Plan]:
    """The plans without those whose edits an earlier one has."""
    return [p for i, p in enumerate(plans) if all(p.edits != q.edits for q in plans[:i])]


def start_of(plan: Plan) -> str:
    """The start that most sites of each operation have, in words."""
    found: dict[str, Counter[str]] = {}
    for edit in plan.edits:
        if "start" in edit.settings:
            found.setdefault(edit.operation, Counter())[str(edit.settings["start"])] += 1
    most = {name: starts.most_common(1)[0][0] for name, starts in found.items()}
    if len(most) == 1:
        return next(iter(most.values()))
    return ", ".join(f"{name} {start}" for name, start in most.items()) or "as built"


def _fitted(attempt: Attempt, stock: nn.Module, images: Tensor) -> Attempt:
    """With whatever of its plan starts from images taken from them, and batch-norm statistics where the function has changed."""
    if not needs_data(attempt.made) and not attempt.approximates:
        return attempt
    attempt.displaced.statistics = {**running_statistics(attempt.tree), **attempt.displaced.statistics}
    separate_statistics(attempt.network)
    found = refit(attempt.network, stock, attempt.made, attempt.operations, images)
    attempt.residuals |= found.errors
    attempt.unfitted |= found.unfitted
    attempt.displaced.statistics = {**found.displaced, **attempt.displaced.statistics}
    if attempt.approximates:
        attempt.statistics = reestimate_statistics(attempt.network, images)
    return attempt


def _why(used: Trial, trials: Sequence[Trial], number: int) -> str:
    least = min(trials, key=lambda t: t.drift.relative)
    if len(trials) == 1:
        return f"the only one that was asked for, measured on {number} images held out"
    if least is used:
        return f"of {len(trials)} tried it keeps most on {number} images held out"
    return f"none of the dearer ones keeps clearly more on {number} images held out"


def _note_of_less(used: Trial, trials: Sequence[Trial]) -> Note | None:
    """Where the dearest start was passed over: a warning where it keeps less, else a remark."""
    last = trials[-1]
    if last is used:
        return None
    worse = not last.drift.relative <= used.drift.relative
    reason = "it keeps more; more calibration images make better starts" if worse else "it is the cheaper one"
    text = f"start {used.label} is used, and not {last.label}, as {reason}: {_kept(used, last)}"
    return Note(code="start", severity="warning" if worse else "info", text=text)


def _note_of_more(used: Trial, others: Sequence[Trial]) -> Note | None:
    """Where a start that was not asked for keeps clearly more."""
    better = [t for t in others if keeps_more(t.drift, used.drift)]
    if not better:
        return None
    best = min(better, key=lambda t: t.drift.relative)
    text = f"start {used.label} is used as asked for, and {best.label} would keep more ('auto' chooses it): {_kept(used, best)}"
    return Note(code="start", text=text)


def _kept(one: Trial, other: Trial) -> str:
    told = [
        f"{100 * t.drift.agreement:.0f} % (drift of the logits {t.drift.relative:.2g})" for t in (one, other)
    ]
    return f"{' against '.join(told)} of the predictions are kept on {one.drift.images} images held out"
