"""Remarks on test images: those that the network was trained on, and classes that none of them is of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from surgeon.data.images import Images, pixels
from surgeon.evaluation.engine.fingerprints import image_hashes

_NAMED = 5


def trained_on(train: Any, images: Tensor) -> tuple[str, ...]:
    """A remark where test images are, pixel by pixel, also among the training images.

    Args:
        train: the training images; only those in memory are compared.
        images: (N, C, H, W), the test images.
    """
    if not isinstance(train, Images) or train.x.shape[1:] != images.shape[1:]:
        return ()
    if train.x.dtype == torch.uint8:  # the few test images are converted, not the many training images
        stored = (images * 255).round().to(torch.uint8)
        images = stored if torch.equal(pixels(stored), images) else images
    known = {*image_hashes(train.x)}
    again = sum(h in known for h in image_hashes(images))
    if not again:
        return ()
    return (
        f"{again} of the {len(images)} test images are pixel by pixel among the images that the network was "
        "trained on: these accuracies are not those of new images",
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
