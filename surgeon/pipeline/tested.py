"""Remarks on test images: those that a network has seen in training or validation, and classes without images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TypeGuard

import torch
from torch import Tensor
from torch.utils.data import Dataset

from surgeon.data import Sets
from surgeon.data.images import Images, pixels
from surgeon.data.lazy_images import Records
from surgeon.data.names import pairs_alike, shown
from surgeon.data.same_files import shared_files
from surgeon.evaluation.engine.fingerprints import image_hashes

_NAMED = 5


def on_sets(sets: Sets, images: Tensor, labels: Tensor) -> tuple[str, ...]:
    """Remarks on test images of the sets that a network was trained with.

    Args:
        sets: the sets.
        images: (N, C, H, W), the test images.
        labels: (N,) int64, by the sets' classes.
    """
    return (
        *trained_on(sets.train, images),
        *validated_on(sets.val, images),
        *tested_files(sets),
        *validated_by_training(sets),
        *without_training(sets.train, labels, sets.classes),
        *without_images(labels, sets.classes),
    )


def trained_on(train: Images | Dataset | None, images: Tensor) -> tuple[str, ...]:
    """A remark where test images are, pixel by pixel, also among the training images.

    Args:
        train: the training images; only those in memory are compared.
        images: (N, C, H, W), the test images.
    """
    return _seen(train, images, "images that the network was trained on")


def validated_on(val: Images | Dataset | None, images: Tensor) -> tuple[str, ...]:
    """A remark where test images are, pixel by pixel, also among the validation images.

    Args:
        val: the validation images; only those in memory are compared.
        images: (N, C, H, W), the test images.
    """
    return _seen(val, images, "validation images, by which an epoch or settings may have been chosen")


def calibrated_on(calibration: Tensor, images: Tensor) -> tuple[str, ...]:
    """A remark where test images are, pixel by pixel, also among the calibration images.

    Args:
        calibration: (N, C, H, W), the calibration images.
        images: (N, C, H, W), the test images.
    """
    known = Images(calibration, torch.zeros(len(calibration), dtype=torch.int64))
    return _seen(known, images, "calibration images, to which the cut is fitted")


def _seen(known: Images | Dataset | None, images: Tensor, what: str) -> tuple[str, ...]:
    """A remark where test images are among known ones."""
    again = _among(known, images)
    if not again:
        return ()
    return (
        f"{again} of the {len(images)} test images are pixel by pixel among the {what}: these accuracies are not "
        "those of new images",
    )


def tested_files(sets: Sets) -> tuple[str, ...]:
    """Remarks where files of test images are, byte by byte, also among those of training or validation images.

    Args:
        sets: the sets; only images that are not in memory are compared, and of the test images a part that is told.
    """
    files = []
    for known, what in (
        (sets.train, "images that the network was trained on"),
        (sets.val, "validation images"),
    ):
        if again := _files_among(known, sets.test):
            files.append(
                f"{again} test images are byte by byte among the {what}: these accuracies are not those "
                "of new images"
            )
    return tuple(files)


def validated_by_training(sets: Sets) -> tuple[str, ...]:
    """A remark where validation images are also among the training images; and one on two names for one class.

    Args:
        sets: the sets; images in memory are compared pixel by pixel, of others some files byte by byte.
    """
    again = ""
    if isinstance(sets.val, Images) and (count := _among(sets.train, sets.val.x)):
        again = f"{count} of the {len(sets.val.x)} validation images are pixel by pixel"
    elif count_of_files := _files_among(sets.train, sets.val):
        again = f"{count_of_files} validation images are byte by byte"
    heart = f"{again} among the training images: an epoch that is chosen by them may be one that knows them by heart"
    return (*_two_names(sets.classes), *((heart,) if again else ()))


def _two_names(classes: Sequence[str]) -> tuple[str, ...]:
    """A remark where names of classes differ in case, spaces, hyphens and underscores alone."""
    pairs = [f"{shown(a)} and {shown(b)}" for a, b in pairs_alike(classes)]
    if not pairs:
        return ()
    named = ", ".join(pairs[:_NAMED]) + (", …" if len(pairs) > _NAMED else "")
    return (f"names of classes are nearly equal ({named}): one class under two names would count as two",)


def _files_among(known: Images | Dataset | None, tested: Images | Dataset | None) -> str:
    """How many of the files of a set were found in another, in words; '' for no files, and for sets in memory."""
    if not (isinstance(known, Records) and isinstance(tested, Records)):
        return ""
    shared = shared_files(known, tested)
    return f"{shared.found} of {shared.compared} compared" if shared.found else ""


def comparable(known: Images | Dataset | None, images: Tensor) -> TypeGuard[Images]:
    """Whether images can be compared with known ones, pixel by pixel.

    Args:
        known: a set of images.
        images: (N, C, H, W).
    """
    return isinstance(known, Images) and known.x.shape[1:] == images.shape[1:]


def _among(known: Images | Dataset | None, images: Tensor) -> int:
    """How many images are among known ones; 0 where they cannot be compared."""
    if not comparable(known, images):
        return 0
    # The few images are converted, not the many known ones.
    if known.x.dtype == torch.uint8 and images.dtype != torch.uint8:
        stored = (images * 255).round().to(torch.uint8)
        images = stored if torch.equal(pixels(stored), images) else images
    hashes = {*image_hashes(known.x)}
    return sum(h in hashes for h in image_hashes(images))


def without_training(
    train: Images | Dataset | None, labels: Tensor, classes: Sequence[str]
) -> tuple[str, ...]:
    """A remark where test images are of classes that no training image is of.

    Args:
        train: the training images; nothing is said of a stream.
        labels: (N,) int64, of the test images.
        classes: the classes' names, by label.
    """
    if not isinstance(train, (Images, Records)):
        return ()
    known = {*(train.y if isinstance(train, Images) else train.labels).tolist()}
    tested = Counter(int(c) for c in labels.tolist() if c not in known)
    if not tested:
        return ()
    named = ", ".join(classes[c] if c < len(classes) else str(c) for c in sorted(tested)[:_NAMED])
    return (
        f"no training image was of {len(tested)} of the {len(classes)} classes "
        f"({named}{', …' if len(tested) > _NAMED else ''}), and {tested.total()} of the {len(labels)} test images "
        "are: they are counted, and can hardly be right",
    )


def without_images(labels: Tensor, classes: Sequence[str]) -> tuple[str, ...]:
    """A remark where no test image is of some of the classes.

    Args:
        labels: (N,) int64, of the test images.
        classes: the classes' names, by label; empty where unknown.
    """
    there = {*labels.tolist()}
    absent = [name for number, name in enumerate(classes) if number not in there]
    if not absent:
        return ()
    named = ", ".join(absent[:_NAMED]) + (", …" if len(absent) > _NAMED else "")
    return (
        f"no test image is of {len(absent)} of the {len(classes)} classes ({named}): nothing is said of them",
    )
