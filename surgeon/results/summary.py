"""Summaries of verdicts: accuracies with intervals, the worst case, and whether a number may be quoted."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field

from surgeon import html
from surgeon.edits import Traits
from surgeon.errors import ArgumentError
from surgeon.numerals import percent
from surgeon.results.copies import copies_of
from surgeon.results.counts import SAMPLES
from surgeon.results.findings import Finding, findings
from surgeon.results.rows import Row, rows_of
from surgeon.results.statistics import Share, wilson
from surgeon.results.threat import BY_DISTANCE, UNION, Attack, Threat, main_threat, size_text
from surgeon.results.verdict import Outcome, Verdict

PROTOCOLS = ("quick", "lean", "standard", "plus", "rand")
"""Parts of suites whose worst case may be quoted; attacks of all others were chosen by hand."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Worst(_Frozen):
    """Accuracy in the worst case: images that no attack of one threat turned, not an average over attacks."""

    group: str
    norm: str = Field(description="linf, l2 or l1; of a union of norms its sizes in words, and eps is None")
    eps: float | None
    seed: int
    share: Share


class Headline(_Frozen):
    """The one number that may be quoted, and a sentence that says what it is."""

    share: Share
    text: str


class Summary(_Frozen):
    """Accuracy on clean images, under each attack, and in the worst case over attacks, image by image.

    Examples:
        >>> from surgeon.evaluation import summarize
        >>> summary = summarize(outcome)  # doctest: +SKIP
        >>> summary.clean.value, summary.worst.value, summary.headline  # doctest: +SKIP
    """

    clean: Share
    rows: tuple[Row, ...] = ()
    worsts: tuple[Worst, ...] = ()
    main: Threat | None = Field(default=None, description="part, norm, ε and seed that the worst case is of")
    worst: Share = Field(description="images that no attack of the main threat turned")
    lowest: Share = Field(
        description="images that no attack turned at the main threat's norm and ε, whatever its part, seed or source"
    )
    headline: Headline | None = None
    refused: tuple[str, ...] = Field(default=(), description="why there is no headline")
    complete: bool = True
    findings: tuple[Finding, ...] = ()

    def _repr_html_(self) -> str:
        """The HTML shown in notebooks: accuracies with their intervals, and the number that may be quoted."""
        shares = {"clean": self.clean, **self.robust, "worst case, image by image": self.worst}
        rows = [
            (n, percent(s.value), f"{percent(s.low)} to {percent(s.high)}", s.n) for n, s in shares.items()
        ]
        said = self.headline.text if self.headline else f"no number to quote: {'; '.join(self.refused)}"
        head = ("accuracy", "of the images", "95 % interval", "images")
        return html.table(rows, head=head) + html.paragraphs([said, *(f.text for f in self.findings)])

    @property
    def robust(self) -> dict[str, Share]:
        """Accuracy by attack, of the first seed.

        Attacks with the same name are distinguished by norm and size, and if needed by the part of the suite
        and the exact ε.
        """
        names = [r.attack for r in self.rows]
        for longer in (
            [r.label for r in self.rows],
            [f"{r.label} ({r.group}, ε {r.eps!r})" for r in self.rows],
        ):
            names = [n if names.count(n) == 1 else more for n, more in zip(names, longer, strict=True)]
        return {n: r.shares[0] for n, r in zip(names, self.rows, strict=True)}


def summarize(
    outcome: Outcome,
    traits: Traits | None = None,
    *,
    failed: Sequence[str] = (),
    random: bool = False,
    classes: int | None = None,
    eps: float | None = None,
) -> Summary:
    """Summarise the verdicts of an evaluation.

    There is no headline if blocks are missing, clean accuracy is not above guessing, a diagnostic failed, most
    images are copies of others, or the attacks are not a protocol; `refused` states the reasons. A few copies
    are a finding.

    Args:
        outcome: The verdicts.
        traits: Traits of the model's surgery (`model.surgery.traits`), which add findings.
        failed: Reasons of failed diagnostics.
        random: Whether the model is random at inference.
        classes: Number of classes among the images; None to accept any clean accuracy.
        eps: Size at which the worst case is told where all attacks look for the smallest distance.

    Returns:
        The summary.

    Raises:
        ArgumentError: There are no verdicts, or not one of each image as it is.

    Examples:
        >>> from surgeon.evaluation import Attack, Outcome, Verdict, summarize
        >>> shared = dict(image="", label=0, clean=0, margin=1.0)
        >>> right = Verdict(example=0, attack="none", success=False, prediction=0, votes=1, **shared)
        >>> pgd = Attack(name="pgd", kind="own-pgd", eps=8 / 255, steps=5)
        >>> fallen = dict(success=True, prediction=1, votes=0)
        >>> turned = Verdict(example=0, attack="pgd", eps=8 / 255, **fallen, **shared)
        >>> summary = summarize(Outcome((right, turned), (pgd,)))
        >>> summary.clean.value, summary.worst.value
        (1.0, 0.0)
    """
    if not len(outcome):
        raise ArgumentError("there are no verdicts to sum up")
    clean = outcome.clean
    _demand_one_each(clean)
    n, wrong = len(clean), {v.example for v in clean if v.success}
    main = main_threat(outcome.attacks)
    by_distance = (
        main is not None and main.eps is None and not main.norm.startswith(UNION) and eps is not None
    )
    if main is not None and by_distance:
        main = main._replace(eps=eps, group=BY_DISTANCE)
    turned, near = _turned(outcome, main)
    if main is not None and by_distance:
        turned[main] = near
    rows, worsts = rows_of(outcome, n, wrong), _worsts(outcome.attacks, turned, n, wrong, main)
    accuracy = wilson(n - len(wrong), n)
    fallen = near if by_distance else _where(turned, lambda t: main is not None and main.covers(t))
    worst = wilson(n - len(fallen | wrong), n)
    elsewhere = _where(turned, lambda t: main is not None and main.of_size(t)) | near
    lowest = wilson(n - len(elsewhere | wrong), n)
    refused = (
        []
        if not outcome.missing
        else [f"incomplete: {len(outcome.missing)} blocks are missing, the first is {outcome.missing[0]}"]
    )
    if classes and accuracy.low <= 1 / classes:
        refused.append(_hardly_trained(accuracy, classes))
    copies = copies_of((v.image, v.label) for v in clean)
    refused += [copies.refusal()] if copies.mostly else []
    refused += [f"not reliable: {reason}" for reason in failed]
    if random and not averaged(outcome.attacks):
        refused.append("the model is random at inference, and no attack took the expectation over its noise")
    if main is None:
        refused.append("no attacks were made")
    elif main.group not in PROTOCOLS:
        refused.append(
            "the suite basic and attacks named by hand are not a protocol: use the suite standard, or quick for an "
            "upper bound"
        )
    headline = (
        None if refused or main is None else Headline(share=worst, text=_headline(main, outcome, n, random))
    )
    return Summary(
        clean=accuracy,
        rows=rows,
        worsts=worsts,
        main=main,
        worst=worst,
        lowest=lowest,
        headline=headline,
        refused=tuple(refused),
        complete=not outcome.missing,
        findings=(
            *findings(rows, accuracy, worst, lowest, main, n, traits, random, outcome),
            *((remark,) if (remark := copies.finding()) else ()),
        ),
    )


