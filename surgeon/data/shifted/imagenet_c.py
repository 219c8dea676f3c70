"""ImageNet-C as it is distributed: CORRUPTION/SEVERITY/WORDNET-ID/*.JPEG."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from surgeon.data.decoding import to_bytes
from surgeon.data.names import shown
from surgeon.data.shifted.classes import imagenet
from surgeon.data.shifted.files import folders, hashed, images, no_images_in, reading
from surgeon.data.shifted.sets import Part, ShiftSet
from surgeon.errors import DataError, nearest
from surgeon.results.shifted import CORRUPTIONS, EXTRA, SEVERITIES

GROUPS = ("noise", "blur", "weather", "digital", "extra")
"""The archives that it comes in, where they were unpacked into folders of their own."""
IMAGES = 50_000
LAYOUT = (
    "ImageNet-C: FOLDER/gaussian_noise/1/n01440764/*.JPEG, severities 1 to 5, the corruptions also inside "
    "noise/, blur/, weather/, digital/ and extra/"
)
Listing = list[tuple[str, str]]


def open_imagenet_c(folder: Path) -> ShiftSet:
    """Open ImageNet-C.

    Args:
        folder: where the corruptions lie, or the archives' folders with them.

    Returns:
        The set: a part for each corruption and severity.

    Raises:
        DataError: a corruption or class is unknown, a severity is missing, or the parts do not have the same images.
    """
    corruptions = _corruptions(folder)
    known = (*CORRUPTIONS, *EXTRA)
    wnids, listing = imagenet(), Listing()
    parts, places = [], list[Path]()
    for kind in (k for k in known if k in corruptions):
        _check_severities(corruptions[kind])
        for severity in SEVERITIES:
            place = corruptions[kind] / str(severity)
            own = _listed(place)
            if not listing:
                listing, first = own, place
            elif own != listing:
                raise DataError(_unlike(first, listing, place, own))
            places.append(place)
            parts.append(Part(kind, severity, reading(_file(place, own), to_bytes)))
    labels = torch.tensor([wnids.index(w) for w, _ in listing], dtype=torch.int64)
    lacking = [k for k in CORRUPTIONS if k not in corruptions]
    notes = [f"{len(lacking)} of 15 corruptions lack ({', '.join(lacking)}): no mean"] if lacking else []
    if len(labels) != IMAGES:
        notes.append(f"{len(labels):,} images in each part, and ImageNet-C has {IMAGES:,}")
    return ShiftSet(
        name="ImageNet-C",
        kind="imagenet-c",
        source=str(folder),
        parts=tuple(parts),
        labels=labels,
        classes=wnids,
        contents=hashed(
            [*(k for k in known if k in corruptions), *(f"{w}/{n}" for w, n in listing)],
            lambda i: places[i // len(listing)].joinpath(*listing[i % len(listing)]),
            len(places) * len(listing),
        ),
        whole=len(labels) == IMAGES,
        notes=tuple(notes),
    )


def _corruptions(folder: Path) -> dict[str, Path]:
    """Corruption → its folder."""
    by_name: dict[str, Path] = {}
    places = [folder / g for g in folders(folder) if g in GROUPS]
    for place in (folder, *places):
        for name in folders(place):
            if place == folder and name in GROUPS:
                continue
            if name not in (*CORRUPTIONS, *EXTRA):
                raise DataError(
                    f"{shown(place / name)}: {name!r} is no corruption; {nearest(name, (*CORRUPTIONS, *EXTRA))}"
                )
            if name in by_name:
                raise DataError(
                    f"{name} lies there twice, {shown(by_name[name])} and {shown(place / name)}; keep one"
                )
            by_name[name] = place / name
    return by_name


def _check_severities(folder: Path) -> None:
    own, wanted = folders(folder), [str(s) for s in SEVERITIES]
    if own != wanted:
        lacking = [s for s in wanted if s not in own]
        odd = [s for s in own if s not in wanted]
        reasons = [f"lacks {', '.join(lacking)}"] if lacking else []
        reasons += [f"has {', '.join(odd)} beside"] if odd else []
        raise DataError(f"{shown(folder)} {' and '.join(reasons)}; expected are the severities 1, 2, 3, 4, 5")


def _listed(place: Path) -> Listing:
    """(WordNet id, name of a file) of each image, sorted."""
    no_images_in(place)
    known, names = {*imagenet()}, folders(place)
    odd = next((w for w in names if w not in known), None)
    if odd is not None:
        raise DataError(f"{shown(place / odd)} is not one of ImageNet's 1,000 classes; expected is {LAYOUT}")
    if not names:
        raise DataError(f"{shown(place)} has no folders of classes; expected is {LAYOUT}")
    return [(w, name) for w in names for name in images(place / w)]


def _file(place: Path, listing: Listing) -> Callable[[int], Path]:
    return lambda i: place.joinpath(*listing[i])


def _unlike(first: Path, listing: Listing, place: Path, own: Listing) -> str:
    lacking, more = sorted({*listing} - {*own}), sorted({*own} - {*listing})
    if lacking:
        return (
            f"{shown(place)} lacks {len(lacking)} images of {shown(first)}, the first {'/'.join(lacking[0])}"
        )
    return f"{shown(place)} has {len(more)} images more than {shown(first)}, the first {'/'.join(more[0])}"
