"""The reference that each run is compared with, the reason for it, and the differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from surgeon.report.reading import Run, apart, compared

CONTROL = "the control of the study: the network without the surgery, trained equally"
BASE = "the network before the surgery: it has the weights that a revert of the surgery gives"
KIND = (
    "an uncut network of the same kind: that it is the one that was cut is not known, since its weights are not "
    "those that a revert of the surgery gives (as where training came after the cut)"
)
FIRST = "the first of these runs: it is not known which of them another was made from"
OTHER = "what others here are compared with: no run here is known to be its own control or base"


@dataclass(frozen=True)
class Difference:
    """A run's difference from another in the worst case, image by image, as shares of the images.

    For a run of a study, over all seeds of the study.
    """

    place: int
    """Number of the run on the page."""
    difference: float
    low: float
    high: float
    p: float | None
    """p-value of McNemar's test; None over several seeds."""
    only_this: int
    only_other: int
    n: int
    """Images, those of each seed counted, as in both numbers above."""
    seeds: int = 1


@dataclass(frozen=True)
class Comparison:
    """A reference run and the runs that are compared with it."""

    reference: int
    whys: tuple[tuple[str, tuple[int, ...]], ...]
    """(reason, numbers of the runs that it holds for)."""
    rows: tuple[tuple[int, Difference | None], ...]
    """(number of the run, its difference; None if they cannot be compared)."""
    apart: Mapping[int, str]
    """Number of a run that cannot be compared → why."""


def comparisons(runs: Sequence[Run]) -> list[Comparison]:
    """Compare every run with its reference.

    The reference is the control of the run's study, or the network before its surgery, or an uncut one of its
    kind, or else one run for all.

    Args:
        runs: The runs.

    Returns:
        One comparison for each reference.
    """
    chosen = {k: comparison for k in range(len(runs)) if (comparison := _own(k, runs)) is not None}
    used = [reference for reference, _ in chosen.values()]
    main, rest = (used[0], OTHER) if used else (0, FIRST)
    for k in range(len(runs)):
        if k not in chosen and k not in used and k != main:
            chosen[k] = (main, rest)
    result = []
    for reference in dict.fromkeys(chosen[k][0] for k in sorted(chosen)):
        own = [k for k in sorted(chosen) if chosen[k][0] == reference]
        reasons = dict.fromkeys(chosen[k][1] for k in own)
        whys = tuple((why, tuple(k for k in own if chosen[k][1] == why)) for why in reasons)
        rows = tuple((k, _difference(k, reference, runs)) for k in own)
        reasons_against = {k: apart(runs[reference], runs[k]) for k, comparison in rows if comparison is None}
        result.append(Comparison(reference, whys, rows, reasons_against))
    return result


def _own(k: int, runs: Sequence[Run]) -> tuple[int, str] | None:
    """The reference that a run's role or surgery determines, and the reason; None if they do not determine one."""
    run, arm = runs[k], runs[k].arm
    if arm is not None:
        if arm.role == "control":
            return None
        controls = [
            (r.arm.seed != arm.seed, i)
            for i, r in enumerate(runs)
            if r.arm and r.arm.study == arm.study and r.arm.role == "control"
        ]
        return (min(controls)[1], CONTROL) if controls else None
    kind = [i for i, r in enumerate(runs) if _is_of_its_kind(r, run)]
    bases = [i for i in kind if runs[i].found.subject.weights == run.found.subject.uncut_weights]
    if bases:
        return bases[0], BASE
    return (kind[0], KIND) if kind else None


def _is_of_its_kind(one: Run, run: Run) -> bool:
    """Whether `one` is a stock network of the kind that `run` was made from."""
    plan, uncut, cut = run.found.plan, one.found.subject, run.found.subject
    return (
        plan is not None
        and bool(plan.edits)
        and one.arm is None
        and one.found.plan is None
        and (uncut.model, uncut.classes, uncut.input_size) == (plan.model, cut.classes, cut.input_size)
        and plan.before.parameters in (0, uncut.parameters)
    )


def _difference(k: int, reference: int, runs: Sequence[Run]) -> Difference | None:
    arm, control = runs[k].arm, runs[reference].arm
    if arm is not None and control is not None and arm.study == control.study and arm.worst is not None:
        worst = arm.worst
        return Difference(
            k,
            worst.mean,
            worst.low,
            worst.high,
            worst.pairs[0].p if len(worst.pairs) == 1 else None,
            sum(p.only_second for p in worst.pairs),
            sum(p.only_first for p in worst.pairs),
            sum(p.n for p in worst.pairs),
            len(worst.pairs),
        )
    difference = compared(runs[reference], runs[k])
    if difference is None:
        return None
    return Difference(
        k,
        difference.difference,
        difference.low,
        difference.high,
        difference.p,
        difference.only_second,
        difference.only_first,
        difference.n,
    )
