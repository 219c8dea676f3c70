"""Make the training, validation and test sets of a source: choose, split and check its images."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from surgeon.arguments import checked_seed
from surgeon.data.faults import CLASSES, Faults, inspect
from surgeon.data.images import SPLITS, Images
from surgeon.data.lazy_images import Records, Stream
from surgeon.data.leaving import without_untrained
from surgeon.data.names import shown
from surgeon.data.scans import DIGITS_SIZE, digits_as
from surgeon.data.sources import Source, open_source
from surgeon.data.splits import balanced, split
from surgeon.errors import DataError, either
from surgeon.host import in_own_state
from surgeon.recipe import Data

IN_MEMORY = 2 * 2**30
Entries = list[tuple[Any, int]]


@dataclass(frozen=True)
class Sets:
    """The images of a training.

    Attributes:
        train, val, test: Images in memory, Records that are read one by one, or streams. val and test of a
            stream may be None.
        classes: the classes' names, by label.
        faults: what is wrong with the data.
        cut: whether validation or test images were cut from the training images.

    Examples:
        >>> from surgeon.data import load_sets
        >>> sets = load_sets("digits")
        >>> sets.test.x.shape, sets.faults.lines()
        (torch.Size([360, 1, 16, 16]), [])
    """

    train: Any
    val: Any
    test: Any
    classes: tuple[str, ...]
    faults: Faults
    cut: bool = False


@in_own_state()
def load_sets(
    source: str,
    settings: Data | None = None,
    *,
    input_size: tuple[int, int, int] | None = None,
    root: str | None = None,
    seed: int = 0,
) -> Sets:
    """Read training, validation and test images of a source.

    A split that the source lacks is cut from its training images, class by class. Images in memory are all
    decoded here, so that unreadable ones are found at once. Otherwise they are found on reading, or here if
    they are to be skipped.

    Args:
        source: 'digits', a folder, parquet files, tars, or a name of timm's under `root`; see `open_source`.
        settings: which images to use and how to split them; by default `Data()`. `per_class` counts training
            images before the missing splits are cut from them.
        input_size: (C, H, W) to which images are converted; by default the settings' size, else that of the
            first image.
        root: the folder that the source needs, if it needs one.
        seed: seed of the splits.

    Returns:
        The three sets, with the classes' names and what was wrong with the data.

    Raises:
        DataError: source and settings do not fit each other (also the share of a split that the source has),
            or there are faults that are not to be skipped.
        ArgumentError: `seed` is not valid.

    Examples:
        >>> from surgeon.data import load_sets
        >>> sets = load_sets("digits", input_size=(3, 32, 32))
        >>> len(sets.train.x), len(sets.val.x), len(sets.test.x), sets.classes[:3]
        (1077, 360, 360, ('0', '1', '2'))
    """
    settings, seed = settings or Data(), checked_seed(seed)
    if source == "digits":
        _check_shares(source, SPLITS, settings)
        return _sets_of_digits(settings, input_size, seed)
    opened = open_source(source, root)
    _check_shares(source, opened.splits, settings)
    if opened.streams:
        return _streams(opened, settings, input_size)
    chosen, classes = _chosen(opened, settings)
    # A class of any split is one, also where classes have no names.
    names = classes or tuple(str(c) for c in range(_highest(chosen) + 1))
    first = next((e for part in chosen.values() for e in part), None)
    if first is None:
        raise DataError(f"{shown(source)} has no images" + (" of these classes" if settings.classes else ""))
    size = _size(input_size, settings, first)
    total = sum(map(len, chosen.values())) * size[0] * size[1] * size[2]
    inside = settings.in_memory == "always" or (settings.in_memory == "auto" and total < IN_MEMORY)
    faults = Faults()
    for name, entries in chosen.items():
        where = source if len(chosen) == 1 else f"{source}, {name},"
        good, defects = inspect(
            entries,
            names,
            policy=settings.faults,
            source=where,
            decode=inside or settings.faults == "skip",
            complete=name == "train",
        )
        chosen[name] = good
        faults = _added(faults, defects)
    if settings.faults == "skip" and settings.classes is None:
        chosen, names, faults = without_untrained(chosen, names, faults)
    if settings.per_class is not None:
        labels = torch.tensor([label for _, label in chosen["train"]])
        keep = balanced(labels, settings.per_class, names=names, seed=seed)
        chosen["train"] = [chosen["train"][i] for i in keep.tolist()]
    given = frozenset(chosen)
    chosen = _split(chosen, settings, source, seed)
    records = {s: Records(chosen[s], size) for s in SPLITS}
    ready = {s: r.in_memory() if inside else r for s, r in records.items()}
    return Sets(ready["train"], ready["val"], ready["test"], names, faults, cut=not given >= {*SPLITS})


def _check_shares(source: str, there: Collection[str], settings: Data) -> None:
    """Raise DataError for the share of a split that the source has: it would have no effect."""
    for name, word in (("val", "validation"), ("test", "test")):
        share = getattr(settings, key := f"{name}_share")
        if name in there and share != Data.model_fields[key].default:
            raise DataError(f"data.{key}={share:g}, and {source} has {word} images of its own: leave it out")


def _chosen(source: Source, settings: Data) -> tuple[dict[str, Entries], tuple[str, ...]]:
    """The entries of the requested classes, numbered in that order; empty classes are dropped with `skip`."""
    splits, classes = {s: list(e) for s, e in source.splits.items()}, source.classes
    wanted = settings.classes
    if wanted is None and settings.faults == "skip" and classes:
        there = {label for part in splits.values() for _, label in part}
        if len(there & set(range(len(classes)))) < len(classes):
            wanted = tuple(n for c, n in enumerate(classes) if c in there)
    if wanted is None:
        return splits, classes
    missing = [c for c in wanted if c not in classes]
    if missing:
        has = ", ".join(classes[:8]) + (", …" if len(classes) > 8 else "") if classes else "no names for them"
        raise DataError(f"{source.name} lacks the classes {', '.join(missing)}; it has {has}")
    if twice := [c for c in wanted if classes.count(c) > 1]:
        raise DataError(
            f"{source.name} has several classes of the name {twice[0]}: they cannot be chosen by name"
        )
    place = {classes.index(c): n for n, c in enumerate(wanted)}
    odd = {s: [(i, c) for i, c in e if not 0 <= c < len(classes)] for s, e in splits.items()}
    kept = {s: [(i, place[c]) for i, c in e if c in place] for s, e in splits.items()}
    return {s: kept[s] + odd[s] for s in splits}, tuple(wanted)


def _highest(splits: dict[str, Entries]) -> int:
    return max((label for part in splits.values() for _, label in part if label < CLASSES), default=-1)


def _size(given: tuple[int, int, int] | None, settings: Data, first: tuple[Any, int]) -> tuple[int, int, int]:
    if given is not None:
        if len(given) != 3 or given[0] not in (1, 3) or min(given[1:]) < 1:
            raise DataError(f"images are (1 or 3, H, W), not {tuple(given)}")
        return given
    from surgeon.data.decoding import picture_of
    from surgeon.data.lazy_images import Borrowed

    item = first[0]
    picture = item.picture() if isinstance(item, Borrowed) else picture_of(item)
    channels = 1 if settings.grayscale or picture.mode == "L" else 3
    return (channels, *(settings.size or (picture.height, picture.width)))


def _split(chosen: dict[str, Entries], settings: Data, source: str, seed: int) -> dict[str, Entries]:
    """Cut missing splits from the training images."""
    if "train" not in chosen:
        raise DataError(f"{source} has no training images, only {', '.join(chosen)}")
    shares = {"val": settings.val_share, "test": settings.test_share}
    missing = {s: v for s, v in shares.items() if s not in chosen}
    if not missing:
        return chosen
    train = chosen["train"]
    labels = torch.tensor([label for _, label in train], dtype=torch.int64)
    parts = split(labels, list(missing.values()), stratified=settings.stratified, seed=seed)
    if not all(map(len, parts)):  # classes too small to split one by one
        if len(train) < 2 + len(missing):
            needed = "training, validation and test" if len(missing) == 2 else f"training and {[*missing][0]}"
            raise DataError(
                f"{source} has {len(train)} images, too few for {needed}; {2 + len(missing)} are the least"
            )
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
        sizes = [max(1, round(v * len(train))) for v in missing.values()]
        parts = list(order.split([len(train) - sum(sizes), *sizes]))
    cut = {s: [train[i] for i in p.tolist()] for s, p in zip(("train", *missing), parts, strict=True)}
    return {**chosen, **cut}


def _sets_of_digits(settings: Data, size: tuple[int, ...] | None, seed: int) -> Sets:
    sets = list(digits_as(size or (1, *(settings.size or (DIGITS_SIZE, DIGITS_SIZE)))).values())
    if settings.classes is not None:
        raise DataError(
            "the digits are used whole; data.classes is for folders and data sets whose classes have names"
        )
    if settings.per_class is not None:
        keep = balanced(sets[0].y, settings.per_class, seed=seed)
        sets[0] = Images(sets[0].x[keep], sets[0].y[keep])
    names = tuple(map(str, range(10)))
    counts = {n: sum(int((s.y == c).sum()) for s in sets) for c, n in enumerate(names)}
    return Sets(sets[0], sets[1], sets[2], names, Faults(images=sum(counts.values()), classes=counts))


def _streams(source: Source, settings: Data, size: tuple[int, int, int] | None) -> Sets:
    if size is None and settings.size is None:
        raise DataError(
            f"{source.name} is a stream, whose images' size must be said: pass "
            + either("input_size", "--input-size")
        )
    if settings.per_class is not None or settings.classes is not None:
        raise DataError(
            f"{source.name} is a stream, read as it comes; data.classes and data.per_class "
            "need data that can be chosen from"
        )
    shape = size or (1 if settings.grayscale else 3, *(settings.size or ()))
    streams: Sequence[Any] = [Stream(source.splits[s], shape) if s in source.splits else None for s in SPLITS]
    return Sets(
        streams[0], streams[1], streams[2], (), Faults(images=sum(len(s) for s in streams if s is not None))
    )


def _added(one: Faults, other: Faults) -> Faults:
    """The faults of two splits together."""
    counts = {k: one.counts.get(k, 0) + other.counts.get(k, 0) for k in {**one.counts, **other.counts}}
    named = {k: (*one.named.get(k, ()), *other.named.get(k, ())) for k in counts}
    classes = {k: one.classes.get(k, 0) + other.classes.get(k, 0) for k in {**one.classes, **other.classes}}
    return Faults(images=one.images + other.images, classes=classes, counts=counts, named=named)
