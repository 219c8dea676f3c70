"""An attack as data: every setting is explicit, not left to a library's default. No torch here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from surgeon.errors import nearest
from surgeon.quantities import Size, WithinPixels
from surgeon.results.kinds import KINDS, Needs, Norm, needs_of, with_setting

UNIFORM = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
"""u of the noise U(0, u) by which the weight-map paper tests."""

UNION = "union of "
BY_DISTANCE = "by distance"
"""The part of a threat that smallest distances answer: what turned an image within ε, by the distance found."""
"""Begins the name of a union of norms."""
_OF = ("step_size", "restarts", "targets", "eot", "random_start", "early_stop", "order")
"""Settings that only some kinds of attacks have."""


def _known(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"no attack is of the kind {kind!r}; {nearest(kind, KINDS, most=len(KINDS))}")
    return kind


class Threat(NamedTuple):
    """What attacks have in common for the worst case over them, image by image, to be meaningful.

    norm: "linf", "l2" or "l1"; of a union of norms its sizes in words, and eps is None.
    """

    group: str
    norm: str
    eps: float | None
    seed: int

    @property
    def sizes(self) -> tuple[str, ...]:
        """Its norms and ε as text, one for each norm of a union."""
        if self.norm.startswith(UNION):
            return tuple(self.norm.removeprefix(UNION).split(", "))
        return (size_text(self.norm, self.eps),)

    def of_size(self, other: Threat) -> bool:
        """Return whether another threat has this norm and ε, or those of a part of this union.

        Args:
            other: The other threat.
        """
        if self.norm.startswith(UNION):
            return size_text(other.norm, other.eps) in self.sizes
        return (self.norm, self.eps) == (other.norm, other.eps)

    def covers(self, other: Threat) -> bool:
        """Return whether another threat is this one, or a part of this union.

        Args:
            other: The other threat.
        """
        if self.group == BY_DISTANCE:
            return other.eps is None and (self.norm, self.seed) == (other.norm, other.seed)
        return (self.group, self.seed) == (other.group, other.seed) and self.of_size(other)

    def within(self, distances: Mapping[str, Any]) -> bool:
        """Return whether a perturbation that was found is within ε, where smallest distances answer the threat.

        Args:
            distances: Norm → distance, such as a row of a table of verdicts.
        """
        return self.group != BY_DISTANCE or self.eps is None or distances[self.norm] <= self.eps


class Attack(WithinPixels):
    """One attack on every image that has not been turned yet.

    eps and step_size are in [0, 1] pixels, in `norm`. An unbounded kind looks for the smallest distance, with eps None.

    | kind | norms | eps | needs |
    |---|---|---|---|
    | none | linf, l2, l1 | yes | – |
    | fgsm | linf | yes | gradients |
    | pgd | linf, l2 | yes | gradients |
    | own-pgd | linf, l2, l1 | yes | gradients |
    | apgd | linf, l2, l1 | yes | gradients |
    | apgdt | linf, l2, l1 | yes | gradients; 4 classes |
    | fab | linf, l2, l1 | yes | gradients |
    | fab-untargeted | linf, l2, l1 | yes | gradients |
    | square | linf, l2 | yes | l2: square images of 8 pixels a side or more |
    | mi-fgsm | linf | yes | gradients |
    | cw | l2 | None | gradients |
    | ddn | l2 | None | gradients |
    | fmn | linf, l2, l1 | None | gradients |
    | alma | l2, l1 | None | gradients; 3 classes |
    | hopskipjump | linf, l2 | None | – |
    | random-sign | linf | yes | – |
    | uniform | linf | yes | – |

    Examples:
        >>> from surgeon.evaluation import Attack
        >>> attack = Attack(name="pgd-10", kind="own-pgd", norm="linf", eps=8 / 255, steps=10)
        >>> attack.label
        'pgd-10 linf 8/255'
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(
        description="what tables call it, but 'none'; attacks of one name differ in norm, eps or seed"
    )
    kind: Annotated[str, AfterValidator(_known)]
    norm: Norm = "linf"
    eps: Size | None = Field(
        default=None,
        ge=0,
        description="None: the smallest distance is looked for, as Carlini and Wagner's does",
    )
    steps: int = Field(default=1, ge=1, description="iterations; queries of square and hopskipjump")
    step_size: Size | None = Field(default=None, gt=0, description="by default 2.5 eps / steps")
    restarts: int = Field(default=1, ge=1)
    targets: int | None = Field(default=None, ge=1, description="classes that are aimed at, of apgdt and fab")
    order: Literal["likely", "near"] = Field(
        default="likely",
        description="of apgdt: aim first at the likeliest wrong classes, or the nearest by slope",
    )
    loss: Literal["ce", "dlr", "margin"] = "ce"
    eot: int = Field(default=1, ge=1, description="draws of a random model that a gradient is averaged over")
    random_start: bool = True
    early_stop: bool = Field(
        default=True, description="keep the first misclassified iterate, else the largest loss"
    )
    seed: int = Field(default=0, ge=0)  # a suite of several seeds counts on from the highest
    cascade: bool = Field(
        default=True, description="only images that stood the attacks before it, of its norm, eps and seed"
    )
    source: str | None = Field(
        default=None, description="the model that is attacked in place of this one: transfer"
    )
    group: str = Field(
        default="", description="the part of a suite that it belongs to; worst cases are taken within one"
    )
    union: str = Field(
        default="", description="the union of norms that it is a part of, as `union_text` writes it"
    )

    @model_validator(mode="after")
    def _bounded(self) -> Attack:
        of = KINDS[self.kind]
        if self.name == "none":
            raise ValueError("name='none' is what verdicts without an attack are called; choose another name")
        if (self.eps is None) == of.bounded:
            raise ValueError(
                f"{self.name}: "
                + ("eps is missing" if of.bounded else f"{self.kind} is unbounded, eps must be None")
            )
        # A paper's table may have a column of size 0; there it is a part of that suite.
        if self.eps == 0 and self.kind != "none" and not self.group:
            raise ValueError(
                f"{self.name}: eps=0 moves no pixel, and all that stood would be called robust: give a size such as "
                "8/255 (8 // 255 is 0)"
            )
        if self.norm not in of.norms:
            raise ValueError(f"{self.name}: {self.kind} is an attack in {_or(of.norms)}, not {self.norm}")
        if self.kind == "apgd" and self.loss == "margin":
            raise ValueError(f"{self.name}: apgd has the losses ce and dlr; own-pgd has margin")
        if self.order != "likely" and self.norm == "l1":
            raise ValueError(
                f"{self.name}: {self.kind} aims at the likeliest classes in l1; order must be likely"
            )
        for setting in _OF:
            if (
                setting not in of.settings
                and getattr(self, setting) != type(self).model_fields[setting].default
            ):
                kinds = ", ".join(with_setting(setting))
                raise ValueError(f"{self.name}: {self.kind} has no {setting}; {kinds} have")
        return self

    @property
    def threat(self) -> Threat:
        """The threat that the attack belongs to."""
        return Threat(self.group, self.norm, self.eps, self.seed)

    @property
    def needs(self) -> Needs:
        """The attack's requirements of the model and the images."""
        return needs_of(self.kind, self.norm, self.loss)

    @property
    def draws(self) -> bool:
        """Whether the result depends on the seed for a deterministic model."""
        if self.kind in ("pgd", "own-pgd"):
            return self.random_start
        return KINDS[self.kind].draws

    @property
    def label(self) -> str:
        """Name, norm, ε and source as a short text: `apgd-ce linf 8/255`."""
        source = f" from {self.source}" if self.source else ""
        return f"{self.name} {size_text(self.norm, self.eps)}{source}"


