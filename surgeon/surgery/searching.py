"""Choose a setting of inserted layers on calibration images: the largest value that keeps to a budget.

A value costs the share of images whose prediction differs from that with the first value, which is harmless.
Accuracy falls by at most that share, whatever the labels are. Values are tried from the smallest on, and the
first one above the budget ends the search: a larger value is taken only if all smaller ones keep to the budget.
"""

from __future__ import annotations

from torch import Tensor

from surgeon.edits import Searched
from surgeon.errors import SurgeryError
from surgeon.progress import step
from surgeon.surgery.attempt import Attempt
from surgeon.surgery.drift import drift_of, logits_of


def search(attempt: Attempt, images: Tensor) -> None:
    """Search the settings that the operations of an attempt ask for, one operation after the other.

    Args:
        attempt: The network after the cut; its layers get the chosen values.
        images: (N, C, H, W) calibration images.

    Raises:
        SurgeryError: The network gives no logits, or an operation has no values to try.
    """
    for key, operation in attempt.operations.items():
        asked = operation.search()
        if asked is None:
            continue
        if not asked.values or list(asked.values) != sorted(set(asked.values)):
            raise SurgeryError(
                f"{key}: the values to try for {asked.setting} must rise; they are {asked.values}"
            )
        edits = [e for e in attempt.made.edits if e.operation == key and e.layer]
        layers = [
            (e, attempt.network.get_submodule(str(e.layer))) for e in edits if e.site not in attempt.unfitted
        ]
        curve: list[tuple[float, float]] = []
        wanted = None
        for value in asked.values:
            with step(f"{key}.{asked.setting} {value:g}"):
                for edit, layer in layers:
                    operation.tune(edit, layer, value)
                logits = logits_of(attempt.network, images)
                wanted = logits if wanted is None else wanted
                drift = drift_of(wanted, logits, "calibration")
            if drift is None:
                raise SurgeryError(
                    f"{key}: {asked.setting} cannot be searched: the network gives no logits to compare"
                )
            curve.append((value, 1 - drift.agreement))
            if curve[-1][1] > asked.budget:
                break
        chosen = max(v for v, cost in curve if cost <= asked.budget)
        for edit, layer in layers:
            operation.tune(edit, layer, chosen)
        attempt.searches[key] = Searched(
            setting=asked.setting, budget=asked.budget, images=len(images), curve=tuple(curve), value=chosen
        )
