"""Suites: an evaluation's attacks, chosen from its settings and the model's surgery. No torch here.

quick     an upper bound in minutes
standard  AutoAttack's standard version (Croce & Hein 2020): APGD-CE, targeted APGD, targeted FAB, Square
paper     the attacks of the paper's own table plus standard; attacks that draw run with three seeds
plus      AutoAttack's version of that name: standard's attacks, APGD-DLR and the untargeted FAB, with restarts
rand      AutoAttack's version for networks that are random: APGD-CE and APGD-DLR over 20 draws
lean      a cheaper tier: targeted APGD at the nearest classes by slope, then APGD-CE on what stands
basic     the attacks that the settings name

For a model that is random at inference, quick and standard use attacks on the expectation over its noise.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from surgeon.arguments import checked_count, checked_seed
from surgeon.errors import ArgumentError, EvaluationError, either
from surgeon.methods.registry import get, names, papers
from surgeon.quantities import too_large
from surgeon.recipe import Evaluation
from surgeon.recipe.evaluation import Sizes
from surgeon.results.assessment import Assessment, Subject
from surgeon.results.counts import EOT, FULL, MANY_CLASSES, MANY_SAMPLES, SAMPLES, SEEDS
from surgeon.results.from_record import from_record
from surgeon.results.kinds import Norm
from surgeon.results.named import NAMED, STEPS, called
from surgeon.results.paper import Paper, transfers
from surgeon.results.threat import Attack, union_text

EPS: dict[Norm, float] = dict(Sizes().each)
"""Sizes where the settings do not give any."""
LEAN = 50
"""Iterations of the attacks of the suite lean."""


def suite(
    settings: Evaluation,
    *,
    classes: int = 10,
    random: bool = False,
    operations: Iterable[str] = (),
    sources: Iterable[str] = (),
    adaptive: str | None = None,
    seed: int = 0,
) -> tuple[Attack, ...]:
    """Choose the attacks of `settings.suite`.

    Args:
        settings: Settings of the evaluation.
        classes: Number of the model's classes, at least 2.
        random: Whether the model is random at inference.
        operations: Names of the operations of the model's surgery; they determine the paper.
        sources: Names of models to transfer attacks from; every suite but basic adds one attack for each.
        adaptive: Name of the network made from the surgery's record that is attacked beside the model itself
            (`surgeon.evaluation.adaptive`); None without one. It counts in the worst case.
        seed: Seed of the attacks.

    Returns:
        The attacks in the order in which they run.

    Raises:
        EvaluationError: The model has fewer than two classes, or the suite is paper and no single paper
            belongs to the operations.
        ArgumentError: `classes` or `seed` is invalid, or ε is above 1 in Linf.

    Examples:
        >>> from surgeon.evaluation import suite
        >>> from surgeon.recipe import Evaluation
        >>> [attack.name for attack in suite(Evaluation(suite="standard"), classes=10)]
        ['apgd-ce', 'apgd-t', 'fab-t', 'square']
    """
    classes, seed = checked_count("classes", classes, 0), checked_seed(seed)
    if classes < 2:
        raise EvaluationError(f"the model gives {classes} class; robustness of a classifier needs 2 or more")
    sources = tuple(sources)
    if settings.norm == "union":
        whole = union_text(settings.union.each)
        # Unchecked: they hold attacks of the other norms too, which are left out below.
        alone = [BaseModel.model_copy(settings, update={"norm": n, "eps": e}) for n, e in settings.union.each]
        given: dict[str, Any] = {"operations": operations, "sources": sources, "adaptive": adaptive}
        parts = [suite(one, classes=classes, random=random, seed=seed, **given) for one in alone]
        return tuple(a.model_copy(update={"union": whole}) for part in parts for a in part)
    norm, eps = size_of(settings, operations)
    more: dict[str, Any] = {"seed": seed, "group": settings.suite}
    if settings.suite == "paper":
        more["group"] = "standard"
    own: dict[str, Any] = {"eot": EOT, **more} if random else more
    known = from_record(adaptive, settings.suite, norm, eps, settings.steps or STEPS, **own)
    if settings.suite == "basic":
        fit = [a for a in settings.attacks if norm in NAMED[a].norms]  # in the union each has its own norms
        alone_: dict[str, Any] = {"seed": seed, "cascade": False, "group": "basic"}
        return (
            *(called(a, norm, eps, classes=classes, steps=settings.steps, **alone_) for a in fit),
            *known,
        )
    if settings.suite == "paper":
        paper = _paper(settings, operations)
        attacks = [
            a for n in range(SEEDS) for a in paper.tables(sources, seed + n) if random or a.draws or not n
        ]
        for n in range(SEEDS):
            attacks += _strong(norm, eps, classes, random, more | {"seed": seed + n})
        for size in paper.sizes:
            if size != (norm, eps):
                attacks += _strong(*size, classes, random, more)
        return (*attacks, *_beside(settings, norm, eps, classes, seed), *known)
    if settings.suite in _VERSIONS and not (random and settings.suite == "lean"):
        chosen = _VERSIONS[settings.suite](norm, eps, classes, more)
    elif settings.suite in ("quick", "lean") and random:
        chosen = _strong(norm, eps, classes, random, more, steps=20)
    else:
        chosen = (_quick if settings.suite == "quick" else _strong)(norm, eps, classes, random, more)
    beside = _beside(settings, norm, eps, classes, seed)
    return (*chosen, *beside, *known, *transfers(sources, norm, eps, **more))


def attacks_of(
    settings: Evaluation, subject: Subject, sources: Iterable[str], seed: int, adaptive: str | None = None
) -> tuple[Attack, ...]:
    """Choose the attacks of an evaluation.

    Args:
        settings: Settings of the evaluation.
        subject: Description of the network.
        sources: Names of the networks that attacks are transferred from.
        seed: Seed of the evaluation.
        adaptive: Name of the network made from the surgery's record; None without one.

    Returns:
        The attacks in their order.
    """
    return suite(
        settings,
        classes=subject.classes,
        random=subject.mode == "random",
        operations=subject.operations,
        sources=sources,
        adaptive=adaptive,
        seed=seed,
    )


def asked_for(assessment: Assessment) -> tuple[Attack, ...]:
    """The attacks of a finished evaluation: those that its settings ask for.

    Args:
        assessment: The evaluation's results.

    Raises:
        ValidationError: Its settings are those of another version.
        EvaluationError: As `suite`.
    """
    return attacks_of(
        Evaluation.model_validate(assessment.settings["evaluation"]),
        assessment.subject,
        list(assessment.settings["sources"]),
        assessment.settings["seed"],
        assessment.gain.chosen if assessment.gain else None,
    )


def keeps(settings: Evaluation) -> bool:
    """Whether an evaluation stores its adversarial images.

    Args:
        settings: Settings of the evaluation.
    """
    return settings.keep if settings.keep is not None else settings.suite == "paper"


def samples_of(settings: Evaluation, classes: int | None) -> int | None:
    """Return how many test images an evaluation uses.

    Args:
        settings: Settings of the evaluation; `settings.samples` takes precedence.
        classes: Number of classes, None if unknown. All suites but quick and basic use 5,000 images for 1,000
            classes.

    Returns:
        The number of images; None for all.
    """
    if settings.samples is not None:
        return settings.samples
    if settings.suite in FULL and (classes or 0) >= MANY_CLASSES:
        return MANY_SAMPLES
    return SAMPLES.get(settings.suite)


def size_of(settings: Evaluation, operations: Iterable[str] = ()) -> tuple[Norm, float]:
    """Return norm and ε of an evaluation.

    Args:
        settings: Settings of the evaluation; they take precedence. Otherwise the suite paper uses the paper's
            values, the others Linf 8/255, L2 0.5 or L1 12. Of a union the first is returned.
        operations: Names of the operations of the model's surgery; they determine the paper.

    Returns:
        (norm, ε in units of [0, 1] pixels).

    Raises:
        EvaluationError: A paper is needed and no single paper belongs to the operations.
        ArgumentError: ε is above 1 in Linf.
    """
    if settings.norm == "union":
        return settings.union.each[0]
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


def sizes_of(settings: Evaluation, operations: Iterable[str] = ()) -> tuple[tuple[Norm, float], ...]:
    """Return norm and ε of an evaluation, or of each part of its union of norms.

    Args:
        settings: Settings of the evaluation.
        operations: Names of the operations of the model's surgery.

    Raises:
        EvaluationError: As `size_of`.
        ArgumentError: As `size_of`.
    """
    return settings.union.each if settings.norm == "union" else (size_of(settings, operations),)


def paper_of(operations: Iterable[str]) -> Paper:
    """Return the paper whose evaluation belongs to the operations.

    Args:
        operations: Names of operations; unknown ones are ignored.

    Returns:
        The paper.

    Raises:
        EvaluationError: The operations belong to no paper, or to several.
    """
    by_name = {p.name: p for p in (get(n).paper() for n in _names(operations)) if p is not None}
    if len(by_name) != 1:
        what = f"{len(by_name)} papers' methods" if by_name else "no paper's method"
        raise EvaluationError(
            f"the model has {what} in it; say whose tables are wanted: {', '.join(papers())} "
            + either("(evaluation.paper)", "(--paper)")
        )
    return next(iter(by_name.values()))


def _names(operations: Iterable[str]) -> list[str]:
    """The known names: a record may name a plug-in's operation, and number repeated ones, as in `kap#2`."""
    return [name for o in operations if (name := o.split("#")[0]) in names()]


