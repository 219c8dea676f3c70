"""Choose a setting of inserted layers on calibration images: the largest value that keeps to a budget.

A value costs the share of images whose prediction differs from that with the first value, which is harmless.
Accuracy falls by at most that share, whatever the labels are. Values are tried from the smallest on, and the
first one above the budget ends the search: a larger value is taken only if all smaller ones keep to the budget.

All layers have their first value while weights are fitted and statistics are taken. Batch norms keep their statistics
in one search, and in a second one they measure their inputs anew for each value. Both are compared with the same
network, the one before the search: what new statistics change counts against the budget. The search that reaches
the larger value is used, and the first one if they reach the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import Tensor

from surgeon.edits import Edit
from surgeon.errors import SurgeryError
from surgeon.execution import Searched
from surgeon.methods.base import Search
from surgeon.models.logits import drift_of, logits_of
from surgeon.models.norm_statistics import put_back, separate_statistics
from surgeon.progress import step
from surgeon.surgery.attempt import Attempt


def first_values(attempt: Attempt, edits: Iterable[Edit]) -> None:
    """Give layers whose setting is searched their first value, which is harmless.

    Args:
        attempt: The network after the cut.
        edits: The edits of the layers.

    Raises:
        SurgeryError: An operation's values do not rise, or there are none.
    """
    searching = attempt.searching
    for key, asked in searching.items():
        if not asked.values or list(asked.values) != sorted(set(asked.values)):
            raise SurgeryError(
                f"{key}: the values to try for {asked.setting} must rise; they are {asked.values}"
            )
    for edit in edits:
        if edit.operation in searching:
            _tune_one(attempt, edit, searching[edit.operation].values[0])


def search(attempt: Attempt, images: Tensor, settle: Callable[[], None] | None) -> None:
    """Search the settings that the operations of an attempt ask for, one operation after the other.

    Args:
        attempt: The network, whose layers have their first values; they get the chosen ones.
        images: (N, C, H, W) calibration images.
        settle: Has batch norms measure their inputs anew; None if they are to keep their statistics.

    Raises:
        SurgeryError: The network gives no logits.
    """
    for key, asked in attempt.searching.items():
        first = logits_of(attempt.network, images)
        curve = _curve(attempt, key, asked, images, first, None)
        if settle is not None:
            measured, theirs = attempt.statistics, separate_statistics(attempt.network)
            settled = _curve(attempt, key, asked, images, first, settle)
            if _largest(settled, asked.budget, asked.values[0]) > _largest(curve, asked.budget):
                curve = settled
            else:
                put_back(theirs)
                attempt.statistics = measured
        value = _largest(curve, asked.budget)
        _tune(attempt, key, value)
        if settle is not None and curve is settled and value != curve[-1][0]:
            settle()
        attempt.searches[key] = Searched(
            setting=asked.setting, budget=asked.budget, images=len(images), curve=curve, value=value
        )


Curve = tuple[tuple[float, float], ...]


def _curve(
    attempt: Attempt,
    key: str,
    asked: Search,
    images: Tensor,
    first: Tensor | None,
    settle: Callable[[], None] | None,
) -> Curve:
    """Return each value that was tried with its cost, up to the first one above the budget."""
    curve = [] if settle else [(asked.values[0], 0.0)]
    for value in asked.values[len(curve) :]:
        with step(f"{key}.{asked.setting} {value:g}"):
            _tune(attempt, key, value)
            if settle:
                settle()
            drift = drift_of(first, logits_of(attempt.network, images), "calibration")
        if drift is None:
            raise SurgeryError(
                f"{key}: {asked.setting} cannot be searched: the network gives no logits to compare"
            )
        curve.append((value, 1 - drift.agreement))
        if curve[-1][1] > asked.budget:
            break
    return tuple(curve)


def _largest(curve: Curve, budget: float, otherwise: float = 0.0) -> float:
    """Return the largest value that keeps to the budget."""
    return max((value for value, cost in curve if cost <= budget), default=otherwise)


def _tune(attempt: Attempt, key: str, value: float) -> None:
    """Give the layers of an operation a value of its search."""
    for edit in attempt.made.edits:
        if edit.operation == key:
            _tune_one(attempt, edit, value)


def _tune_one(attempt: Attempt, edit: Edit, value: float) -> None:
    """Give a layer a value; one that could not be set up is left alone."""
    if edit.layer and edit.site not in attempt.unfitted:
        attempt.operations[edit.operation].tune(edit, attempt.network.get_submodule(edit.layer), value)
