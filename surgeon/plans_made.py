"""Plans that this process made, by what they say: one that comes from elsewhere, or was edited, is another."""

from __future__ import annotations

import hashlib

from surgeon.edits import Plan

_MADE: set[bytes] = set()


def noted(made: Plan) -> Plan:
    """Note a plan as one that surgeon made.

    Args:
        made: The plan.

    Returns:
        The same plan.

    Examples:
        >>> from surgeon.edits import Plan
        >>> made = noted(Plan(model="net", fingerprint="0"))
        >>> is_made_here(made), is_made_here(made.model_copy(update={"seed": 1}))
        (True, False)
    """
    _MADE.add(_hash(made))
    return made


def is_made_here(plan: Plan) -> bool:
    """Whether this process made a plan that says the same; notes, sites passed over and what came of it do not count.

    Args:
        plan: The plan.
    """
    return _hash(plan) in _MADE


def _hash(plan: Plan) -> bytes:
    text = plan.model_dump_json(exclude={"notes", "passed_over", "execution"})
    return hashlib.sha256(text.encode()).digest()
