"""The record of what a network was trained on: its sources, their split, and its classes in order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator

from surgeon.data import Sets, absolute_source
from surgeon.disk.files import absolute
from surgeon.pipeline.contents import IMAGES, made_from
from surgeon.recipe import Data
from surgeon.store.configuration import LINEAGE, Side

HELD = (*IMAGES, "classes")
"""What a record says of the contents of its images."""
_NAMES: TypeAdapter[list[str]] = TypeAdapter(list[str])


class _Set(BaseModel):
    """What `surgeon.data.contents_of` says of a set."""

    model_config = ConfigDict(strict=True, extra="ignore")

    read: int = Field(ge=0)
    images: int | None = Field(default=None, ge=0)
    listing: str | None = None
    labels: str | None = None
    pixels: str | None = None
    contents: str | None = None


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
    size: Annotated[tuple[Side, ...], Field(min_length=3, max_length=3)] | None = Field(
        default=None, description="(C, H, W) of the images; None where it is not told"
    )
    num_classes: int | None = Field(
        default=None, description="outputs that were asked for, where they are more than classes"
    )
    classes: tuple[str, ...] = Field(default=(), description="by output; empty where they are not told")
    contents: dict[str, Any] = Field(default_factory=dict, description="of each set; empty where not told")
    trained: bool = Field(
        default=True, description="whether it was trained on; otherwise starts were computed from its images"
    )

    @field_validator("contents")
    @classmethod
    def _of_sets(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name, held in value.items():
            if name == "classes":
                _NAMES.validate_python(held)
            elif name not in IMAGES:
                raise ValueError(f"{name!r:.80} is not a set of images; {', '.join(IMAGES)} are")
            elif held is not None and (given := _Set.model_validate(held)).read and given.images is None:
                raise ValueError(f"{name} have no number of images")
        return value


Lineage = tuple[Origin, ...]
"""The latest training first; its classes are those of the network's outputs."""


def is_trained(lineage: Lineage) -> bool:
    """Whether a lineage has a training, and not only images that starts were computed from.

    Args:
        lineage: the lineage.
    """
    return any(origin.trained for origin in lineage)


def class_order(known: Sequence[str], names: Sequence[str]) -> list[int] | None:
    """Match classes of images with a network's outputs by name.

    Args:
        known: the network's classes, by output.
        names: the images' classes.

    Returns:
        The output for each class of the images; None if a name is not among the network's, or names two
        classes of either.
    """
    if len({*names}) < len(names) or any(known.count(n) > 1 for n in {*names}):
        return [*range(len(names))] if tuple(names) == tuple(known) else None
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
    trained: bool = True,
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
        trained: whether the network is trained on them.
    """
    held = {k: v for k, v in made_from(sets, None, None).items() if k in HELD}
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
        trained=trained,
    )


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
