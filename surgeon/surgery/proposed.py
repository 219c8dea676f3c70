"""Plans from elsewhere, such as a file that was edited: each of their edits must be one that its operation proposes.

What a plan says of an edit (its sizes, costs and effect) is read by cutting, folding, evaluating and reports, so that
none of it may be other than what the operation would say.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from surgeon.edits import Edit, Plan
from surgeon.errors import RecipeError, SurgeryError
from surgeon.graph.sites.survey import Survey
from surgeon.methods.base import Operation
from surgeon.methods.registry import parse
from surgeon.surgery.deciding import decide
from surgeon.surgery.door import Subject
from surgeon.surgery.looking import looked


def demand_proposed(subject: Subject, made: Plan, seen: Survey | None) -> None:
    """Check a plan that this process did not make, or that was changed since. Edits may have been left out, or be for
    one call of their module alone.

    Args:
        subject: The network.
        made: The plan.
        seen: What `look` returned for the network at the plan's size, or None.

    Raises:
        SurgeryError: An operation, an edit or a cost is not what surgeon would propose for this network; the message
            names it.
        SelectionError: An operation finds no usable site.
    """
    operations = {}
    for key, settings in made.operations.items():
        try:
            operations[key] = parse(settings)
        except RecipeError as error:
            raise SurgeryError(f"the plan's operations.{key}: {error}") from error
    for number, edit in enumerate(made.edits):
        if edit.operation not in operations:
            raise SurgeryError(
                f"the plan's edits[{number}].operation is {edit.operation!r}, and its operations are "
                f"{', '.join(operations) or 'none'}; make it anew with surgeon.plan"
            )
    at_its_size = dataclasses.replace(subject, size=made.input_size, stated=made.input_size is not None)
    look = looked(at_its_size, seen, made.refused)
    calls = {s.name: s.calls for s in look.survey.sites}
    faults: list[list[str]] = []
    for trained in (True, False):
        for calibrated in (False, True):
            fresh = decide(
                look, made.recipe, operations, seed=made.seed, trained=trained, calibrated=calibrated
            )
            faults.append(list(_faults(made, fresh, operations, calls)))
            if not faults[-1]:
                return
    raise SurgeryError(f"the plan's {min(faults, key=len)[0]}; make it anew with surgeon.plan")


def _faults(
    made: Plan, fresh: Plan, operations: Mapping[str, Operation], calls: Mapping[str, int]
) -> Iterator[str]:
    """Name what differs from a plan that was just made; edits may be missing."""
    for name in ("before", "measured", "refused"):
        if getattr(made, name) != getattr(fresh, name):
            yield f"{name} is {getattr(made, name)}, and for this network it is {getattr(fresh, name)}"
    proposed = list(fresh.edits)
    for number, edit in enumerate(made.edits):
        here = f"edits[{number}] ({edit.operation} at {edit.site})"
        operation, times = operations[edit.operation], calls.get(edit.site, 1)
        place = next((i for i, e in enumerate(proposed) if _is(edit, e, operation, times)), None)
        if place is not None:
            del proposed[: place + 1]
            continue
        if any(_is(edit, e, operation, times) for e in fresh.edits):
            yield f"{here} stands twice, or after one that comes later"
            continue
        alike = [e for e in fresh.edits if (e.operation, e.site) == (edit.operation, edit.site)]
        yield f"{here} is not what {edit.operation} proposes there{_differing(edit, alike)}"


def _is(edit: Edit, proposed: Edit, operation: Operation, calls: int) -> bool:
    """Whether an edit is what was proposed, for one call of its module alone, or with the start that it got."""
    changed: dict[str, object] = {}
    if proposed.call is None and edit.call is not None and edit.call < calls > 1:
        changed["call"] = None
    # A record says so where a site could not be fitted to images.
    if "start" in edit.settings and edit.settings["start"] == operation.start_without_images(edit):
        changed["settings"] = {**edit.settings, "start": proposed.settings.get("start")}
    return edit == proposed or edit.model_copy(update=changed) == proposed


def _differing(edit: Edit, alike: list[Edit]) -> str:
    """Say by which key an edit differs from the nearest one that is proposed."""
    if not alike:
        return ": it proposes nothing at that site"
    keys = [[k for k in Edit.model_fields if getattr(edit, k) != getattr(e, k)] for e in alike]
    nearest = min(range(len(alike)), key=lambda i: len(keys[i]))
    key = keys[nearest][0]
    return (
        f": its {key} is {_short(getattr(edit, key))}, and {_short(getattr(alike[nearest], key))} is proposed"
    )


def _short(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 120 else f"{text[:120]}…"
