"""What a run was made from, by content: images, weights, a model's folder. A name alone says nothing of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from surgeon.data import Sets, contents_of, differing
from surgeon.disk.files import absolute
from surgeon.disk.hashes import own_hash
from surgeon.errors import ArtifactError, DataError
from surgeon.store.folder import CONFIG, WEIGHTS
from surgeon.store.hub import is_hub

IMAGES = ("training images", "validation images", "test images")


def absolute_model(model: str) -> str:
    """A model's folder as every working directory knows it; other names are given back as they are."""
    return str(absolute(model)) if Path(model).is_dir() and not is_hub(model) else model


def made_from(sets: Sets, weights: str | None, folder: Path | None) -> dict[str, Any]:
    """The contents of each set, the classes, the contents of a weights file and of a model's folder; None for what there is not.

    Raises DataError for an image that is gone.
    """
    try:
        found: dict[str, Any] = {
            name: None if images is None else contents_of(images)
            for name, images in zip(IMAGES, (sets.train, sets.val, sets.test), strict=True)
        }
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror or error}") from error
    found["classes"] = list(sets.classes)
    found["weights"] = own_hash(Path(weights)) if weights and Path(weights).is_file() else None
    found["model"] = (
        None
        if folder is None
        else {n: own_hash(folder / n) for n in (CONFIG, WEIGHTS) if (folder / n).is_file()}
    )
    return found


def check_contents(
    before: Mapping[str, Any], now: Mapping[str, Any], work: str, places: Mapping[str, str | None],
    *, instead: str = "give it what it was made from, or choose another folder",
) -> None:  # fmt: skip
    """Raise ArtifactError, naming each, for contents that `work` was not made from. Nothing in `before` fits everything.

    places: where a content lies, by its name, `""` for all others. instead: what would work.
    """
    plain = json.loads(json.dumps(now))
    changed = [
        f"the {name} of {places.get(name, places[''])} ({differing_of(before[name], plain.get(name))})"
        for name in before
        if before[name] != plain.get(name)
    ]
    if changed:
        raise ArtifactError(
            f"{work} was made from something else than what is there now: {', '.join(changed)}; {instead}"
        )


def differing_of(before: Any, now: Any) -> str:
    """In words, what two contents of one name differ in."""
    if isinstance(before, list) and isinstance(now, list):
        return " not ".join(
            f"{', '.join(map(str, c[:8]))}{', …' if len(c) > 8 else ''}" for c in (now, before)
        )
    images = all(c is None or (isinstance(c, dict) and "read" in c) for c in (before, now))
    return differing(before, now) if images else "other contents"
