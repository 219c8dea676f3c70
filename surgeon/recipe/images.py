"""Which images are used and how they are split, as data."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from surgeon.strict import Strict

Side = Annotated[int, Field(ge=1, le=65_536)]


class Data(Strict):
    """Which images of a source `surgeon train` and `surgeon run` use, and how they are split."""

    val_share: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="share of the training images, used if the source has no validation split",
    )
    test_share: float = Field(
        default=0.1, gt=0, lt=1, description="share of all images, used if the source has no test split"
    )
    stratified: bool = Field(default=True, description="split class by class")
    classes: tuple[str, ...] | None = Field(default=None, description="names of the classes to use, in order")
    per_class: int | None = Field(default=None, ge=1, description="number of training images per class")
    faults: Literal["refuse", "skip"] = Field(
        default="refuse", description="images that cannot be read, have no label or a wrong label"
    )
    grayscale: bool = False
    size: tuple[Side, Side] | None = Field(
        default=None, description="(height, width); by default the model's, else the images'"
    )
    in_memory: Literal["auto", "always", "never"] = Field(
        default="auto", description="auto: below 2 GiB of decoded bytes"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Data:
        if self.val_share + self.test_share >= 1:
            raise ValueError(
                f"val_share={self.val_share:g} and test_share={self.test_share:g} leave no images for training"
            )
        if self.classes is not None and (len(set(self.classes)) < len(self.classes) or not self.classes):
            raise ValueError("classes is empty or names a class twice")
        return self
