"""The record of a converted checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from surgeon.effects import Accuracy, Drift, Effect
from surgeon.execution import Choice, Searched
from surgeon.pipeline.lineage import CONVERSION as CONVERSION
from surgeon.pipeline.origin import Lineage
from surgeon.reading import read_as


class Conversion(BaseModel):
    """The record of one converted checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoint: str
    sha256: str = Field(
        description="of the checkpoint file, or of a folder's weights; empty for a repository"
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
