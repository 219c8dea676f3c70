"""What of the settings of a work tells it from another, wherever its folder, its images and its weights were moved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from surgeon.disk.files import write_json
from surgeon.ownership import opened, sealed_again
from surgeon.pipeline.contents import check_contents
from surgeon.pipeline.idle import tell
from surgeon.processes import everyone, first
from surgeon.recipe.retelling import without_prose
from surgeon.store.artifact import folder_of

PLACES = ("data", "root", "weights", "model")
"""Settings that say where something lies. What lies there is known by what it holds."""


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


def known_by_content(model: str, weights: str | None) -> tuple[str, ...]:
    """Return the settings of a run that say where something lies that is known by its content.

    Args:
        model: the model: a name says what it is, a folder where it lies.
        weights: a file of weights, or None.
    """
    others = {"weights": weights and Path(weights).is_file(), "model": folder_of(model)}
    return tuple(p for p in PLACES if others.get(p, True))


def whole_of(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings by which a study or a reproduction is known again: the runs in it know contents.

    Args:
        settings: its settings, or those of a call; images and weights lie in it or in its key `given`.
    """
    kept = without_prose(settings)
    given = kept.get("given")
    kept = {**kept, **({"given": _without_places(given)} if isinstance(given, dict) else {})}
    return {**kept, **{p: bool(kept[p]) for p in ("data", "root") if p in kept}}


def _without_places(given: Mapping[str, Any]) -> dict[str, Any]:
    """Say of each place only whether it is given."""
    return {k: bool(v) if k in PLACES[:3] else v for k, v in given.items()}


def check_continued(
    folder: Path,
    name: str,
    before: dict[str, Any] | None,
    settings: dict[str, Any],
    places: Mapping[str, str | None],
    label: str,
) -> None:
    """Check that a run goes on from what it was made from, and note where that lies if it was moved.

    Args:
        folder: its folder.
        name: the name of its settings.
        before: the settings in the folder, or None for a new run.
        settings: those of the call, with contents.
        places: where the contents lie, for messages, as for `check_contents`.
        label: the run's name, before a remark.

    Raises:
        ArtifactError: a content differs.
    """
    if before is None:
        return
    moved = [p for p in PLACES if _place(before, p, folder) != _place(settings, p, folder)]
    there = ", ".join(str(before[p]) for p in moved if before[p])
    instead = {"instead": f"it was made from {there}, or choose another folder"} if there else {}
    check_contents(before.get("contents", {}), settings["contents"], str(folder), places, **instead)
    if moved:
        note_moved(folder, name, {**before, **{p: settings[p] for p in moved}})
        said = (f"{settings[p]} holds what {before[p]} held when the run began: it goes on" for p in moved)
        tell(label, said)


def note_moved(folder: Path, name: str, settings: dict[str, Any]) -> None:
    """Write settings anew that say where things lie now. All processes call it, and the first one writes.

    Args:
        folder: the folder.
        name: the name of its settings.
        settings: what they say now.
    """
    if first():
        with sealed_again(folder, name):
            write_json(folder / name, settings)
    everyone()


def _place(settings: Mapping[str, Any], name: str, folder: Path) -> str | None:
    """Return a place, weights by their absolute path."""
    place = settings[name]
    return opened(place, folder) if name == "weights" and place else place
