"""What the operations of a plan, or of a record, ask of whoever carries it out."""

from __future__ import annotations

from collections.abc import Collection

from surgeon.edits import Plan
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
    """
    operations = {key: parse(settings) for key, settings in record.operations.items()}
    needed = {
        words for e in record.edits for words in operations[e.operation].needs_images(e).split(", ") if words
    }
    return ", ".join(sorted(needed, reverse=True))
