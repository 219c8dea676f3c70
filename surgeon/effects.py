"""What a cut does to the function that a network computed: what it aims at, and what was measured. No torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from surgeon.strict import Record

Effect = Literal["exact", "folds", "approximated", "changed", "destroyed"]
"""What a cut does to the function that the network computed in evaluation mode.

exact         nothing on the inference path changes
folds         layer and convolution together equal the stock convolution, up to rounding
approximated  before the cut: what the start aims at. After it: measured on images, at most 3 of 100 predictions,
              or points of accuracy where labels are known, are lost
changed       after the cut alone: more is lost, or nothing was measured on images
destroyed     unrelated to the old function; training is needed. After the cut: more than half is lost
"""
WORST: tuple[Effect, ...] = ("exact", "folds", "approximated", "changed", "destroyed")
"""From the least to the largest change."""
EFFECT_TEXT: dict[Effect, str] = {
    "exact": "kept exactly",
    "folds": "kept by folding",
    "approximated": "approximated",
    "changed": "changed",
    "destroyed": "destroyed (train before use)",
}
AIMED = "to be approximated"
"""In the place of `approximated` as long as nothing was cut."""
MOST_LOST = 0.03
"""The largest share of the images that `approximated` may lose."""
FEWEST = 32
"""On fewer images nothing is called `approximated`."""
LEAST_KEPT = 0.5
"""The smallest share that `changed` keeps."""


class Drift(Record):
    """How far the logits moved from the stock to the rewritten network, in evaluation mode.

    Attributes:
        relative: ‖after − before‖ / ‖before‖ over all logits.
        agreement: Share of images whose largest logit is the same.
        images: Number of images it was measured on.
        source: What the images were: test images, calibration images, or seeded noise.

    Examples:
        >>> Drift(relative=0.1, agreement=0.98, images=64, source="calibration").agreement
        0.98
    """

    relative: float = Field(description="‖after − before‖ / ‖before‖ over all logits")
    agreement: float = Field(description="share of images whose largest logit is the same")
    images: int
    source: Literal["test", "calibration", "noise"] = Field(description="real images, or seeded noise")


class Accuracy(Record):
    """How many labelled images were right before the cut, after it, and both times.

    Attributes:
        images: Number of images.
        before: Right in the network before the cut.
        after: Right in the rewritten one.
        both: Right in both.

    Examples:
        >>> result = Accuracy(images=360, before=337, after=319, both=315)
        >>> result.before - result.after
        18
    """

    images: int
    before: int
    after: int
    both: int


def measured_effect(planned: Effect, drift: Drift | None, accuracy: Accuracy | None = None) -> Effect:
    """Return the effect that a cut was measured to have.

    What is kept by construction stays as planned. Otherwise labelled images decide where there are some, else equal
    predictions on images; seeded noise says nothing of images.

    Args:
        planned: What the plan says.
        drift: The drift of the logits, or None if it was not measured.
        accuracy: Accuracy before and after, or None without labels.

    Returns:
        `approximated` if at most 3 of 100 images are lost, of at least 32; `destroyed` if more than half are; else
        `changed`. Without any measurement on images `changed`, and `destroyed` where that was planned.

    Examples:
        >>> measured_effect("approximated", None, Accuracy(images=360, before=337, after=319, both=315))
        'changed'
        >>> measured_effect("approximated", Drift(relative=0.1, agreement=0.98, images=64, source="calibration"))
        'approximated'
        >>> measured_effect("approximated", None), measured_effect("exact", None)
        ('changed', 'exact')
    """
    if planned in ("exact", "folds"):
        return planned
    if accuracy is not None and accuracy.before:
        images, lost = accuracy.images, (accuracy.before - accuracy.after) / accuracy.images
        kept = accuracy.after / accuracy.before
    elif drift is not None and drift.source != "noise":
        images, lost, kept = drift.images, 1 - drift.agreement, drift.agreement
    else:
        return "destroyed" if planned == "destroyed" else "changed"
    if lost <= MOST_LOST + 1e-9 and images >= FEWEST:
        return "approximated"
    return "changed" if kept >= LEAST_KEPT else "destroyed"


def worst(effects: Iterable[Effect]) -> Effect:
    """Return the largest change of several.

    Args:
        effects: The effects.

    Returns:
        The last of them in the order of `WORST`; `exact` if there are no effects.

    Examples:
        >>> worst(["exact", "approximated", "folds"]), worst([])
        ('approximated', 'exact')
    """
    return max(effects, key=WORST.index, default="exact")
