"""Attacks by name, an entry each: what `attacks` of the settings and the suites ask for. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from surgeon.errors import nearest
from surgeon.results.kinds import KINDS, Kind, Norm, needs_of
from surgeon.results.threat import Attack

STEPS = 20
"""Iterations of an attack that has no number of its own."""


@dataclass(frozen=True)
class Named:
    """An attack that can be asked for by name.

    Args:
        kind: Its kind (`surgeon.results.kinds`).
        loss: Its loss.
        steps: Its iterations or queries; None for one pass, which no setting makes longer.
        targets: Classes that are aimed at, at most one less than the model has.
        order: Which classes it aims at first; in L1 the likeliest.
        beside: (norm, kind) where another kind does the same in a norm that `kind` does not work in.
    """

    kind: str
    loss: Literal["ce", "dlr", "margin"] = "ce"
    steps: int | None = STEPS
    targets: int | None = None
    order: Literal["likely", "near"] = "likely"
    beside: tuple[tuple[Norm, str], ...] = ()

    @property
    def of(self) -> Kind:
        """The kind."""
        return KINDS[self.kind]

    @property
    def norms(self) -> tuple[Norm, ...]:
        """Norms that it works in."""
        return (*self.of.norms, *(norm for norm, _ in self.beside if norm not in self.of.norms))

    def kind_in(self, norm: Norm) -> str:
        """Return the kind in a norm.

        Args:
            norm: The norm.
        """
        return dict(self.beside).get(norm, self.kind)


NAMED: dict[str, Named] = {
    # In L2 and L1 the step is along the gradient; its sign is steepest in Linf only.
    "fgsm": Named("fgsm", steps=None, beside=(("l2", "own-pgd"), ("l1", "own-pgd"))),
    "pgd": Named("pgd", beside=(("l1", "own-pgd"),)),
    "own-pgd": Named("own-pgd"),
    "pgd-margin": Named("own-pgd", "margin"),
    "mi-fgsm": Named("mi-fgsm", steps=10),
    "apgd-ce": Named("apgd", steps=100),
    "apgd-dlr": Named("apgd", "dlr", steps=100),
    "apgd-t": Named("apgdt", "dlr", steps=100, targets=9),
    "apgd-t-near": Named("apgdt", "dlr", steps=100, targets=4, order="near"),
    "fab": Named("fab-untargeted", steps=100),
    "fab-t": Named("fab", steps=100, targets=9),
    "square": Named("square", "margin", steps=5000),
    "cw": Named("cw", steps=100),
    "ddn": Named("ddn", steps=200),
    "fmn": Named("fmn", steps=200),
    "alma": Named("alma", steps=300),
    "hopskipjump": Named("hopskipjump", steps=5000),
    "random-sign": Named("random-sign", steps=None),
    "uniform": Named("uniform", steps=None),
}
"""Name → the attack, at the strength that it is published or commonly run with."""


def called(
    name: str,
    norm: Norm,
    eps: float,
    *,
    classes: int,
    steps: int | None = None,
    targets: int | None = None,
    **more: Any,
) -> Attack:
    """Return a named attack.

    Args:
        name: The name.
        norm: "linf", "l2" or "l1".
        eps: Size in [0, 1] pixels; one that looks for the smallest distance does not read it.
        classes: Number of the model's classes.
        steps: Iterations or queries; None for the attack's own number.
        targets: Classes that are aimed at; None for the attack's own number.
        more: Further fields of `Attack`.

    Returns:
        The attack.

    Raises:
        pydantic.ValidationError: The attack has not this norm or one of the fields.

    Examples:
        >>> from surgeon.results.named import called
        >>> attack = called("apgd-t", "linf", 8 / 255, classes=5)
        >>> attack.kind, attack.steps, attack.targets
        ('apgdt', 100, 4)
    """
    own = NAMED[name]
    kind = own.kind_in(norm)
    fields: dict[str, Any] = {"name": name, "kind": kind, "loss": own.loss, "norm": norm, "eps": eps}
    if own.kind == "fgsm" and kind != "fgsm":
        fields |= {"name": "fgm", "step_size": eps or None, "random_start": False}
    if own.steps is not None:
        fields["steps"] = steps or own.steps
    if own.targets is not None:
        fields["targets"] = min(targets or own.targets, classes - 1)
    if own.order != "likely" and norm != "l1":
        fields["order"] = own.order
    if not own.of.bounded:
        fields["eps"] = None
    return Attack(**fields | more)


def steppers() -> tuple[str, ...]:
    """Return the names whose number of steps a setting changes."""
    return tuple(name for name, own in NAMED.items() if own.steps is not None)


def needs_in_words(name: str) -> str:
    """Return what a named attack needs, for a list of names.

    Args:
        name: The name.

    Examples:
        >>> from surgeon.results.named import needs_in_words
        >>> needs_in_words("square")
        'square (linf or l2; no gradients)'
    """
    own, parts = NAMED[name], []
    each = [needs_of(own.kind_in(norm), norm, own.loss) for norm in own.norms]
    if len(own.norms) < 3:
        parts.append(" or ".join(own.norms))
    if (most := max(n.classes for n in each)) > 2:
        parts.append(f"{most} classes")
    if not own.of.gradients:
        parts.append("no gradients")
    if not own.of.bounded:
        parts.append("a distance, no ε")
    if packages := [norm for norm, n in zip(own.norms, each, strict=True) if n.package == "adv-lib"]:
        parts.append("adv-lib" if len(packages) == len(each) else f"adv-lib in {' and '.join(packages)}")
    return f"{name} ({'; '.join(parts)})" if parts else name


def check_name(name: str) -> str:
    """Check that a name is an attack's.

    Args:
        name: The name.

    Returns:
        The name.

    Raises:
        ValueError: It is unknown; the message lists the known ones with what each needs.
    """
    if name not in NAMED:
        close = nearest(name, NAMED)
        near = f"{close} " if close.startswith("did you mean") else ""
        listed = ", ".join(needs_in_words(n) for n in NAMED)
        raise ValueError(f"no attack is called {name!r}; {near}there are {listed}")
    return name


def check_norm(name: str, norm: Norm) -> None:
    """Check that a named attack works in a norm.

    Args:
        name: The name.
        norm: The norm.

    Raises:
        ValueError: It does not; the message says in which it does.
    """
    if norm not in NAMED[name].norms:
        fit = [n for n in NAMED if norm in NAMED[n].norms]
        raise ValueError(
            f"{name} is an attack in {' or '.join(NAMED[name].norms)}, and the norm is {norm}; in {norm} there are "
            f"{', '.join(fit)}"
        )
