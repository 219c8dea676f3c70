"""Choose the start of a trained network: compare starts on calibration images that no start was fitted to.

Starts are tried from the cheapest on: fitted to the weights alone, with the stock network's batch-norm
statistics; the same with statistics re-estimated on images; and weights fitted to images. A more expensive
start is used only if the logits drift clearly less with it and predictions do not clearly suffer, or if it keeps
clearly more predictions, however far the logits drift. So with few images, to which a fit adapts too closely, a start
without images wins. The network that was measured is kept: it is not fitted again to the held-out images, since
nothing would then measure it.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

from torch import Tensor, nn

from surgeon.edits import Note, Plan
from surgeon.effects import Drift
from surgeon.execution import Choice, Trial
from surgeon.methods.needs import needs_data, restates
from surgeon.models.calibration import FEWEST, Halves, first_copies, halves
from surgeon.models.logits import drift_of, logits_of
from surgeon.models.norm_statistics import (
    put_back,
    separate_statistics,
)
from surgeon.models.reference import Reference, as_it_is, reference
from surgeon.numerals import percent
from surgeon.progress import step
from surgeon.surgery.attempt import Attempt
from surgeon.surgery.fitting import fitted

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


class Measured(NamedTuple):
    """A start on the held-out images.

    Attributes:
        trial: What came of it.
        logits: The network's logits there.
    """

    trial: Trial
    logits: Tensor | None


class AsAsked:
    """The start that was asked for, which is compared with no other.

    Attributes:
        plans: What is to be cut.
        undecided: Whether no network can be kept: never here.
    """

    undecided = False

    def __init__(self, stock: nn.Module, images: Tensor, plan: Plan) -> None:
        self.stock, self.images = stock, images
        self.plans: Sequence[Plan] = [plan]
        self._started: Started

    def step(self, plan: Plan) -> AbstractContextManager[None]:
        """Report nothing."""
        return contextlib.nullcontext()

    def add(self, attempt: Attempt) -> None:
        """Fit the network to all images."""
        self._started = Started(fitted(attempt, self.stock, self.images), None, None)

    def started(self) -> Started:
        """Return the network."""
        return self._started


class FromFew(AsAsked):
    """A start with too few images to hold some out: nothing is fitted to them unless that was asked for."""

    def __init__(self, stock: nn.Module, images: Tensor, options: Sequence[Plan]) -> None:
        free = [o for o in options if not needs_data(o)]
        super().__init__(stock, images, (free or options)[-1])
        self.free = bool(free)

    def add(self, attempt: Attempt) -> None:
        """Start the network, and measure it on the images."""
        images, free, number = self.images, self.free, len(self.images)
        if not free:
            fitted(attempt, self.stock, images)
        drift = drift_of(logits_of(self.stock, images), logits_of(attempt.network, images), "calibration")
        start = start_of(attempt.made)
        distinct = len(first_copies(images).unique())
        these = f"{number} calibration images are"
        which = "" if distinct == number else f" {distinct} distinct ones,"
        reason = f"{these}{which} too few to hold some out"
        why = f"{reason}, so that nothing is taken from them" if free else f"asked for; {reason}"
        choice = Choice(fitted=0 if free else number, held_out=number if free else 0, why=why)
        if drift is not None and free:
            trial = Trial(start=start, statistics=0, drift=drift, used=True)
            choice = choice.model_copy(update={"trials": (trial,)})
        note = Note(code="start", text=f"start {start!r}: {why}; give {FEWEST} or more, better some hundred")
        notes = (note,) if attempt.approximates or attempt.observed else ()
        self._started = Started(attempt, choice, drift, notes)


class Trials:
    """Starts tried one after the other; only the best network so far is kept in memory.

    Args:
        stock: The network before the cut.
        parts: The images that starts are fitted to, and those that they are compared on.
        plans: The plans to try, cheapest first.
        beside: The trials of the starts that were asked for, if these were not.
    """

    def __init__(
        self, stock: nn.Module, parts: Halves, plans: Sequence[Plan], beside: Trials | None = None
    ) -> None:
        self.stock, self.parts, self.plans = stock, parts, plans
        self.tried = "start that was not asked for:" if beside else "start"
        self.aim: Reference
        if beside:
            self.aim = beside.aim
        else:
            self.aim = reference(stock, *parts) if restates(plans[-1]) else as_it_is(stock, parts.held_out)
        self.trials: list[Trial] = []
        self.others: list[Trial] = []
        self.best: tuple[Attempt, Measured] | None = None

    def beside(self, plans: Sequence[Plan]) -> Trials:
        """Return trials of starts that were not asked for, only to report with these what they would keep.

        Args:
            plans: Their plans.

        Returns:
            The trials, on fewer images.
        """
        others = Trials(self.stock, Halves(self.parts.fitted[:_UNASKED], self.parts.held_out), plans, self)
        self.others = others.trials
        return others

    def step(self, plan: Plan) -> AbstractContextManager[None]:
        """Report a plan by its start."""
        return step(f"{self.tried} {start_of(plan)}")

    def add(self, attempt: Attempt) -> None:
        """Start a network, and keep it if it is the best so far.

        Without a fit to images, both stock and re-estimated statistics are tried.

        Args:
            attempt: The network after the cut.
        """
        fits = attempt.fits
        measured = self._measured(self._fitted(attempt) if fits else attempt)
        if measured is None:
            return
        if not fits and attempt.approximates:
            # Re-estimating writes into the norms: keep the stock statistics, in case they were better.
            displaced = attempt.displaced.statistics
            theirs = separate_statistics(attempt.network)
            again = self._measured(self._fitted(attempt))
            if again is not None and keeps_more(again.trial.drift, measured.trial.drift):
                measured = again
            else:
                put_back(theirs)
                attempt.statistics, attempt.displaced.statistics = 0, displaced
        if self.best is None or keeps_more(measured.trial.drift, self.best[1].trial.drift):
            self.best = attempt, measured

    @property
    def undecided(self) -> bool:
        """Whether no network can be kept, since their outputs cannot be compared."""
        return self.best is None

    def started(self) -> Started:
        """Return the best network, with how it was chosen."""
        assert self.best is not None
        attempt, (used, logits) = self.best
        number = len(self.parts.held_out)
        choice = Choice(
            fitted=len(self.parts.fitted),
            held_out=number,
            trials=tuple(t.model_copy(update={"used": t is used}) for t in self.trials),
            why=_why(used, self.trials, number),
        )
        drift = used.drift
        if self.aim.note is not None:  # record the drift from the stock network itself
            drift = drift_of(self.aim.stock, logits, "calibration") or drift
        notes = (self.aim.note, _note_of_less(used, self.trials), _note_of_more(used, self.others))
        return Started(attempt, choice, drift, tuple(n for n in notes if n is not None))

    def _fitted(self, attempt: Attempt) -> Attempt:
        """Fit an attempt to images, with the stock network in the state that starts are compared with."""
        with self.aim.held():
            return fitted(attempt, self.stock, self.parts.fitted, lags=self.aim.note is not None)

    def _measured(self, attempt: Attempt) -> Measured | None:
        """Measure an attempt on the held-out images."""
        logits = logits_of(attempt.network, self.parts.held_out)
        drift = drift_of(self.aim.logits, logits, "calibration")
        if drift is None:
            return None
        self.trials.append(Trial(start=start_of(attempt.made), statistics=attempt.statistics, drift=drift))
        return Measured(self.trials[-1], logits)


Starts = AsAsked | Trials
"""Plans with different starts: each is cut and handed over to be started, and one network is kept."""


def starts_of(stock: nn.Module, images: Tensor, options: Sequence[Plan]) -> Starts:
    """Find out which starts are to be tried, and what they are compared with.

    Args:
        stock: The network before the cut.
        images: (N, C, H, W) calibration images, already checked.
        options: Plans that differ in their starts, cheapest first; the last one is the one that was asked
            for. Its seed splits the images into fitted and held-out ones.

    Returns:
        The starts.
    """
    asked = options[-1]
    if asked.effect == "exact":
        return AsAsked(stock, images, asked)
    parts = halves(images, asked.seed)
    return FromFew(stock, images, options) if parts is None else Trials(stock, parts, options)


def keeps_more(new: Drift, old: Drift) -> bool:
    """Say whether a network is clearly kept better than another one.

    Args:
        new: Drift of the more expensive start.
        old: Drift of the cheaper one.

    Returns:
        True if `new` agrees on clearly more predictions (by 2/√N: chance alone explains less in 99 of 100 cases), or
        is at most 0.9 times as large and agrees on no fewer than chance (1/√N) explains.
    """
    if not math.isfinite(new.relative):
        return False
    chance = 1 / math.sqrt(max(new.images, 1))
    if new.agreement > old.agreement + 2 * chance:
        return True
    return not new.relative >= _CLEARLY * old.relative and new.agreement >= old.agreement - chance


def start_of(plan: Plan) -> str:
    """Name the start that most sites of each operation have.

    Args:
        plan: The plan.

    Returns:
        One name, or 'kap lstsq, defective random' for several operations; 'as built' if there are no starts.
    """
    counts: dict[str, Counter[str]] = {}
    for edit in plan.edits:
        if "start" in edit.settings:
            counts.setdefault(edit.operation, Counter())[str(edit.settings["start"])] += 1
    most = {name: starts.most_common(1)[0][0] for name, starts in counts.items()}
    if len(most) == 1:
        return next(iter(most.values()))
    return ", ".join(f"{name} {start}" for name, start in most.items()) or "as built"


def _why(used: Trial, trials: Sequence[Trial], number: int) -> str:
    """Say in words why a start was chosen."""
    least = min(trials, key=lambda t: t.drift.relative)
    if len(trials) == 1:
        return f"the only one that was asked for, measured on {number} images held out"
    as_much = [t for t in trials if t.drift.agreement >= used.drift.agreement]
    if as_much == [used] or least is used and all(t.drift.agreement == used.drift.agreement for t in as_much):
        return f"of {len(trials)} tried it keeps most on {number} images held out"
    if least is used:
        return f"of {len(trials)} tried its logits drift least on {number} images held out"
    return f"none of the dearer ones keeps clearly more on {number} images held out"


def _note_of_less(used: Trial, trials: Sequence[Trial]) -> Note | None:
    """Note that the most expensive start was passed over: a warning if it keeps less, otherwise a remark."""
    last = trials[-1]
    if last is used:
        return None
    more = last.drift.agreement < used.drift.agreement
    worse = more or not last.drift.relative <= used.drift.relative
    kept = "it keeps more" if more else "its logits drift less"
    reason = f"{kept}; more calibration images make better starts" if worse else "it is the cheaper one"
    text = f"start {used.label} is used, and not {last.label}, as {reason}: {_kept(used, last)}"
    return Note(code="start", severity="warning" if worse else "info", text=text)


def _note_of_more(used: Trial, others: Sequence[Trial]) -> Note | None:
    """Note that a start which was not asked for would keep clearly more."""
    better = [t for t in others if keeps_more(t.drift, used.drift)]
    if not better:
        return None
    best = max(better, key=lambda t: (t.drift.agreement, -t.drift.relative))
    what = "would keep more" if best.drift.agreement > used.drift.agreement else "would drift less"
    text = (
        f"start {used.label} is used as asked for, and {best.label} {what} ('auto' "
        f"chooses it): {_kept(used, best)}"
    )
    return Note(code="start", text=text)


def _kept(one: Trial, other: Trial) -> str:
    """Compare two trials in words."""
    results = [
        f"{percent(t.drift.agreement)} (drift of the logits {t.drift.relative:.2g})" for t in (one, other)
    ]
    return f"{' against '.join(results)} of the predictions are kept on {one.drift.images} images held out"
