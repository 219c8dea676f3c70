"""What a network was trained on, read from its folder: images, their split, and its classes in order.

All code that needs this asks here. The record is the lineage.json in the network's own folder, which is copied,
moved and uploaded with it; folders without one have a run's settings.json or a conversion.json. A record
includes earlier trainings, so that a network's images remain known however often it is rewritten.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from surgeon.data import Sets, absolute_source, load_sets
from surgeon.data.sources import open_source
from surgeon.disk.files import absolute
from surgeon.errors import ArtifactError, DataError, RecipeError
from surgeon.pipeline.contents import IMAGES, check_contents, made_from
from surgeon.pipeline.ended import check_ended
from surgeon.reading import as_model, read_json, read_mapping
from surgeon.recipe import Data
from surgeon.store.artifact import folder_of
from surgeon.store.configuration import LINEAGE as LINEAGE

CONVERSION, SETTINGS = "conversion.json", "settings.json"
_IN_RUN = ("trained", "cut", "training")
_CUTS = ("val_share", "test_share", "stratified", "per_class", "classes")
"""Settings that decide which images are tested on where a source has no test images of its own."""
_HELD = (*IMAGES, "classes")


class Origin(BaseModel):
    """One source that a network was trained or calibrated on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    place: str = Field(
        description="the folder whose record tells it; empty for the one that the record lies in"
    )
    data: str
    root: str | None = None
    settings: Data = Data()
    split_seed: int = 0
    size: tuple[int, ...] | None = Field(
        default=None, description="(C, H, W) of the images; None where it is not told"
    )
    num_classes: int | None = Field(
        default=None, description="outputs that were asked for, where they are more than classes"
    )
    classes: tuple[str, ...] = Field(default=(), description="by output; empty where they are not told")
    contents: dict[str, Any] = Field(default_factory=dict, description="of each set; empty where not told")


Lineage = tuple[Origin, ...]
"""The latest training first; its classes are those of the network's outputs."""


class Chosen(NamedTuple):
    """How a source is to be read for a network.

    Attributes:
        settings: which images, as for `load_sets`.
        split_seed: seed of the split, as for `load_sets`.
        origin: the training whose images these are; None for other images.
        remarks: sentences on what is unknown.
        sets: the images, if they were read already, in the origin's size.
    """

    settings: Data
    split_seed: int
    origin: Origin | None
    remarks: tuple[str, ...] = ()
    sets: Sets | None = None

    def load(self, data: str, root: str | None, size: tuple[int, ...]) -> Sets:
        """Read the sets.

        Args:
            data: the source.
            root: the folder that the source needs, or None.
            size: (C, H, W) of the images.

        Raises:
            DataError: as for `load_sets`.
        """
        if self.sets is not None and self.origin is not None and tuple(size) == self.origin.size:
            return self.sets
        return load_sets(data, self.settings, input_size=tuple(size), root=root, seed=self.split_seed)  # type: ignore[arg-type]  # three numbers


def lineage_of(*names: str | Path | None) -> Lineage:
    """Find what a network was trained on.

    Args:
        names: a network's or run's folder, a file of weights inside one, or None.

    Returns:
        The lineage of the first name that has one; else an empty one.

    Raises:
        ArtifactError: a record is damaged, or a run's trained network is not the one that it was trained to.
    """
    return next((found for n in names if n and (found := _of(n))), ())


def own_sets(
    lineage: Lineage, data: str, root: str | None, size: tuple[int, ...] | None, *, compare: bool = True
) -> tuple[Origin, Sets] | None:
    """Read the sets that a network was trained on, with the same split, if a source holds these images.

    A source is recognised by its name, or by its contents under another name, so that a copy is recognised
    too.

    Args:
        lineage: what the network was trained on.
        data: the source.
        root: the folder that the source needs, or None.
        size: (C, H, W) to read the images in; None for the size of the training.
        compare: check that a source of the same name has unchanged contents; False if the caller does so.

    Returns:
        The training and its sets; None if the source holds other images.

    Raises:
        ArtifactError: the contents of a source of the same name have changed.
    """
    for origin in lineage:
        if _same_name(origin, data, root):
            return origin, _sets(origin, data, root, size, compare=compare)
    for origin in lineage:
        if origin.data != "digits" and data != "digits":
            try:
                if not _may_be(origin, data, root):
                    continue
                return origin, _sets(origin, data, root, size, compare=True)
            except (DataError, ArtifactError):
                continue
    return None


