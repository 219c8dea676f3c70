"""The record of a converted checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from surgeon import html
from surgeon.effects import EFFECT_TEXT, Accuracy, Drift, Effect
from surgeon.execution import Choice, Searched
from surgeon.numerals import percent
from surgeon.pipeline.lineage import CONVERSION as CONVERSION
from surgeon.pipeline.origin import Lineage
from surgeon.reading import read_as


class Conversion(BaseModel):
    """The record of one converted checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoint: str
    sha256: str = Field(
        description="of the checkpoint file, or of a folder's weights; of own code, a hash of its source and of the "
        "weights that it makes"
    )
    config: str = Field(
        default="",
        description="sha256 of a folder's config.json; of own code, a hash of how it normalises; empty for a file",
    )
    settings: dict[str, Any] = Field(
        description="recipe, starts, images, seeds: what a second call must share"
    )
    effect: Effect
    folds: bool
    calibration: int = Field(
        description="images that starts and statistics were taken from, those held out not counted"
    )
    refitted: tuple[str, ...] = Field(description="layers whose weights were fitted to the images")
    choice: Choice | None = Field(default=None, description="of the start, on images held out")
    searches: dict[str, Searched] = Field(
        default_factory=dict, description="operation → how one of its settings was chosen on the images"
    )
    notes: tuple[str, ...] = Field(
        default=(),
        description="on the start, the calibration images, and what is not known of the test images",
    )
    drift: Drift | None = Field(
        description="of the logits, on test images where there are any, else on what there is"
    )
    accuracy: Accuracy | None = None
    lineage: Lineage = Field(
        default=(), description="what the network was calibrated on, and trained on before, the latest first"
    )
    layers: dict[str, float] = Field(
        default_factory=dict,
        description="layer → ‖after − before‖ / ‖before‖ of its output, in execution order",
    )
    seconds: float = Field(
        description=(
            "making the network, reading images, cutting, checking and measuring; not the start "
            "of Python, nor writing the folder"
        )
    )

    def _repr_html_(self) -> str:
        """The HTML shown in notebooks: what the cut cost, how far each layer moved, and the notes."""
        rows = [("function", EFFECT_TEXT[self.effect]), ("folds", "yes" if self.folds else "no")]
        if self.calibration:
            rows.append(
                ("calibrated on", f"{self.calibration} images; {len(self.refitted)} layers fitted to them")
            )
        if self.choice:
            rows.append(("start", self.choice.why))
        if self.drift:
            drift = self.drift
            rows += [
                ("same prediction", f"{percent(drift.agreement)} of {drift.images} {drift.source} images"),
                ("logit drift", f"{drift.relative:.3f}"),
            ]
        if self.accuracy:
            right, number = self.accuracy, self.accuracy.images
            before, after = percent(right.before / number), percent(right.after / number)
            rows.append(("accuracy", f"{before} before, {after} after ({number} test images)"))
        moved = [(name, f"{value:.3f}") for name, value in self.layers.items()]
        layers = html.table(moved, head=("layer, in execution order", "its output moved by")) if moved else ""
        return html.table(rows, caption=self.checkpoint) + layers + html.paragraphs(self.notes)


def read_conversion(folder: Path) -> Conversion | None:
    """Read the conversion in a folder.

    Args:
        folder: the folder.

    Returns:
        The conversion; None without one.

    Raises:
        ArtifactError: conversion.json is damaged.
    """
    path = folder / CONVERSION
    if not path.is_file():
        return None
    return read_as(path, Conversion)
