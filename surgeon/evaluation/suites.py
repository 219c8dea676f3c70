"""Suites: which attacks answer which question, as data chosen from the settings and what the surgery did. No torch here.

quick     an upper bound in minutes
standard  AutoAttack's standard version (Croce & Hein 2020): APGD-CE, targeted APGD, targeted FAB, Square
paper     the attacks of the table that a method was published with, beside standard, on three seeds where an attack draws
basic     the attacks that the settings name

A model that is random at inference gets attacks on the expectation over its noise in place of quick and standard.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from surgeon.arguments import checked_count, checked_seed
from surgeon.errors import ArgumentError, EvaluationError, either
from surgeon.methods.registry import get, names, papers
from surgeon.quantities import too_large
from surgeon.recipe import Evaluation
from surgeon.results.counts import EOT, MANY_CLASSES, MANY_SAMPLES, SAMPLES, SEEDS
from surgeon.results.paper import Paper, transfers
from surgeon.results.threat import Attack, Norm

EPS = {"linf": 8 / 255, "l2": 0.5}
"""Sizes where the settings give none."""


def suite(
    settings: Evaluation,
    *,
    classes: int = 10,
    random: bool = False,
    operations: Iterable[str] = (),
    sources: Iterable[str] = (),
    seed: int = 0,
) -> tuple[Attack, ...]:
    """The attacks of `settings.suite`, in the order of their cascade.

    classes: of the model. random: whether it is random at inference. operations: names of what was done to it, which
    choose the paper. sources: names of models to transfer from, added to every suite but basic.

    Raises EvaluationError for a model of fewer than two classes, or when no paper belongs to the operations.
    """
    classes, seed = checked_count("classes", classes, 0), checked_seed(seed)
    if classes < 2:
        raise EvaluationError(f"the model gives {classes} class; robustness of a classifier needs 2 or more")
    norm, eps = size_of(settings, operations)
    sources = tuple(sources)
    more: dict[str, Any] = {"seed": seed, "group": settings.suite}
    if settings.suite == "basic":
        return tuple(_basic(a, norm, eps, settings.steps, seed) for a in settings.attacks)
    if settings.suite == "paper":
        paper = _paper(settings, operations)
        found = [
            a for n in range(SEEDS) for a in paper.tables(sources, seed + n) if random or a.draws or not n
        ]
        more["group"] = "standard"
        for n in range(SEEDS):
            found += _strong(norm, eps, classes, random, more | {"seed": seed + n})
        for size in paper.sizes:
            if size != (norm, eps):
                found += _strong(*size, classes, random, more)
        return tuple(found)
    if settings.suite == "quick" and random:
        chosen = _strong(norm, eps, classes, random, more, steps=20)
    else:
        chosen = (_quick if settings.suite == "quick" else _strong)(norm, eps, classes, random, more)
    return (*chosen, *transfers(sources, norm, eps, **more))


def samples_of(settings: Evaluation, classes: int | None) -> int | None:
    """How many test images: as the settings say, else the suite's, of 1,000 classes 5,000; None for all."""
    if settings.samples is not None:
        return settings.samples
    if settings.suite in ("standard", "paper") and (classes or 0) >= MANY_CLASSES:
        return MANY_SAMPLES
    return SAMPLES.get(settings.suite)


def size_of(settings: Evaluation, operations: Iterable[str] = ()) -> tuple[Norm, float]:
    """Norm and ε of an evaluation: as its settings say, else the paper's in the suite paper, else Linf 8/255 or L2 0.5.

    Raises EvaluationError when a paper is needed and none belongs to the operations, and ArgumentError for an ε above 1 in Linf.
    """
    if settings.norm is not None and settings.eps is not None:
        return settings.norm, settings.eps
    norm: Norm = settings.norm or "linf"
    eps = EPS[norm]
    if settings.suite == "paper":
        paper = _paper(settings, operations)
        if settings.norm in (None, paper.norm):
            norm, eps = paper.norm, paper.eps
    if settings.eps is None:
        return norm, eps
    if norm == "linf" and settings.eps > 1:
        raise ArgumentError(too_large("eps", settings.eps))
    return norm, settings.eps