def main_threat(attacks: Sequence[Attack]) -> Threat | None:
    """Return the threat of the headline: the first of the part `standard`, or else the first.

    Attacks that look for the smallest distance come last: nobody stands without a bound. Of attacks on a union of
    norms it is the union.

    Args:
        attacks: The attacks of an evaluation in their order.

    Returns:
        The threat; None without attacks.
    """
    ranked = sorted(attacks, key=lambda a: (a.group != "standard", a.eps is None))
    if not ranked:
        return None
    first = ranked[0].threat
    return first._replace(norm=ranked[0].union, eps=None) if ranked[0].union else first


def union_text(sizes: Iterable[tuple[str, float]]) -> str:
    """Name a union of norms by its sizes.

    Args:
        sizes: (norm, ε) of each norm.

    Examples:
        >>> from surgeon.results.threat import union_text
        >>> union_text([("linf", 8 / 255), ("l2", 0.5)])
        'union of linf 8/255, l2 0.5'
    """
    return UNION + ", ".join(size_text(norm, eps) for norm, eps in sizes)


def size_text(norm: str, eps: float | None) -> str:
    """Format norm and ε: `linf 8/255` if eps is a multiple of 1/255 in Linf, else `l2 0.5`.

    Args:
        norm: "linf", "l2", "l1", or the name of a union.
        eps: Size in [0, 1] pixels; None for an unbounded attack.

    Returns:
        The text; `unbounded` for None.
    """
    if eps is None:
        return norm if norm.startswith(UNION) else "unbounded"
    levels = eps * 255
    if eps and norm == "linf" and abs(levels - round(levels)) < 1e-6:
        return f"{norm} {levels:g}/255"
    return f"{norm} {eps:g}"


def _or(words: Sequence[str]) -> str:
    return " or ".join(words)
