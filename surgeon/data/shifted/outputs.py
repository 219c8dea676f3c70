"""Which output of a network means which class of a published set."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from surgeon.data.shifted.classes import imagenet
from surgeon.data.shifted.sets import ShiftSet
from surgeon.errors import DataError

_WORDNET = re.compile(r"n\d{8}")
_BY_NUMBER = "no names say which output means which class: they are taken in the order of {}"
_NUMBERED = (
    "the outputs are called {}, which are no names of {}: they are taken in the order of {}; where they mean something "
    "else, such as handwritten digits, these figures mean nothing"
)


class Meant(NamedTuple):
    """(K,) int64: the output of each class of the set; and sentences on what is not known of that."""

    places: Tensor
    notes: tuple[str, ...]


def outputs_of(opened: ShiftSet, names: Sequence[str], outputs: int) -> Meant:
    """Find the output of a network for each class of a set.

    Args:
        opened: the set. Of cue conflicts the places of all 1,000 classes of ImageNet are found.
        names: the names of the network's outputs in their order; empty if unknown.
        outputs: how many outputs it has.

    Returns:
        The places. Names decide the order where they are those of the set; else it is the published one, which
        a note says.

    Raises:
        DataError: the network has another number of outputs, a class twice, or classes that are not the set's.
    """
    twice = sorted({n for n in names if list(names).count(n) > 1}) if len({*names}) < len(names) else []
    if twice:
        raise DataError(
            f"two outputs are called {twice[0]!r}: which one means it in {opened.name} is not known"
        )
    if opened.kind == "cifar-c":
        return _cifar(opened, [_plain(n) for n in names], outputs)
    return _imagenet(opened, list(names), outputs)


def _cifar(opened: ShiftSet, names: list[str], outputs: int) -> Meant:
    classes = opened.classes
    if outputs != len(classes):
        raise DataError(f"{opened.name} has {len(classes)} classes, and the network {outputs} outputs")
    of = f"{opened.name.removesuffix('-C')}'s classes"
    if not names:
        return Meant(torch.arange(outputs), (_BY_NUMBER.format(of),))
    if all(n.isdecimal() for n in names):
        return Meant(torch.arange(outputs), (_NUMBERED.format(_some(names), of, of),))
    if len(names) != outputs:
        raise DataError(f"{len(names)} classes are named, and the network has {outputs} outputs")
    if {*names} == {*classes}:
        return Meant(torch.tensor([names.index(c) for c in classes]), ())
    strange = [n for n in names if n not in classes]
    alike = sum(a == b for a, b in zip(names, classes, strict=True))
    if alike + len(strange) == outputs and len(strange) <= outputs // 4:
        remark = f"the outputs called {', '.join(strange[:5])} are taken for those of {opened.name} by their number"
        return Meant(torch.arange(outputs), (remark,))
    raise DataError(
        f"the network's outputs are {_some(names)}, and {opened.name} is labelled {_some(classes)}: "
        "it is not a set for this network"
    )


def _imagenet(opened: ShiftSet, names: list[str], outputs: int) -> Meant:
    wanted = imagenet() if opened.kind == "cue-conflict" else opened.classes
    if names and all(_WORDNET.fullmatch(n) for n in names):
        absent = [w for w in wanted if w not in names]
        if absent:
            raise DataError(
                f"the network has no output for {len(absent)} of the {len(wanted)} classes of {opened.name}, "
                f"such as {', '.join(absent[:3])}"
            )
        place = {n: i for i, n in enumerate(names)}
        if max(place[w] for w in wanted) >= outputs:
            raise DataError(f"{len(names)} classes are named, and the network has {outputs} outputs")
        return Meant(torch.tensor([place[w] for w in wanted]), ())
    every = imagenet()
    if outputs != len(every):
        raise DataError(
            f"{opened.name} is for networks of ImageNet's 1,000 outputs, and this one has {outputs}"
        )
    place = {n: i for i, n in enumerate(every)}
    return Meant(torch.tensor([place[w] for w in wanted]), (_BY_NUMBER.format("ImageNet's WordNet ids"),))


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
