"""How a source is read for a network: with its training's split, its classes in the order of the outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, cast

from torch import Tensor

from surgeon.data import Sets, absolute_source, load_sets
from surgeon.data.sources import open_source
from surgeon.disk.files import absolute
from surgeon.errors import ArtifactError, DataError, RecipeError
from surgeon.pipeline.contents import IMAGES, check_contents, made_from
from surgeon.pipeline.origin import HELD, Lineage, Origin
from surgeon.pipeline.tested import comparable, trained_on, validated_on
from surgeon.recipe import Data

_CUTS = ("val_share", "test_share", "stratified", "per_class", "classes")
"""Settings that decide which images are tested on where a source has no test images of its own."""


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
        sized = cast("tuple[int, int, int]", tuple(size))
        return load_sets(data, self.settings, input_size=sized, root=root, seed=self.split_seed)


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
    data_settings: Data | None = None,
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
        data_settings: settings of the caller, which take precedence.
        seed: seed of the split if neither the caller nor a record states one.
        split_seed: the caller's seed of the split, or None.
        compare: as for `own_sets`.
        trained: whether the network has weights from elsewhere, so that it may have seen images already.

    Raises:
        ArtifactError: the contents of the source have changed.
        RecipeError: with the caller's settings, the network would be tested on images that it was trained on.
    """
    data_settings = data_settings or Data()
    fresh = seed if split_seed is None else split_seed
    if not lineage:
        return Chosen(data_settings, fresh, None, unrecorded(target, data) if trained else ())
    those = own_sets(lineage, data, root, None, compare=compare)
    if those is None:
        return Chosen(
            _ordered(lineage, data, root, data_settings), fresh, None, unknown(lineage, None, target, data)
        )
    origin, sets = those
    remarks = unknown(lineage, origin, target, data)
    # Only what the caller set overrides the record: a default must not change the split.
    said = {k: getattr(data_settings, k) for k in data_settings.model_fields_set}
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


class Compared(NamedTuple):
    """Test images that were compared with those of a training, pixel by pixel.

    Attributes:
        origin: the training.
        remarks: sentences on images that are seen again; empty where no image is.
    """

    origin: Origin
    remarks: tuple[str, ...]


def seen_in_its_folder(lineage: Lineage, data: str, size: tuple[int, ...], images: Tensor) -> Compared | None:
    """Compare test images of a part of a training's folder, or of one around it, with those of the training.

    Args:
        lineage: what the network was trained on.
        data: the source of the test images.
        size: (C, H, W) of the images.
        images: (N, C, H, W), the test images.

    Returns:
        The comparison; None where there is no such training, or where its images are not in memory.
    """
    for origin in lineage:
        here, there = Path(absolute_source(data)), Path(origin.data)
        if not (here.exists() and there.is_dir() and (here in there.parents or there in here.parents)):
            continue
        try:
            sets = _sets(origin, origin.data, origin.root, size, compare=False)
        except (DataError, ArtifactError):
            continue
        if not comparable(sets.train, images):
            continue
        shared = (*trained_on(sets.train, images), *validated_on(sets.val, images))
        return Compared(origin, shared)
    return None


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
        now = {k: v for k, v in made_from(sets, None, None).items() if k in HELD}
        what = "put back what it was trained on, or name other images"
        check_contents(origin.contents, now, origin.place, {"": absolute_source(data)}, instead=what)
    if size is None or trained_size is None or tuple(size) == tuple(trained_size):
        return sets
    sized = cast("tuple[int, int, int]", tuple(size))
    return load_sets(data, origin.settings, input_size=sized, root=root, seed=origin.split_seed)


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