def chosen(
    lineage: Lineage,
    target: str,
    data: str,
    root: str | None,
    *,
    told: Data | None = None,
    seed: int = 0,
    split_seed: int | None = None,
    compare: bool = True,
    trained: bool = True,
) -> Chosen:
    """Decide how to read a source for a network: its training's split, classes in the order of its outputs.

    Args:
        lineage: what the network was trained on.
        target: the network, for messages.
        data: the source.
        root: the folder that the source needs, or None.
        told: settings of the caller, which take precedence.
        seed: seed of the split if neither the caller nor a record states one.
        split_seed: the caller's seed of the split, or None.
        compare: as for `own_sets`.
        trained: whether the network has weights from elsewhere, so that it may have seen images already.

    Raises:
        ArtifactError: the contents of the source have changed.
        RecipeError: with the caller's settings, the network would be tested on images that it was trained on.
    """
    told = told or Data()
    fresh = seed if split_seed is None else split_seed
    if not lineage:
        return Chosen(told, fresh, None, unrecorded(target, data) if trained else ())
    found = own_sets(lineage, data, root, None, compare=compare)
    if found is None:
        return Chosen(_ordered(lineage, data, root, told), fresh, None, unknown(lineage, None, target, data))
    origin, sets = found
    remarks = unknown(lineage, origin, target, data)
    # Only what the caller set overrides the record: a default must not change the split.
    said = {k: getattr(told, k) for k in told.model_fields_set}
    settings = _ordered(lineage, data, root, origin.settings.model_copy(update=said), origin)
    split = origin.split_seed if split_seed is None else split_seed
    other = [f"data.{k}" for k in _CUTS if getattr(settings, k) != getattr(origin.settings, k)]
    other += ["split_seed"] if split != origin.split_seed else []
    if other:
        now = load_sets(data, settings, input_size=_size(origin, None), root=root, seed=split)
        # A source with test images of its own: another split of the rest tests on no training image.
        if _apart(sets, now):
            return Chosen(settings, split, origin, remarks)
        raise RecipeError(
            f"{target} was trained on {data}, split in another way ({', '.join(other)}): "
            "images that it was trained on would be "
            f"tested on; leave {'it' if len(other) == 1 else 'them'} out, and the split is that of {origin.place}"
        )
    return Chosen(settings, split, origin, remarks, sets if settings == origin.settings else None)


def unknown(lineage: Lineage, origin: Origin | None, target: str, data: str) -> tuple[str, ...]:
    """Sentences on what is unknown about the images that a network is tested on.

    Args:
        lineage: what the network was trained on.
        origin: the training whose images these are; None for other images.
        target: the network, for the text.
        data: the source, for the text.
    """
    others = dict.fromkeys(o.data for o in lineage if origin is None or o.data != origin.data)
    if not others:
        return ()
    return (
        f"{target} was trained on {' and '.join(others)}: whether it has seen images of {data} there is not known",
    )


def unrecorded(target: str, data: str) -> tuple[str, ...]:
    """Sentences on a network whose lineage is empty, although it may have been trained.

    Args:
        target: the network, for the text.
        data: the source, for the text.
    """
    return (
        f"nothing is recorded of what {target} was trained on: whether it has seen images of "
        f"{data} is not known, and output k "
        "is taken to be their class k",
    )


def class_order(known: Sequence[str], names: Sequence[str]) -> list[int] | None:
    """Match classes of images with a network's outputs by name.

    Args:
        known: the network's classes, by output.
        names: the images' classes.

    Returns:
        The output for each class of the images; None if a name is not among the network's.
    """
    place = {name: k for k, name in enumerate(known)}
    return [place[n] for n in names] if names and all(n in place for n in names) else None


def origin_of(
    data: str,
    root: str | None,
    settings: Data,
    split_seed: int,
    size: Sequence[int] | None,
    sets: Sets,
    *,
    classes: Sequence[str] | None = None,
    num_classes: int | None = None,
) -> Origin:
    """Make the record of the sets that a network was trained or calibrated on.

    Args:
        data: the source.
        root: the folder that the source needs, or None.
        settings: how the source was read.
        split_seed: seed of the split.
        size: (C, H, W) of the images, or None.
        sets: the images.
        classes: the network's classes, if they are not the sets'.
        num_classes: outputs that were asked for, if more than classes.
    """
    held = {k: v for k, v in made_from(sets, None, None).items() if k in _HELD}
    return Origin(
        place="",
        data=absolute_source(data),
        root=absolute(root),
        settings=settings,
        split_seed=split_seed,
        size=None if size is None else tuple(size),
        num_classes=num_classes,
        classes=tuple(sets.classes if classes is None else classes),
        contents=json.loads(json.dumps(held)),
    )


def beside(*names: str | Path | None) -> dict[str, str]:
    """The file lineage.json, name → text, to save with a network that was made from one in these places.

    Args:
        names: as for `lineage_of`.

    Returns:
        An empty mapping where nothing is recorded.
    """
    found = lineage_of(*names)
    return written(found)


def of_run(folder: Path, settings: Mapping[str, Any]) -> dict[str, str]:
    """The file lineage.json, name → text, to save with the networks that a run makes.

    Args:
        folder: the run's folder.
        settings: what its settings.json will say.
    """
    first, *earlier = _of_settings(folder / SETTINGS, settings)
    # Without a place: the run may be moved, and the network may be copied out of it.
    return written((first.model_copy(update={"place": ""}), *earlier))


