"""Record on a network what was done to it."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import cast

import torch

from surgeon import __version__
from surgeon.edits import Edit, Note, Plan
from surgeon.effects import measured_effect, worst
from surgeon.errors import CalibrationWarning
from surgeon.execution import Execution
from surgeon.graph.sites.standing import remember
from surgeon.methods.registry import distribution_of
from surgeon.surgery.attempt import Attempt
from surgeon.surgery.choice import Started
from surgeon.surgery.rewritten import RewrittenModule
from surgeon.warned import warn


def recorded(started: Started, notes: Sequence[Note]) -> RewrittenModule:
    """Attach the record to the chosen network, and issue its warnings.

    Args:
        started: The chosen network.
        notes: Further notes for the record.

    Returns:
        The network, with the attribute `surgery`.

    Warns:
        CalibrationWarning: For every note of severity "warning".
    """
    attempt = started.attempt
    notes = [*notes, *started.notes, *_unfitted(attempt), *_without_effect(attempt)]
    for note in notes:
        if note.severity == "warning":
            warn(note.text, CalibrationWarning)
    before = attempt.record.execution
    effects = [
        measured_effect(attempt.made.planned, started.drift),
        *([before.effect] if before and before.effect else []),
    ]
    execution = Execution(
        versions=_versions(attempt.record),
        effect=worst(effects),
        statistics=attempt.statistics,
        residuals=attempt.residuals,
        unfitted={edit.site: why for edit, why in attempt.unfitted},
        drift=started.drift,
        choice=started.choice,
        searches=attempt.searches,
        observed=attempt.observed,
    )
    update = {
        "execution": execution,
        "notes": (*attempt.record.notes, *notes),
        "edits": tuple(_as_it_was_done(attempt, edit) for edit in attempt.record.edits),
    }
    attempt.network.__dict__["surgery"] = attempt.record.model_copy(update=update)
    remember(attempt.displaced, attempt.network, attempt.record.edits, attempt.made.edits)
    attempt.network.__dict__["displaced"] = attempt.displaced
    return cast(RewrittenModule, attempt.network)


def _as_it_was_done(attempt: Attempt, edit: Edit) -> Edit:
    """Return an edit with the start that its site really got."""
    got = any(edit is kept for kept, _ in attempt.unfitted) and _start_of(attempt, edit)
    return edit.model_copy(update={"settings": {**edit.settings, "start": got}}) if got else edit


def _start_of(attempt: Attempt, edit: Edit) -> str:
    """Name the start of an edit that was not fitted to images; empty if it has no name."""
    return attempt.operations[edit.operation].start_without_images(edit) if "start" in edit.settings else ""


def _unfitted(attempt: Attempt) -> list[Note]:
    """Make a note for each reason why sites were not fitted to images, with the start that they keep."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for edit, reason in attempt.unfitted:
        got, asked = _start_of(attempt, edit), edit.settings.get("start")
        kept = f"start {got!r}, not {asked!r}" if got and got != asked else "the start without images"
        by_reason.setdefault((kept, reason), []).append(edit.site)
    return [
        Note(
            code="start",
            severity="info",
            text=(
                f"{', '.join(sites[:3])}{f' and {len(sites) - 3} more' if len(sites) > 3 else ''} "
                f"{'keeps' if len(sites) == 1 else 'keep'} {kept}: {reason}"
            ),
        )
        for (kept, reason), sites in by_reason.items()
    ]


def _without_effect(attempt: Attempt) -> list[Note]:
    """Make a note for each search that ended at its first value, with which the layers change nothing."""
    notes = []
    for key, searched in attempt.searches.items():
        if searched.value != searched.curve[0][0]:
            continue
        dearer = searched.curve[1:]
        why = (
            f"{searched.setting} = {dearer[0][0]:g} already changes {round(dearer[0][1] * searched.images)} of "
            f"{searched.images} predictions, more than the budget, {100 * searched.budget:g} %"
            if dearer
            else "no other value was tried"
        )
        text = f"{key} changes nothing: {searched.setting} = {searched.value:g} was found, since {why}"
        notes.append(Note(code="search", severity="warning", text=text))
    return notes


def _versions(record: Plan) -> dict[str, str]:
    """Return the versions of Python, of the libraries that build networks, and of other packages' operations."""
    versions = {
        "surgeon": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }
    for name in ("timm", "torchvision"):
        try:
            versions[name] = version(name)
        except Exception:  # a package that is not installed has no version to record
            continue
    others = {distribution_of(str(settings["op"])) for settings in record.operations.values()}
    return versions | dict(sorted(o for o in others if o is not None))
