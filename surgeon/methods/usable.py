"""Which of the chosen sites an operation can use, and why not the others; an edit's settings as Python's values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from surgeon.edits import Edit, Note
from surgeon.errors import SelectionError
from surgeon.selection import PassedOver, Selection, Site


def pass_over(
    sites: Sequence[Site], operation: str, unfit: Callable[[Site], str], *, demand: bool = True
) -> tuple[list[Site], list[PassedOver]]:
    """Split sites into those that an operation can use and those that it cannot.

    Args:
        sites: The sites.
        operation: Name of the operation, for the record.
        unfit: Returns why a site cannot be used, or "" if it can.
        demand: Whether an error is raised if no site can be used.

    Returns:
        The usable sites, and the others with their reasons.

    Raises:
        SelectionError: No site can be used; the message has the first reasons.

    Examples:
        >>> from surgeon.methods import Site
        >>> sites = [Site(name=f"conv{k}", kind="conv", cls="Conv2d", index=k, groups=k) for k in (1, 2)]
        >>> kept, passed = pass_over(sites, "mine", lambda site: "it has groups" if site.groups > 1 else "")
        >>> kept[0].name, passed[0].site, passed[0].reason
        ('conv1', 'conv2', 'it has groups')
    """
    kept, passed = [], []
    for site in sites:
        reason = unfit(site)
        if reason:
            passed.append(PassedOver(site=site.name, operation=operation, reason=reason))
        else:
            kept.append(site)
    if demand and not kept:
        shown = [f"{p.site}: {p.reason}" for p in passed[:3]]
        more = f"; and {len(passed) - 3} more" if len(passed) > 3 else ""
        raise SelectionError(f"{operation} has no site left: {'; '.join(shown)}{more}")
    return kept, passed


def usable_of(
    chosen: Selection, operation: str, unfit: Callable[[Site], str], *, demand: bool = True
) -> tuple[list[Site], tuple[PassedOver, ...], tuple[Note, ...]]:
    """Split the sites of a selection, and keep what the selection says of the others and of its patterns.

    Args:
        chosen: The selection, as from `Operation.chosen`.
        operation: Name of the operation, for the record.
        unfit: Returns why a site cannot be used, or "" if it can.
        demand: Whether an error is raised if no site can be used.

    Returns:
        The usable sites; all sites passed over, with their reasons; and a note for each pattern without effect.

    Raises:
        SelectionError: No site can be used.

    Examples:
        >>> from surgeon.methods import Selection, Site
        >>> chosen = Selection(sites=(Site(name="conv", kind="conv", cls="Conv2d", index=0),), remarks=("a remark",))
        >>> usable, passed, notes = usable_of(chosen, "mine", lambda site: "")
        >>> usable[0].name, passed, notes[0].text
        ('conv', (), 'mine: a remark')
    """
    usable, passed = pass_over(chosen.sites, operation, unfit, demand=demand)
    notes = tuple(Note(code="selector", text=f"{operation}: {remark}") for remark in chosen.remarks)
    return usable, (*chosen.passed_over, *passed), notes


def sizes(edit: Edit) -> dict[str, Any]:
    """Return the settings of an edit, with lists turned back into tuples (JSON has no tuples).

    Args:
        edit: The edit.

    Returns:
        The settings.

    Examples:
        >>> from surgeon.methods import Edit
        >>> sizes(Edit(site="conv", operation="mine", settings={"kernel": [3, 3], "start": "mean"}))
        {'kernel': (3, 3), 'start': 'mean'}
    """
    return {k: tuple(v) if isinstance(v, list) else v for k, v in edit.settings.items()}
