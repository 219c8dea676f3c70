"""What the operations of a plan, or of a record, ask of whoever carries it out."""

from __future__ import annotations

from collections.abc import Collection

from surgeon.edits import Edit, Plan
from surgeon.errors import SurgeryError
from surgeon.methods.registry import parse


def restates(record: Plan, *, but: Collection[str] = ()) -> bool:
    """Say whether batch norms receive other inputs than before the cut, and are to measure them.

    Args:
        record: The plan.
        but: Operations that do not count.

    Returns:
        Whether an edit that changes the function is of an operation that does not keep the statistics.
    """
    return any(
        e.effect in ("approximated", "destroyed")
        and e.operation not in but
        and not parse(record.operations[e.operation]).keeps_statistics
        for e in record.edits
    )


def needs_data(record: Plan) -> str:
    """Say what of a plan starts from calibration images.

    Args:
        record: The plan.

    Returns:
        A few words, such as "start 'sequential'"; empty if nothing does.

    Raises:
        SurgeryError: An operation's `needs_images` gives no text.
    """
    operations = {key: parse(settings) for key, settings in record.operations.items()}
    needed = {
        words
        for e in record.edits
        for words in _words(operations[e.operation].needs_images(e), e).split(", ")
        if words
    }
    return ", ".join(sorted(needed, reverse=True))


def _words(answer: object, edit: Edit) -> str:
    """Return what an operation needs images for; raise SurgeryError where it does not say that in words."""
    if isinstance(answer, str):
        return answer
    raise SurgeryError(
        f'{edit.operation} at {edit.site}, needs_images: it gives {answer!r}; return a few words for messages, or "" '
        "where no image is needed"
    )