def paper_of(operations: Iterable[str]) -> Paper:
    """The paper that published the operations' evaluation; operations: their names. Raises EvaluationError for none or several."""
    found = {p.name: p for p in (get(n).paper() for n in _names(operations)) if p is not None}
    if len(found) != 1:
        what = f"{len(found)} papers' methods" if found else "no paper's method"
        raise EvaluationError(
            f"the model has {what} in it; say whose tables are wanted: {', '.join(papers())} "
            + either("(evaluation.paper)", "(--paper)")
        )
    return next(iter(found.values()))


def _names(operations: Iterable[str]) -> list[str]:
    """Those that are known here: a record may have been made where a plug-in was, and it may say `kap#2`."""
    return [name for o in operations if (name := o.split("#")[0]) in names()]


def _paper(settings: Evaluation, operations: Iterable[str]) -> Paper:
    return papers()[settings.paper] if settings.paper else paper_of(operations)


def _basic(name: str, norm: Norm, eps: float, steps: int, seed: int) -> Attack:
    own: dict[str, Any] = {"norm": norm, "eps": eps, "seed": seed, "cascade": False, "group": "basic"}
    if name == "fgsm" and norm == "l2":  # one step along the gradient itself: its sign belongs to linf
        return Attack(name="fgm", kind="own-pgd", step_size=eps or None, random_start=False, **own)
    if name == "fgsm":
        return Attack(name=name, kind="fgsm", **own)
    return Attack(name=name, kind="pgd" if name == "pgd" else "own-pgd", steps=steps, **own)


def _quick(norm: Norm, eps: float, classes: int, random: bool, more: dict[str, Any]) -> list[Attack]:
    found = [
        Attack(name="apgd-ce", kind="apgd", norm=norm, eps=eps, steps=20, **more),
        _dlr(norm, eps, classes, 20, more),
    ]
    found.append(_targeted(norm, eps, classes, 20, 3, more))
    return [*found, _square(norm, eps, 200, more)]


def _strong(
    norm: Norm, eps: float, classes: int, random: bool, more: dict[str, Any], steps: int = 100
) -> list[Attack]:
    """AutoAttack's standard version, or its random one with an EOT-PGD that does not stop early."""
    if random:
        lucky = {"eot": EOT, "early_stop": False}  # an iterate may be misclassified by luck
        return [
            Attack(name="apgd-ce-eot", kind="apgd", norm=norm, eps=eps, steps=steps, **lucky, **more),
            _dlr(norm, eps, classes, steps, more | lucky, "-eot"),
            Attack(name="pgd-eot", kind="own-pgd", norm=norm, eps=eps, steps=steps, **lucky, **more),
        ]
    return [
        Attack(name="apgd-ce", kind="apgd", norm=norm, eps=eps, steps=100, **more),
        _targeted(norm, eps, classes, 100, 9, more),
        Attack(name="fab-t", kind="fab", norm=norm, eps=eps, steps=100, targets=min(9, classes - 1), **more),
        _square(norm, eps, 5000, more),
    ]


def _dlr(norm: Norm, eps: float, classes: int, steps: int, more: dict[str, Any], suffix: str = "") -> Attack:
    if classes < 3:  # DLR divides by the distance to the third logit
        return Attack(
            name="pgd-margin" + suffix, kind="own-pgd", loss="margin", norm=norm, eps=eps, steps=steps, **more
        )
    return Attack(name="apgd-dlr" + suffix, kind="apgd", loss="dlr", norm=norm, eps=eps, steps=steps, **more)


def _targeted(norm: Norm, eps: float, classes: int, steps: int, targets: int, more: dict[str, Any]) -> Attack:
    if (
        classes < 4
    ):  # the targeted DLR needs four logits; with so few classes an untargeted margin sees them all
        own = {"loss": "margin", "restarts": classes - 1}
        return Attack(
            name="pgd-margin-restarts", kind="own-pgd", norm=norm, eps=eps, steps=steps, **own, **more
        )
    return Attack(name="apgd-t", kind="apgdt", loss="dlr", norm=norm, eps=eps, steps=steps, targets=min(targets, classes - 1), **more)  # fmt: skip


def _square(norm: Norm, eps: float, queries: int, more: dict[str, Any]) -> Attack:
    return Attack(name="square", kind="square", loss="margin", norm=norm, eps=eps, steps=queries, **more)
