"""Record what a run was made from by content, not by name: images, weights, a model's folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from surgeon.data import Records, Sets, contents_of, differing
from surgeon.disk.files import absolute, json_text
from surgeon.disk.hashes import own_hash
from surgeon.errors import ArtifactError, DataError
from surgeon.store.folder import CONFIG, WEIGHTS, network_in
from surgeon.store.hub import is_hub

IMAGES = ("training images", "validation images", "test images")


def absolute_model(model: str) -> str:
    """Make a model's folder an absolute path, valid in every working directory; other names are unchanged.

    A run's folder stands for its trained network.

    Args:
        model: a folder or a name.
    """
    if not Path(model).is_dir() or is_hub(model):
        return model
    return str(absolute(str(network_in(Path(model)))))


def made_from(sets: Sets, weights: str | None, folder: Path | None) -> dict[str, Any]:
    """Summarise what a training was made from.

    Args:
        sets: the images.
        weights: a file of weights, or None.
        folder: a model's folder, or None.

    Returns:
        The contents of each set (see `surgeon.data.contents_of`), the classes, and hashes of the weights and
        of the model's files; None for each one that does not exist.

    Raises:
        DataError: an image has disappeared.
    """
    try:
        contents: dict[str, Any] = {
            name: None if images is None else contents_of(images)
            for name, images in zip(IMAGES, (sets.train, sets.val, sets.test), strict=True)
        }
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror or error}") from error
    contents["classes"] = list(sets.classes)
    contents["weights"] = own_hash(Path(weights)) if weights and Path(weights).is_file() else None
    contents["model"] = (
        None
        if folder is None
        else {n: own_hash(folder / n) for n in (CONFIG, WEIGHTS) if (folder / n).is_file()}
    )
    return contents


def check_contents(
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    work: str,
    places: Mapping[str, str | None],
    *,
    instead: str = "give it what it was made from, or choose another folder",
) -> None:
    """Check that contents are those that some work was made from.

    Args:
        before: contents by name, as recorded. An empty mapping matches everything.
        now: contents by name, as found now.
        work: the work, for the message.
        places: name of a content → where it lies, for the message; `""` for all others.
        instead: what would work, for the message.

    Raises:
        ArtifactError: a content differs; the message names each.
    """
    plain = json.loads(json_text(now))
    changed = [
        f"the {name} of {places.get(name, places[''])} ({differing_of(before[name], plain.get(name))})"
        for name in before
        if before[name] != plain.get(name)
    ]
    if changed:
        raise ArtifactError(
            f"{work} was made from something else than what is there now: {', '.join(changed)}; {instead}"
        )


def check_unchanged(before: Mapping[str, Any], sets: Sets, place: str) -> None:
    """Check that images which a training reads one by one are still those that it began with.

    Args:
        before: contents of `made_from`, at the beginning.
        sets: the images; those in memory cannot change.
        place: where they lie, for the message.

    Raises:
        ArtifactError: they changed meanwhile, so that the network has seen what no record names.
        DataError: an image has disappeared.
    """
    try:
        now = {
            name: contents_of(images)
            for name, images in zip(IMAGES[:2], (sets.train, sets.val), strict=True)
            if isinstance(images, Records)
        }
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror or error}") from error
    plain = json.loads(json_text({"before": {n: before[n] for n in now}, "now": now}))
    changed = [
        f"the {n} ({differing_of(plain['before'][n], plain['now'][n])})"
        for n in now
        if plain["before"][n] != plain["now"][n]
    ]
    if changed:
        raise ArtifactError(
            f"{' and '.join(changed)} of {place} changed while they were trained on: no record says what the network "
            "has seen. Choose another folder, and leave the images alone meanwhile"
        )


def differing_of(before: Any, now: Any) -> str:
    """Describe how two contents of one name differ.

    Args:
        before: the recorded content.
        now: the present content.
    """
    if isinstance(before, list) and isinstance(now, list):
        return " not ".join(
            f"{', '.join(map(str, c[:8]))}{', …' if len(c) > 8 else ''}" for c in (now, before)
        )
    images = all(c is None or (isinstance(c, dict) and "read" in c) for c in (before, now))
    return differing(before, now) if images else "other contents"
