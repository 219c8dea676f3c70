"""Accuracies on published shifted sets, and the figures that follow from them. No torch here.

Sources: Hendrycks & Dietterich 2019 (arXiv 1903.12261) for corruptions; Geirhos et al. 2019 (arXiv 1811.12231)
for cue conflicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from surgeon.numerals import percent
from surgeon.results.statistics import Share, wilson

SEVERITIES = (1, 2, 3, 4, 5)
ALEXNET = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}
"""Corruption → AlexNet's error on ImageNet-C, mean over severities, as the authors of ImageNet-C publish it
(github.com/hendrycks/robustness; also in the code of AugMix). These fifteen count in means."""
ALEXNET_CLEAN = 0.435
"""AlexNet's error on ImageNet, in Table 1 of the paper."""
CORRUPTIONS = tuple(ALEXNET)
EXTRA = ("gaussian_blur", "saturate", "spatter", "speckle_noise")
"""Further corruptions that are distributed beside them, and count in no mean."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ShiftRow(_Frozen):
    """Accuracy on one part of a shifted set: a corruption at a severity, or the whole set."""

    part: str
    severity: int | None = None
    share: Share


class CueConflict(_Frozen):
    """Decisions on images whose shape is of one class and whose texture is of another."""

    shape: int = Field(description="images decided by their shape")
    texture: int = Field(description="images decided by their texture")
    neither: int = Field(description="images decided as a third class")
    left_out: int = Field(description="images whose shape and texture are of one class")
    share: Share = Field(description="shape decisions of shape and texture decisions")


class Shift(_Frozen):
    """What was measured on one shifted set.

    Examples:
        >>> from surgeon.results.shifted import Shift, ShiftRow
        >>> from surgeon.results.statistics import wilson
        >>> row = ShiftRow(part="ImageNet-A", share=wilson(3, 200))
        >>> fields = dict(source="sets/imagenet-a", contents="", images=200, whole=False)
        >>> shift = Shift(name="ImageNet-A", kind="imagenet-subset", rows=(row,), **fields)
        >>> shift.error, shift.relative_mce(0.24)
        (0.985, None)
    """

    name: str
    kind: Literal["cifar-c", "imagenet-c", "imagenet", "imagenet-subset", "cue-conflict"]
    source: str
    contents: str = Field(description="hash of labels, names and sizes")
    images: int = Field(description="in each part")
    whole: bool = Field(description="as many images as were published")
    rows: tuple[ShiftRow, ...] = ()
    cues: CueConflict | None = None
    notes: tuple[str, ...] = ()

    @property
    def error(self) -> float | None:
        """Mean error, over the fifteen corruptions at five severities; None where one of them lacks."""
        if self.kind not in ("cifar-c", "imagenet-c"):
            return 1 - self.rows[0].share.value if self.rows else None
        return mean_error(self.rows)

    @property
    def mce(self) -> float | None:
        """Mean corruption error against AlexNet's, of ImageNet-C alone; None where a corruption lacks."""
        return mean_corruption_error(self.rows) if self.kind == "imagenet-c" else None

    def relative_mce(self, clean_error: float) -> float | None:
        """Relative mean corruption error, of ImageNet-C alone.

        Args:
            clean_error: The network's error on ImageNet's own validation images.

        Returns:
            The error relative to AlexNet's, 1 for equal; None for another set.
        """
        return relative_corruption_error(self.rows, clean_error) if self.kind == "imagenet-c" else None