def _paper(settings: Evaluation, operations: Iterable[str]) -> Paper:
    return papers()[settings.paper] if settings.paper else paper_of(operations)


def _beside(settings: Evaluation, norm: Norm, eps: float, classes: int, seed: int) -> list[Attack]:
    """The attacks that are named beside the suite's, those of the norm; each sees all images that are right."""
    alone: dict[str, Any] = {"classes": classes, "seed": seed, "cascade": False, "group": "beside"}
    return [called(name, norm, eps, **alone) for name in settings.beside if norm in NAMED[name].norms]


def _quick(norm: Norm, eps: float, classes: int, random: bool, more: dict[str, Any]) -> list[Attack]:
    attacks = [
        called("apgd-ce", norm, eps, classes=classes, steps=20, **more),
        _dlr(norm, eps, classes, 20, more),
    ]
    attacks.append(_targeted(norm, eps, classes, 20, 3, more))
    return [*attacks, *_square(norm, eps, 200, more)]


def _strong(
    norm: Norm, eps: float, classes: int, random: bool, more: dict[str, Any], steps: int = 100
) -> list[Attack]:
    """AutoAttack's standard version, or its random one with an EOT-PGD that does not stop early."""
    if random:
        # A single draw may misclassify an iterate by luck: stopping there would end the search too early.
        lucky = {"eot": EOT, "early_stop": False}
        return [
            Attack(name="apgd-ce-eot", kind="apgd", norm=norm, eps=eps, steps=steps, **lucky, **more),
            _dlr(norm, eps, classes, steps, more | lucky, "-eot"),
            Attack(name="pgd-eot", kind="own-pgd", norm=norm, eps=eps, steps=steps, **lucky, **more),
        ]
    # In L1 AutoAttack restarts APGD-CE, and aims at fewer classes (Croce & Hein 2021).
    restarts, targets = (5, 5) if norm == "l1" else (1, 9)
    return [
        called("apgd-ce", norm, eps, classes=classes, restarts=restarts, **more),
        _targeted(norm, eps, classes, 100, targets, more),
        called("fab-t", norm, eps, classes=classes, **more),
        *_square(norm, eps, 5000, more),
    ]


