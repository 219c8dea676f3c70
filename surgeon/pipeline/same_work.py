"""What of a run's settings tells one run from another, wherever its folder was moved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from surgeon.ownership import opened
from surgeon.recipe.retelling import without_prose


def work_of(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the settings by which a run is known again.

    Args:
        settings: its settings, or those of a call.
        folder: its folder, from which weights of the same study are named.

    Returns:
        The settings without what recipes say of themselves and without where earlier trainings lie, which only
        messages name; weights by their absolute path.
    """
    kept = without_prose(settings)
    if kept.get("weights"):
        kept = {**kept, "weights": opened(kept["weights"], folder)}
    if isinstance(earlier := kept.get("earlier"), list):
        kept = {
            **kept,
            "earlier": [
                {k: v for k, v in o.items() if k != "place"} if isinstance(o, dict) else o for o in earlier
            ],
        }
    return kept
