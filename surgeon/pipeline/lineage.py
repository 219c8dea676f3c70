"""What a network was trained on, read from its folder: images, their split, and its classes in order.

All code that needs this asks here; what a record is says `origin.py`, how a source is then read
`own_images.py`. The record is the lineage.json in the network's own folder, which is copied,
moved and uploaded with it; folders without one have a run's settings.json or a conversion.json. A record
includes earlier trainings, so that a network's images remain known however often it is rewritten.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from surgeon.errors import ArtifactError
from surgeon.pipeline.ended import check_ended
from surgeon.pipeline.origin import HELD, Lineage, Origin, written
from surgeon.reading import as_model, read_json, read_mapping
from surgeon.store.artifact import folder_of
from surgeon.store.configuration import LINEAGE

CONVERSION, SETTINGS = "conversion.json", "settings.json"
_IN_RUN = ("trained", "cut", "training")


def lineage_of(*names: str | Path | None) -> Lineage:
    """Find what a network was trained on.

    Args:
        names: a network's or run's folder, a file of weights inside one, or None.

    Returns:
        The lineage of the first name that has one; else an empty one.

    Raises:
        ArtifactError: a record is damaged, or a run's trained network is not the one that it was trained to.
    """
    return next((lineage for n in names if n and (lineage := _of(n))), ())


def beside(*names: str | Path | None) -> dict[str, str]:
    """The file lineage.json, name → text, to save with a network that was made from one in these places.

    Args:
        names: as for `lineage_of`.

    Returns:
        An empty mapping where nothing is recorded.
    """
    lineage = lineage_of(*names)
    return written(lineage)


def of_run(folder: Path, settings: Mapping[str, Any]) -> dict[str, str]:
    """The file lineage.json, name → text, to save with the networks that a run makes.

    Args:
        folder: the run's folder.
        settings: what its settings.json will say.
    """
    first, *earlier = _of_settings(folder / SETTINGS, settings)
    # Without a place: the run may be moved, and the network may be copied out of it.
    return written((first.model_copy(update={"place": ""}), *earlier))


def _of(name: str | Path) -> Lineage:
    path = Path(name)
    if path.is_file():
        path = path.parent
    place = path if path.is_dir() else folder_of(name)
    if place is None:
        return ()
    place = place.resolve()
    lineage = _recorded(place)
    if lineage and not Path(name).is_file():  # a file of weights is taken for itself, whatever trained/ holds
        check_ended(place)
    return lineage


def _recorded(place: Path) -> Lineage:
    if (place / LINEAGE).is_file():
        content = read_json(place / LINEAGE)
        if not isinstance(content, list):
            raise ArtifactError(
                f"{place / LINEAGE} cannot be read: it holds {type(content).__name__}, not a list"
            )
        return _placed((as_model(o, Origin, str(place / LINEAGE)) for o in content), _run_of(place))
    if (place / CONVERSION).is_file():
        return _of_conversion(place / CONVERSION)
    run = _run_of(place)
    return _of_run(run / SETTINGS) if (run / SETTINGS).is_file() else ()


def _run_of(place: Path) -> Path:
    """The run's folder around a network's, if there is one; else the network's own."""
    inside = place.name in _IN_RUN and (place.parent / SETTINGS).is_file()
    return place.parent if inside else place


def _placed(lineage: Iterable[Origin], place: Path) -> Lineage:
    return tuple(o if o.place else o.model_copy(update={"place": str(place)}) for o in lineage)


def _of_conversion(path: Path) -> Lineage:
    record = read_mapping(path)
    if "lineage" in record:
        return _placed((as_model(o, Origin, str(path)) for o in record["lineage"] or ()), path.parent)
    settings = record.get("settings")
    if not isinstance(settings, dict) or not isinstance(settings.get("data"), str):
        return ()
    return (_origin(path, settings, {}).model_copy(update={"trained": False}),)


def _of_run(path: Path) -> Lineage:
    record = read_mapping(path)
    if not isinstance(record.get("data"), str) or "recipes" not in record:
        return ()
    return _of_settings(path, record)


def _of_settings(path: Path, record: Mapping[str, Any]) -> Lineage:
    earlier = tuple(as_model(o, Origin, str(path)) for o in record.get("earlier") or ())
    return (_origin(path, record, record.get("contents") or {}), *earlier)


def _origin(path: Path, written: Mapping[str, Any], contents: Mapping[str, Any]) -> Origin:
    settings = written.get("data_settings") or {}
    held = {k: v for k, v in contents.items() if k in HELD}
    fields = {
        "place": str(path.parent),
        "data": written["data"],
        "root": written.get("root"),
        "settings": settings,
        "split_seed": written.get("seed") if written.get("split_seed") is None else written["split_seed"],
        "size": written.get("size") or written.get("input_size"),
        "num_classes": written.get("num_classes"),
        "classes": held.get("classes") or settings.get("classes") or (),
        "contents": held,
    }
    return as_model(fields, Origin, str(path))
