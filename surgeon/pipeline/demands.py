"""What a job demands before it begins: images that were named or recorded, classes that fit them, something to train."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from surgeon.artifact import folder_of
from surgeon.data import absolute_source
from surgeon.errors import ArtifactError, DataError, RecipeError
from surgeon.folder import CONFIG, no_network
from surgeon.pipeline.conversion import CONVERSION
from surgeon.recipe import Training

FRESH = "digits"
"""What a fresh network is trained on where nothing is named: its head is made for them, so that nothing can misfit."""
_IN_RUN, _SETTINGS = ("trained", "cut"), "settings.json"


class Source(NamedTuple):
    """A source of images, and the folder that it lies in, where it needs one."""

    data: str
    root: str | None


def to_train_on(model: str, data: str | None, root: str | None, *, knows: bool = False) -> Source:
    """The images to train on: those named, else those of the model's folder, else the digits for a fresh network.

    knows: whether the model starts from weights that know something.

    Raises DataError for a network that was trained already, on images that nothing tells.
    """
    if data is not None:
        return Source(data, root)
    place = folder_of(model)
    if not place and not knows:
        return Source(FRESH, root)
    found = recorded(model) if place else None
    if found is None:
        raise DataError(
            f"{model} starts from trained weights, and nothing says which images they are for: name those to train on (--data SOURCE)"
        )
    return Source(found.data, root or found.root)


def to_evaluate_on(target: str, data: str | None, root: str | None) -> Source:
    """The images to evaluate on: those named, else those that the target's folder recorded.

    Raises DataError where neither is there.
    """
    demand_network(target)
    found = recorded(target)
    if data is None and found is None:
        raise DataError(f"{target} does not say which images it is for: name them (--data SOURCE)")
    if found is not None and (data is None or absolute_source(data) == found.data):
        return Source(found.data, root or found.root)
    return Source(str(data), root)


def recorded(target: str) -> Source | None:
    """The images that a folder says its network was trained or converted on; None for what says nothing.

    target: a run's folder, a network inside one, or a converted network's folder.
    """
    told = _told(target)
    return Source(told["data"], told.get("root")) if isinstance(told.get("data"), str) else None


def check_classes(
    target: str, outputs: int | None, source: Source, names: tuple[str, ...], said: int | None
) -> None:
    """Raise DataError unless a network's outputs are the classes of the images.

    names: of the classes, empty where they are not known. said: num_classes, by which a caller says that more outputs than
    classes are meant; a run's folder says it for its own images.
    """
    if outputs is None:
        return
    if said is not None and said != outputs:
        raise DataError(f"num_classes={said}, and {target} has {outputs} outputs")
    if len(names) > outputs:
        raise DataError(f"{source.data} has {len(names)} classes, and {target} only {outputs}")
    told = _told(target)
    if said is None and told.get("data") == absolute_source(source.data):
        said = told.get("num_classes")
    if names and len(names) < outputs and said != outputs:
        raise DataError(
            f"{source.data} has {len(names)} classes, and {target} has {outputs} outputs: these are not the images that it "
            f"is for; where output k is meant to be class k and the rest nothing, say so by num_classes={outputs} "
            f"(--num-classes {outputs})"
        )


def demand_network(target: str) -> None:
    """Raise ArtifactError for a folder that holds neither a network nor a run, saying what it holds instead."""
    path = Path(target)
    if path.is_dir() and not any((path / name / CONFIG).is_file() for name in ("", "trained")):
        raise ArtifactError(no_network(target))


def demand_epochs(training: Training) -> None:
    """Raise RecipeError for a training of no epochs."""
    if training.epochs == 0:
        raise RecipeError(
            "training.epochs=0 trains nothing: `surgeon apply` cuts a network without training it, `surgeon evaluate` "
            "attacks one as it is; training.epochs=1 is the least"
        )


def _told(target: str) -> dict[str, Any]:
    """The settings of the run, or of the conversion, that a folder is of; empty for another one."""
    path = Path(target)
    run = path.parent if path.name in _IN_RUN else path
    for place, inner in ((run / _SETTINGS, ""), (path / CONVERSION, "settings")):
        try:
            found = json.loads(place.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        found = found.get(inner, {}) if inner and isinstance(found, dict) else found
        if isinstance(found, dict) and isinstance(found.get("data"), str):
            return found
    return {}