def averaged(attacks: Sequence[Attack]) -> bool:
    """Whether an attack of the threat that the worst case is of takes the expectation over a model's draws.

    Args:
        attacks: The attacks.
    """
    main = main_threat(attacks)
    return main is not None and any(a.eot > 1 for a in attacks if main.covers(a.threat))


def _hardly_trained(clean: Share, classes: int) -> str:
    return (
        f"the network is hardly trained: {clean.k} of {clean.n} images are right without any "
        f"attack [{percent(clean.low)}, "
        f"{percent(clean.high)}], and guessing among {classes} classes gives {percent(1 / classes)}"
    )


def _turned(outcome: Outcome, main: Threat | None) -> tuple[dict[Threat, set[int]], set[int]]:
    """The examples that some attack of each threat turned, and those that one for the smallest distance turned within
    the main threat's size; in one reading of the verdicts."""
    sizes = {(a.norm, a.eps) for a in outcome.attacks if main is not None and main.of_size(a.threat)}
    if main is not None and main.eps is not None:
        sizes.add((main.norm, main.eps))  # type: ignore[arg-type]  # with an ε it is of one norm
    turned: dict[Threat, set[int]] = defaultdict(set)
    near: set[int] = set()
    for v in outcome.verdicts:
        if not v.success or v.attack == "none":
            continue
        turned[v.threat].add(v.example)
        if v.eps is None and any(
            eps is not None and v.norm == norm and getattr(v, norm) <= eps for norm, eps in sizes
        ):
            near.add(v.example)
    return turned, near


def _where(turned: Mapping[Threat, set[int]], of: Callable[[Threat], bool]) -> set[int]:
    """The examples that some attack of the chosen threats turned."""
    return set().union(*(fallen for threat, fallen in turned.items() if of(threat)))


def _worsts(
    attacks: Sequence[Attack],
    fallen_by: Mapping[Threat, set[int]],
    n: int,
    wrong: set[int],
    main: Threat | None,
) -> tuple[Worst, ...]:
    """The worst case of every threat; of a union of norms behind those of its parts."""
    turned = {a.threat: wrong | fallen_by.get(a.threat, set()) for a in attacks}
    if main is not None and main.group == BY_DISTANCE:
        turned[main] = wrong | fallen_by[main]
    elif main is not None and main not in turned:
        turned[main] = set(wrong).union(*(fallen for threat, fallen in turned.items() if main.covers(threat)))
    return tuple(
        Worst(group=group, norm=norm, eps=eps, seed=seed, share=wilson(n - len(fallen), n))
        for (group, norm, eps, seed), fallen in turned.items()
    )


def _headline(main: Threat, outcome: Outcome, n: int, random: bool) -> str:
    size = size_text(main.norm, main.eps)
    if random:
        few = f"upper bound (suite {main.group}): " if main.group in ("quick", "lean") else ""
        return (
            f"{few}accuracy by majority of {outcome.draws} draws under attacks on the expectation "
            f"over the model's noise, {size}, {n} images"
        )
    if main.group in ("quick", "lean"):
        return f"upper bound of robust accuracy (suite {main.group}), {size}, {n} images"
    fewer = "" if n >= SAMPLES["standard"] else f", fewer than the protocol's {SAMPLES['standard']}"
    blind = " without Square in l1" if any(part.startswith("l1") for part in main.sizes) else ""
    return f"robust accuracy (suite {main.group}, AutoAttack's{blind}), {size}, {n} images{fewer}"


def _demand_one_each(clean: Sequence[Verdict]) -> None:
    """Raise ArgumentError where images have no verdict of their own as they are, or several."""
    if not clean:
        raise ArgumentError("there are no verdicts of the images as they are, of which the others are a part")
    example, count = Counter(v.example for v in clean).most_common(1)[0]
    if count > 1:
        raise ArgumentError(
            f"image {example} has {count} verdicts as it is, as where outcomes were joined: give all attacks to one "
            "evaluation, and the images of several evaluations numbers of their own (examples=)"
        )
