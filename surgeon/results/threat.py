"""An attack as data: every setting is explicit, none is left to a library's default. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from pydantic import ConfigDict, Field, model_validator

from surgeon.quantities import Quantity, WithinPixels

Norm = Literal["linf", "l2"]
Kind = Literal[
    "none",
    "fgsm",
    "pgd",
    "own-pgd",
    "apgd",
    "apgdt",
    "fab",
    "square",
    "mi-fgsm",
    "cw",
    "random-sign",
    "uniform",
]

UNIFORM = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
"""u of the noise U(0, u) by which the weight-map paper tests."""

_OF: dict[str, tuple[Kind, ...]] = {
    "step_size": ("pgd", "own-pgd", "mi-fgsm"),
    "restarts": ("own-pgd", "apgd", "apgdt", "fab", "square"),
    "targets": ("apgdt", "fab"),
    "eot": ("own-pgd", "apgd", "apgdt"),
    "random_start": ("pgd", "own-pgd", "mi-fgsm"),
    "early_stop": ("own-pgd", "apgd"),
}
"""Settings that only some kinds of attacks have."""


class Threat(NamedTuple):
    """What attacks have in common for the worst case over them, image by image, to be meaningful."""

    group: str
    norm: Norm
    eps: float | None
    seed: int


class Needs(NamedTuple):
    """Requirements of an attack.

    classes: The least number of the model's classes. side: The least side in pixels of square images; None if
    any shape will do. gradients: Whether the model needs gradients with respect to the images. instead: An
    attack that requires less.
    """

    classes: int = 2
    side: int | None = None
    gradients: bool = True
    instead: str = ""


_WITHOUT_GRADIENTS = ("none", "square", "random-sign", "uniform")
_MARGIN = "own-pgd with the loss margin"


class Attack(WithinPixels):
    """One attack on every image that has not been turned yet.

    eps and step_size are in [0, 1] pixels, in `norm`.

    Examples:
        >>> from surgeon.evaluation import Attack
        >>> attack = Attack(name="pgd-10", kind="own-pgd", norm="linf", eps=8 / 255, steps=10)
        >>> attack.label
        'pgd-10 linf 8/255'
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(description="what tables call it; attacks of one name differ in norm, eps or seed")
    kind: Kind
    norm: Norm = "linf"
    eps: Quantity | None = Field(
        default=None, ge=0, description="None: unbounded, such as Carlini and Wagner's"
    )
    steps: int = Field(default=1, ge=1, description="iterations; queries of square")
    step_size: Quantity | None = Field(default=None, gt=0, description="by default 2.5 eps / steps")
    restarts: int = Field(default=1, ge=1)
    targets: int | None = Field(default=None, ge=1, description="classes that are aimed at, of apgdt and fab")
    loss: Literal["ce", "dlr", "margin"] = "ce"
    eot: int = Field(default=1, ge=1, description="draws of a random model that a gradient is averaged over")
    random_start: bool = True
    early_stop: bool = Field(
        default=True, description="keep the first misclassified iterate, else the largest loss"
    )
    seed: int = 0
    cascade: bool = Field(
        default=True, description="only images that stood the attacks before it, of its norm, eps and seed"
    )
    source: str | None = Field(
        default=None, description="the model that is attacked in place of this one: transfer"
    )
    group: str = Field(
        default="", description="the part of a suite that it belongs to; worst cases are taken within one"
    )

    @model_validator(mode="after")
    def _bounded(self) -> Attack:
        if (self.eps is None) != (self.kind == "cw"):
            raise ValueError(
                f"{self.name}: {'cw is unbounded, eps must be None' if self.eps is not None else 'eps is missing'}"
            )
        if self.kind in ("fgsm", "mi-fgsm", "random-sign", "uniform") and self.norm != "linf":
            raise ValueError(f"{self.name}: {self.kind} is an attack in linf, not {self.norm}")
        if self.kind == "apgd" and self.loss == "margin":
            raise ValueError(f"{self.name}: apgd has the losses ce and dlr; own-pgd has margin")
        for setting, kinds in _OF.items():
            if self.kind not in kinds and getattr(self, setting) != type(self).model_fields[setting].default:
                raise ValueError(f"{self.name}: {self.kind} has no {setting}; {', '.join(kinds)} have")
        return self

    @property
    def threat(self) -> Threat:
        """The threat that the attack belongs to."""
        return Threat(self.group, self.norm, self.eps, self.seed)

    @property
    def needs(self) -> Needs:
        """The attack's requirements of the model and the images."""
        gradients = self.kind not in _WITHOUT_GRADIENTS
        if self.kind == "apgdt":  # the targeted DLR divides by the distance to the fourth logit
            return Needs(4, None, gradients, _MARGIN)
        if self.loss == "dlr" and self.kind in (
            "apgd",
            "own-pgd",
        ):  # DLR divides by the distance to the third
            return Needs(3, None, gradients, _MARGIN)
        if self.kind == "square" and self.norm == "l2":  # its windows are square
            return Needs(2, 8, gradients, "square in linf")
        return Needs(gradients=gradients)

    @property
    def draws(self) -> bool:
        """Whether the result depends on the seed for a deterministic model."""
        if self.kind in ("none", "fgsm", "mi-fgsm", "cw"):
            return False
        return self.kind not in ("pgd", "own-pgd") or self.random_start

    @property
    def label(self) -> str:
        """Name, norm, ε and source as a short text: `apgd-ce linf 8/255`."""
        source = f" from {self.source}" if self.source else ""
        return f"{self.name} {size_text(self.norm, self.eps)}{source}"


def main_threat(attacks: Sequence[Attack]) -> Threat | None:
    """Return the threat of the headline: the first of the part `standard`, or else the first.

    Args:
        attacks: The attacks of an evaluation in their order.

    Returns:
        The threat; None without attacks.
    """
    return next((a.threat for a in attacks if a.group == "standard"), attacks[0].threat if attacks else None)


def size_text(norm: str, eps: float | None) -> str:
    """Format norm and ε: `linf 8/255` if eps is a multiple of 1/255 in Linf, else `l2 0.5`.

    Args:
        norm: "linf" or "l2".
        eps: Size in [0, 1] pixels; None for an unbounded attack.

    Returns:
        The text; `unbounded` for None.
    """
    if eps is None:
        return "unbounded"
    levels = eps * 255
    if eps and norm == "linf" and abs(levels - round(levels)) < 1e-6:
        return f"{norm} {levels:g}/255"
    return f"{norm} {eps:g}"