def written(lineage: Lineage) -> dict[str, str]:
    """The file lineage.json, name → text, of a lineage.

    Args:
        lineage: the lineage; no file is made for an empty one.
    """
    return {LINEAGE: json.dumps(dumped(lineage), indent=2)} if lineage else {}


def dumped(lineage: Lineage) -> list[dict[str, Any]]:
    """A lineage as plain data.

    Args:
        lineage: the lineage.
    """
    return [o.model_dump(mode="json") for o in lineage]


def _of(name: str | Path) -> Lineage:
    path = Path(name)
    if path.is_file():
        path = path.parent
    place = path if path.is_dir() else folder_of(name)
    if place is None:
        return ()
    place = place.resolve()
    found = _recorded(place)
    if found and not Path(name).is_file():  # a file of weights is taken for itself, whatever trained/ holds
        check_ended(place)
    return found


def _recorded(place: Path) -> Lineage:
    if (place / LINEAGE).is_file():
        found = read_json(place / LINEAGE)
        if not isinstance(found, list):
            raise ArtifactError(
                f"{place / LINEAGE} cannot be read: it holds {type(found).__name__}, not a list"
            )
        return _placed((as_model(o, Origin, str(place / LINEAGE)) for o in found), _run_of(place))
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
    return (_origin(path, settings, {}),)


def _of_run(path: Path) -> Lineage:
    record = read_mapping(path)
    if not isinstance(record.get("data"), str) or "recipes" not in record:
        return ()
    return _of_settings(path, record)


def _of_settings(path: Path, record: Mapping[str, Any]) -> Lineage:
    earlier = tuple(as_model(o, Origin, str(path)) for o in record.get("earlier") or ())
    return (_origin(path, record, record.get("contents") or {}), *earlier)


def _origin(path: Path, told: Mapping[str, Any], contents: Mapping[str, Any]) -> Origin:
    settings = told.get("data_settings") or {}
    held = {k: v for k, v in contents.items() if k in _HELD}
    found = {
        "place": str(path.parent),
        "data": told["data"],
        "root": told.get("root"),
        "settings": settings,
        "split_seed": told.get("seed") if told.get("split_seed") is None else told["split_seed"],
        "size": told.get("size") or told.get("input_size"),
        "num_classes": told.get("num_classes"),
        "classes": held.get("classes") or settings.get("classes") or (),
        "contents": held,
    }
    return as_model(found, Origin, str(path))


def _same_name(origin: Origin, data: str, root: str | None) -> bool:
    return origin.data == absolute_source(data) and (absolute(root) == origin.root or Path(data).exists())


def _may_be(origin: Origin, data: str, root: str | None) -> bool:
    """Whether a source of another name may hold an origin's images, judged by classes and image counts."""
    held = [s for n in IMAGES if isinstance(s := origin.contents.get(n), dict) and s.get("read")]
    if not held:
        return False
    opened, settings = open_source(data, root), origin.settings
    if opened.streams or (opened.classes and not {*origin.classes} <= {*opened.classes}):
        return False
    there, wanted = sum(map(len, opened.splits.values())), sum(s["images"] for s in held)
    whole = settings.classes is None and settings.per_class is None and settings.faults == "refuse"
    return there == wanted if whole else there >= wanted


def _sets(
    origin: Origin, data: str, root: str | None, size: tuple[int, ...] | None, *, compare: bool
) -> Sets:
    """The sets with images of `size`, after checking their contents in the size of the training."""
    # Contents were recorded in the size of the training; in another size the pixels would differ.
    trained_size = _size(origin, size)
    sets = load_sets(data, origin.settings, input_size=trained_size, root=root, seed=origin.split_seed)
    if origin.contents and compare:
        now = {k: v for k, v in made_from(sets, None, None).items() if k in _HELD}
        what = "put back what it was trained on, or name other images"
        check_contents(origin.contents, now, origin.place, {"": absolute_source(data)}, instead=what)
    if size is None or trained_size is None or tuple(size) == tuple(trained_size):
        return sets
    return load_sets(data, origin.settings, input_size=tuple(size), root=root, seed=origin.split_seed)  # type: ignore[arg-type]  # three numbers


def _size(origin: Origin, size: tuple[int, ...] | None) -> Any:
    return origin.size or size


def _ordered(
    lineage: Lineage, data: str, root: str | None, settings: Data, origin: Origin | None = None
) -> Data:
    """Settings that put a source's classes in the order of the network's outputs, where the names agree."""
    known = lineage[0].classes
    if settings.classes is not None or not known or data == "digits" or (origin and origin.classes == known):
        return settings
    names = open_source(data, root).classes
    if set(names) == set(known) and tuple(names) != known:
        return settings.model_copy(update={"classes": known})
    return settings


def _apart(before: Sets, now: Sets) -> bool:
    """Whether the test images are the same with both splits, as for a source with test images of its own."""
    one, other = made_from(before, None, None), made_from(now, None, None)
    return one[IMAGES[2]] == other[IMAGES[2]]