def shift_words(shift: Shift, clean_error: float | None = None) -> list[str]:
    """Write the figures of a shifted set, its name first.

    Args:
        shift: What was measured.
        clean_error: The network's error on ImageNet's validation images, where that is known.

    Returns:
        Its figures, each a text.
    """
    words = [f"{shift.name}, {shift.images:,} images{' in each part' if len(shift.rows) > 1 else ''}"]
    if shift.cues is not None:
        c = shift.cues
        words.append(
            f"shape share {percent(c.share.value)} [{percent(c.share.low)}, {percent(c.share.high)}]: {c.shape} by "
            f"shape, {c.texture} by texture, {c.neither} as a third class, {c.left_out} without a conflict left out"
        )
        return words
    if shift.error is not None:
        mean = "mean error over 15 corruptions and 5 severities" if len(shift.rows) > 1 else "error"
        words.append(f"{mean} {percent(shift.error)}")
    if shift.kind == "imagenet-subset":
        words.append("among its 200 classes")
    if shift.mce is not None:
        words.append(f"mCE {percent(shift.mce)} of AlexNet's")
        if clean_error is not None:
            words.append(f"relative mCE {percent(shift.relative_mce(clean_error) or 0.0)}")
    return words


def errors_by_corruption(rows: Sequence[ShiftRow]) -> dict[str, float]:
    """Compute the error on each corruption, its mean over the five severities.

    Args:
        rows: Accuracies; corruptions without all five severities are left out.

    Returns:
        Corruption → error in [0, 1].
    """
    by_kind: dict[str, dict[int | None, float]] = {}
    for row in rows:
        by_kind.setdefault(row.part, {})[row.severity] = 1 - row.share.value
    return {kind: fmean(each.values()) for kind, each in by_kind.items() if {*each} == {*SEVERITIES}}


def mean_error(rows: Sequence[ShiftRow]) -> float | None:
    """Compute the mean error over fifteen corruptions and five severities.

    Args:
        rows: Accuracies.

    Returns:
        The mean in [0, 1]; None where one of the 75 lacks.
    """
    errors = errors_by_corruption(rows)
    return fmean(errors[k] for k in CORRUPTIONS) if {*CORRUPTIONS} <= {*errors} else None


def mean_corruption_error(rows: Sequence[ShiftRow]) -> float | None:
    """Compute the mean corruption error (mCE), section 4 of the paper.

    A corruption's error, summed over severities, is divided by AlexNet's, and the fifteen are averaged.

    Args:
        rows: Accuracies on ImageNet-C.

    Returns:
        The mean, 1 for AlexNet; None where one of the 75 lacks.
    """
    errors = errors_by_corruption(rows)
    if not {*CORRUPTIONS} <= {*errors}:
        return None
    return fmean(errors[k] / ALEXNET[k] for k in CORRUPTIONS)


def relative_corruption_error(rows: Sequence[ShiftRow], clean_error: float) -> float | None:
    """Compute the relative mean corruption error: what corruptions add to the clean error, against AlexNet.

    Args:
        rows: Accuracies on ImageNet-C.
        clean_error: The network's error on clean images, in [0, 1].

    Returns:
        The mean, 1 for AlexNet; None where one of the 75 lacks.
    """
    errors = errors_by_corruption(rows)
    if not {*CORRUPTIONS} <= {*errors}:
        return None
    return fmean((errors[k] - clean_error) / (ALEXNET[k] - ALEXNET_CLEAN) for k in CORRUPTIONS)


def counted_cues(said: Sequence[int], shapes: Sequence[int], textures: Sequence[int]) -> CueConflict:
    """Count the decisions on cue conflicts.

    Args:
        said: The class that each image is said to be of.
        shapes: The class of its shape.
        textures: The class of its texture; images where both are one class are left out.

    Returns:
        The counts; the share is of shape decisions among shape and texture decisions.
    """
    conflicts = [(s, a, b) for s, a, b in zip(said, shapes, textures, strict=True) if a != b]
    shape, texture = sum(s == a for s, a, _ in conflicts), sum(s == b for s, _, b in conflicts)
    return CueConflict(
        shape=shape,
        texture=texture,
        neither=len(conflicts) - shape - texture,
        left_out=len(said) - len(conflicts),
        share=wilson(shape, shape + texture),
    )
