"""What a protocol measures of each row: a share of the test images, a time, or a number of its own."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from surgeon.quantities import Quantity
from surgeon.strict import Strict

CURVES = ("gaussian", "uniform", "patches")
TIMES = {"epoch": "s", "batch": "ms"}
"""Columns that are times, with their unit."""
ON_LAYERS = ("amplification", "deviation", "gradient-similarity")
"""Columns that are measured at a layer of the trained network, and not read off its evaluation."""
VALUES = ("distance", *ON_LAYERS)
"""Columns that are numbers of their own, neither shares of the images nor times."""
Of = Literal[
    "clean",
    "worst",
    "itself",
    "uncut",
    "attack",
    "gaussian",
    "uniform",
    "patches",
    "certified",
    "noise",
    "epoch",
    "batch",
    "distance",
    "amplification",
    "deviation",
    "gradient-similarity",
]
_FIRST = ("of", "attack", "norm", "eps", "level", "error")


class Column(Strict):
    """What is measured of each row: a share of the test images, a time, or a number of its own.

    Attributes:
        of: `clean`: without an attack. `worst`: under every attack of the main threat, those from the record of
            a surgery included. `itself`: the same without those, of the size `eps` if that is given. `uncut`:
            `worst` of the network before the surgery. `attack`: under one attack alone. `gaussian`, `uniform`,
            `patches`: a point of that curve. `certified`: certified by smoothing within an L2 radius. `noise`: right
            on the adversarial images once noise of σ = 0.1 is added to them. `epoch`: seconds that an epoch of
            training takes. `batch`: milliseconds of inference for 64 images. `distance`: the median over all images of
            the smallest distance at which `attack` turns them, in [0, 1] pixels; 0 for one that is wrong as it is.
            At `layer` of the trained network, in evaluation mode: `amplification`: the mean variance over the images of
            its output over that of its input, index by index. `deviation`: the standard deviation of its output over
            images, channels and space. `gradient-similarity`: the mean cosine between the gradients of the loss by its
            output, of images of two classes.
        attack: the attack's name, of `attack` and `distance`.
        source: the row whose network was attacked in this one's place, of `attack` (a transfer). The row itself has no
            such figure.
        norm: the norm, of `attack`, `itself` and `distance`; None for any, but that of a distance.
        eps: the size in [0, 1] pixels, of `attack` and `itself`; None for any. Under an attack for the smallest
            distance an image stands that is turned beyond it.
        level: the point on a curve: σ, the bound of the noise, patches per side, the certified radius in pixels.
        sigma: σ of the smoothing, of `certified`.
        at: where the noise is added, of `noise`.
        layer: the layer's name in the network, of `amplification`, `deviation` and `gradient-similarity`.
        classes: a class, and the classes whose images are compared with its own, of `gradient-similarity`; of several
            the mean.
        error: the paper prints errors, 100 less the accuracy.

    Examples:
        >>> Column(of="attack", attack="pgd-100", norm="l2", eps=1.0).unit, Column(of="epoch").unit
        ('%', 's')
    """

    of: Of
    attack: str | None = None
    source: str | None = None
    norm: str | None = None
    eps: Quantity | None = None
    level: float | None = None
    sigma: float | None = None
    at: Literal["nowhere", "input", "activations", "both"] | None = None
    error: bool = False
    layer: str | None = None
    classes: tuple[Annotated[int, Field(ge=0)], ...] | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Column:
        if (self.of in ("attack", "distance")) != (self.attack is not None):
            raise ValueError("attack=NAME belongs to of=attack and of=distance, which need it")
        if self.source is not None and self.of != "attack":
            raise ValueError("source=ROW belongs to of=attack")
        if (self.of in (*CURVES, "certified")) != (self.level is not None):
            raise ValueError(
                "level belongs to a point of a curve (gaussian, uniform, patches, certified), which needs it"
            )
        if (self.of == "certified") != (self.sigma is not None):
            raise ValueError("sigma, of the smoothing, belongs to of=certified, which needs it")
        if (self.of == "noise") != (self.at is not None):
            raise ValueError("at=PLACE belongs to of=noise, which needs it")
        sizes = (self.norm, self.eps) if self.of != "distance" else (self.eps,)
        if self.of not in ("attack", "itself") and any(size is not None for size in sizes):
            raise ValueError("norm and eps belong to of=attack and of=itself, norm to of=distance too")
        if self.of == "distance" and self.norm is None:
            raise ValueError("norm, in which it is measured, belongs to of=distance, which needs it")
        if (self.of in ON_LAYERS) != (self.layer is not None):
            raise ValueError(f"layer=NAME belongs to of={', of='.join(ON_LAYERS)}, which need it")
        if (self.of == "gradient-similarity") != (self.classes is not None and len(self.classes) > 1):
            raise ValueError("classes=[ONE, OTHER, …] belongs to of=gradient-similarity, which needs it")
        if self.error and self.unit != "%":
            raise ValueError(
                f"of={self.of} is {'a time' if self.of in TIMES else 'a number'}, which has no error"
            )
        return self

    @property
    def unit(self) -> str:
        """`%` of a share of the images; the unit of a time; "" of another number."""
        return TIMES.get(self.of, "" if self.of in VALUES else "%")

    @property
    def identity(self) -> dict[str, Any]:
        """What tells one column from another, for the hash of a run's settings.

        Fields after the first six are part of it only where they are set, so that a new field leaves the hash of runs
        that were made without it as it was.
        """
        return {k: v for k, v in self.model_dump(mode="json").items() if v is not None or k in _FIRST}