def _plus(norm: Norm, eps: float, classes: int, more: dict[str, Any]) -> list[Attack]:
    """AutoAttack's version plus, without the attacks that too few classes leave no room for."""
    five = {"classes": classes, "restarts": 5, **more}
    return [
        called("apgd-ce", norm, eps, **five),
        *([called("apgd-dlr", norm, eps, **five)] if classes > 2 else []),
        called("fab", norm, eps, **five),
        *_square(norm, eps, 5000, more),
        _targeted(norm, eps, classes, 100, 9, more),
        called("fab-t", norm, eps, classes=classes, **more),
    ]


def _rand(norm: Norm, eps: float, classes: int, more: dict[str, Any]) -> list[Attack]:
    """AutoAttack's version rand, which here does not stop at a lucky draw."""
    return _strong(norm, eps, classes, True, more)[:2]


def _lean(norm: Norm, eps: float, classes: int, more: dict[str, Any]) -> list[Attack]:
    """Few classes first, by slope; what stands then is attacked on the cross-entropy."""
    few = [called("apgd-t-near", norm, eps, classes=classes, steps=LEAN, **more)] if classes > 3 else []
    return [
        *(few or [_targeted(norm, eps, classes, LEAN, 9, more)]),
        called("apgd-ce", norm, eps, classes=classes, steps=LEAN, **more),
    ]


_VERSIONS = {"plus": _plus, "rand": _rand, "lean": _lean}


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
    return called("apgd-t", norm, eps, classes=classes, steps=steps, targets=targets, **more)


def _square(norm: Norm, eps: float, queries: int, more: dict[str, Any]) -> list[Attack]:
    """Square, in the norms that it works in."""
    if norm not in NAMED["square"].norms:
        return []
    return [called("square", norm, eps, classes=2, steps=queries, **more)]
