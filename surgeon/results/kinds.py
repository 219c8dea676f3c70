"""The kinds of attacks, an entry each: norms, settings, and what each needs. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Norm = Literal["linf", "l2", "l1"]
NORMS: tuple[Norm, ...] = ("linf", "l2", "l1")
MARGIN = "own-pgd with the loss margin"


class Needs(NamedTuple):
    """Requirements of an attack.

    classes: The least number of the model's classes. side: The least side in pixels of square images; None if
    any shape will do. gradients: Whether the model needs gradients with respect to the images. instead: An
    attack that requires less. package: The library that makes the attack; "" for surgeon itself.
    """

    classes: int = 2
    side: int | None = None
    gradients: bool = True
    instead: str = ""
    package: str = ""


@dataclass(frozen=True)
class Kind:
    """A kind of attack.

    Args:
        norms: Norms that it works in.
        settings: Settings of `Attack` that it reads beside norm, ε, steps, loss and seed.
        bounded: Whether it takes an ε. The others look for the smallest distance.
        gradients: Whether it follows gradients.
        draws: Whether its result depends on the seed for a deterministic model.
        classes: The least number of the model's classes.
        side: Norm → the least side of square images.
        instead: What requires less, where classes or sides are too few.
        package: Library by norm; a norm that is not named is made by surgeon itself.
    """

    norms: tuple[Norm, ...] = ("linf",)
    settings: tuple[str, ...] = ()
    bounded: bool = True
    gradients: bool = True
    draws: bool = True
    classes: int = 2
    side: tuple[tuple[Norm, int], ...] = ()
    instead: str = ""
    package: tuple[tuple[Norm, str], ...] = ()


_PLANE: tuple[Norm, ...] = ("linf", "l2")
_TORCHATTACKS: tuple[tuple[Norm, str], ...] = (("linf", "torchattacks"), ("l2", "torchattacks"))
ADV_LIB: tuple[tuple[Norm, str], ...] = (("linf", "adv-lib"), ("l2", "adv-lib"), ("l1", "adv-lib"))
"""adv-lib in every norm."""
_STEPPING = ("step_size", "random_start")

KINDS: dict[str, Kind] = {
    "none": Kind(NORMS, gradients=False, draws=False),
    "fgsm": Kind(draws=False, package=_TORCHATTACKS),
    "pgd": Kind(_PLANE, _STEPPING, package=_TORCHATTACKS),
    "own-pgd": Kind(NORMS, (*_STEPPING, "restarts", "eot", "early_stop")),
    "apgd": Kind(
        NORMS, ("restarts", "eot", "early_stop"), instead=MARGIN, package=(*_TORCHATTACKS, ("l1", "adv-lib"))
    ),
    # The targeted DLR divides by the distance to the fourth logit.
    "apgdt": Kind(
        NORMS,
        ("restarts", "targets", "eot", "order"),
        classes=4,
        instead=MARGIN,
        package=(*_TORCHATTACKS, ("l1", "adv-lib")),
    ),
    "fab": Kind(NORMS, ("restarts", "targets"), package=(*_TORCHATTACKS, ("l1", "adv-lib"))),
    "fab-untargeted": Kind(NORMS, ("restarts",), package=(*_TORCHATTACKS, ("l1", "adv-lib"))),
    # Its windows are square in L2.
    "square": Kind(
        _PLANE,
        ("restarts",),
        gradients=False,
        side=(("l2", 8),),
        instead="square in linf",
        package=_TORCHATTACKS,
    ),
    "mi-fgsm": Kind(settings=_STEPPING, draws=False, package=_TORCHATTACKS),
    "cw": Kind(("l2",), bounded=False, draws=False),
    "ddn": Kind(("l2",), bounded=False, draws=False, package=ADV_LIB),
    "fmn": Kind(NORMS, bounded=False, draws=False, package=ADV_LIB),
    # It divides by the distance to the third logit.
    "alma": Kind(("l2", "l1"), bounded=False, draws=False, classes=3, instead="fmn", package=ADV_LIB),
    "hopskipjump": Kind(_PLANE, bounded=False, gradients=False),
    "random-sign": Kind(gradients=False),
    "uniform": Kind(gradients=False),
}
"""Kind → what it is. One that is not bounded finds a distance for each image, not a verdict at one ε."""


def with_setting(setting: str) -> tuple[str, ...]:
    """Return the kinds that read a setting.

    Args:
        setting: Name of a field of `Attack`.
    """
    return tuple(name for name, kind in KINDS.items() if setting in kind.settings)


def needs_of(kind: str, norm: Norm, loss: str) -> Needs:
    """Return what an attack needs of the model, the images and the installation.

    Args:
        kind: Its kind.
        norm: Its norm.
        loss: Its loss.
    """
    of = KINDS[kind]
    # DLR divides by the distance to the third logit.
    third = loss == "dlr" and kind in ("apgd", "own-pgd")
    classes = max(of.classes, 3 if third else 2)
    side = dict(of.side).get(norm)
    instead = MARGIN if third else of.instead
    return Needs(
        classes,
        side,
        of.gradients,
        instead if classes > 2 or side is not None else "",
        dict(of.package).get(norm, ""),
    )
