"""What verdicts add up to, with intervals, and what they are worth."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from surgeon.edits import Traits
from surgeon.errors import SurgeonError
from surgeon.evaluation.statistics import Share, wilson
from surgeon.evaluation.suites import SAMPLES
from surgeon.evaluation.threat import Attack, Norm, Threat, main_threat, size_text
from surgeon.evaluation.verdict import Outcome, Verdict


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Finding(_Frozen):
    """Something to know about the numbers: a value first, a sentence second."""

    code: str
    severity: Literal["info", "warning", "error"]
    text: str


class Row(_Frozen):
    """Accuracy under one attack at one size: a share for each seed, in their order."""

    attack: str
    group: str
    source: str | None = None
    norm: Norm
    eps: float | None
    cascade: bool = Field(description="whether what fell to the attacks before it counts as fallen")
    seeds: tuple[int, ...]
    shares: tuple[Share, ...]
    mean: float
    of_right: float | None = Field(
        description="the mean as a share of the images that are right as they are, which alone are attacked"
    )
    std: float | None = Field(None, description="over seeds, where there are two or more")
    draws: dict[str, float] | None = Field(
        None,
        description="of a random model: accuracy on the mean draw, by majority, and where every draw is right",
    )

    @property
    def label(self) -> str:
        """As `Attack.label`."""
        return f"{self.attack} {size_text(self.norm, self.eps)}" + (
            f" from {self.source}" if self.source else ""
        )


class Worst(_Frozen):
    """Images that no attack of one threat turned: never an average over attacks."""

    group: str
    norm: Norm
    eps: float | None
    seed: int
    share: Share


class Headline(_Frozen):
    """The one number that may be quoted, and what it is."""

    share: Share
    text: str


class Summary(_Frozen):
    """Accuracy on clean images, under each attack, and under the worst of them image by image."""

    clean: Share
    rows: tuple[Row, ...] = ()
    worsts: tuple[Worst, ...] = ()
    main: Threat | None = Field(None, description="part, norm, ε and seed that the worst case is of")
    worst: Share = Field(description="images that no attack of the main threat turned")
    lowest: Share = Field(
        description="images that no attack of the main threat's norm and ε turned, whatever its part, seed or source"
    )
    headline: Headline | None = None
    refused: tuple[str, ...] = Field((), description="why there is no headline")
    complete: bool = True
    findings: tuple[Finding, ...] = ()

    @property
    def robust(self) -> dict[str, Share]:
        """Accuracy by attack, of the first seed; attacks of one name are told apart by norm and size."""
        names = [r.attack for r in self.rows]
        return {r.attack if names.count(r.attack) == 1 else r.label: r.shares[0] for r in self.rows}


def summarize(
    outcome: Outcome, traits: Traits | None = None, *, failed: Sequence[str] = (), random: bool = False
) -> Summary:
    """Sum up an evaluation. traits: of the model's surgery (`model.surgery.traits`), which add to the findings.

    failed: reasons of diagnostics that failed, which leave no headline. random: whether the model is random at inference.

    Raises SurgeonError for no verdicts.
    """
    if not len(outcome):
        raise SurgeonError("there are no verdicts to sum up")
    clean = [v for v in outcome.verdicts if v.attack == "none"]
    n, wrong = len(clean), {v.example for v in clean if v.success}
    rows, worsts = _rows(outcome, n, wrong), _worsts(outcome, n, wrong)
    main = main_threat(outcome.attacks)
    group = main.group if main else ""
    worst = wilson(n - len(_turned(outcome, lambda t: t == main) | wrong), n)
    size = (main.norm, main.eps) if main else None
    lowest = wilson(n - len(_turned(outcome, lambda t: (t.norm, t.eps) == size) | wrong), n)
    refused = [] if not outcome.missing else [
        f"incomplete: {len(outcome.missing)} blocks are missing, the first is {outcome.missing[0]}"
    ]  # fmt: skip
    refused += [f"not reliable: {reason}" for reason in failed]
    if random and not any(a.eot > 1 for a in outcome.attacks if a.threat == main):
        refused.append("the model is random at inference, and no attack took the expectation over its noise")
    if group == "basic":
        refused.append(
            "the attacks named by hand are no protocol: use the suite standard, or quick for an upper bound"
        )
    headline = (
        None if refused or main is None else Headline(share=worst, text=_headline(main, outcome, n, random))
    )
    return Summary(
        clean=wilson(n - len(wrong), n), rows=rows, worsts=worsts, main=main, worst=worst, lowest=lowest, headline=headline,
        refused=tuple(refused), complete=not outcome.missing,
        findings=tuple(_findings(rows, wilson(n - len(wrong), n), worst, lowest, main, n, traits, random)),
    )  # fmt: skip


def _turned(outcome: Outcome, of: Callable[[Threat], bool]) -> set[int]:
    """The examples that attacks of some threats turned."""
    return {v.example for v in outcome.verdicts if v.success and v.attack != "none" and of(v.threat)}


def _rows(outcome: Outcome, n: int, wrong: set[int]) -> tuple[Row, ...]:
    fallen: dict[Any, set[int]] = defaultdict(lambda: set(wrong))
    clean = {v.example: v.votes for v in outcome.verdicts if v.attack == "none"}
    lowest: dict[Any, dict[int, float]] = defaultdict(lambda: dict(clean))
    drawn: dict[Any, dict[str, float]] = {}
    by: dict[Any, list[Verdict]] = defaultdict(list)
    for v in outcome.verdicts:
        by[(v.attack, v.source, v.threat)].append(v)
    found: dict[Any, list[tuple[Attack, Share, list[Verdict]]]] = defaultdict(list)
    for attack in outcome.attacks:
        own = by[(attack.name, attack.source, attack.threat)]
        turned = {v.example for v in own if v.success}
        if outcome.draws > 1:
            votes = lowest[attack.threat] if attack.cascade else dict(clean)
            for v in own:
                votes[v.example] = min(votes[v.example], v.votes)
            drawn[(attack.name, attack.group, attack.source, attack.norm, attack.eps, attack.seed)] = _draws(
                votes
            )
        fallen[attack.threat] |= turned
        standing = n - len(fallen[attack.threat] if attack.cascade else turned | wrong)
        found[(attack.name, attack.group, attack.source, attack.norm, attack.eps)].append(
            (attack, wilson(standing, n), own)
        )
    rows = []
    for (name, group, source, norm, eps), many in found.items():
        shares = tuple(share for _, share, _ in many)
        values = [s.value for s in shares]
        rows.append(
            Row(
                attack=name, group=group, source=source, norm=norm, eps=eps, cascade=many[0][0].cascade,
                seeds=tuple(a.seed for a, _, _ in many), shares=shares, mean=fmean(values),
                of_right=fmean(values) * n / (n - len(wrong)) if n > len(wrong) else None,
                std=stdev(values) if len(values) > 1 else None,
                draws=drawn.get((name, group, source, norm, eps, many[0][0].seed)),
            )
        )  # fmt: skip
    return tuple(rows)


def _draws(votes: Mapping[int, float]) -> dict[str, float]:
    """votes: each image's share of draws that are right, the lowest up to this attack."""
    n, values = len(votes), votes.values()
    return {
        "mean": sum(values) / n,
        "majority": sum(v > 0.5 for v in values) / n,
        "all": sum(v == 1 for v in values) / n,
    }


def _worsts(outcome: Outcome, n: int, wrong: set[int]) -> tuple[Worst, ...]:
    turned: dict[Any, set[int]] = {a.threat: set(wrong) for a in outcome.attacks}
    for v in outcome.verdicts:
        if v.success and v.attack != "none":
            turned[v.threat].add(v.example)
    return tuple(
        Worst(group=group, norm=norm, eps=eps, seed=seed, share=wilson(n - len(fallen), n))
        for (group, norm, eps, seed), fallen in turned.items()
    )


def _headline(main: Threat, outcome: Outcome, n: int, random: bool) -> str:
    size = size_text(main.norm, main.eps)
    if random:
        return f"accuracy by majority of {outcome.draws} draws under attacks on the expectation over the model's noise, {size}, {n} images"
    if main.group == "quick":
        return f"upper bound of robust accuracy (suite quick), {size}, {n} images"
    fewer = "" if n >= SAMPLES["standard"] else f", fewer than the protocol's {SAMPLES['standard']}"
    return f"robust accuracy (suite standard, AutoAttack's), {size}, {n} images{fewer}"


def _findings(
    rows: Sequence[Row],
    clean: Share,
    worst: Share,
    lowest: Share,
    main: Threat | None,
    n: int,
    traits: Traits | None,
    random: bool,
) -> list[Finding]:
    group = main.group if main else ""
    found = [
        Finding(code="upper-bound", severity="info", text="robust accuracy under attacks is an upper bound; "
                "stronger attacks can only lower it")
    ]  # fmt: skip
    if lowest.k < worst.k:
        found.append(
            Finding(code="stronger-elsewhere", severity="warning", text=f"other attacks of the same size turn "
                    f"{worst.k - lowest.k} more images: with them {lowest.value:.1%} stand, not {worst.value:.1%}")
        )  # fmt: skip
    one = {(r.norm, r.eps): r.mean for r in rows if r.attack == "fgsm" and not r.source}
    for r in rows:
        fgsm = None if r.source else one.get((r.norm, r.eps))  # from a source one step often transfers better
        if r.attack.startswith(("pgd", "own-pgd")) and fgsm is not None and fgsm + 0.01 < r.mean:
            found.append(
                Finding(code="one-step-stronger", severity="warning", text=f"one step (FGSM, {fgsm:.1%}) beats many "
                        f"(PGD, {r.mean:.1%}): a sign of masked gradients, these numbers are not reliable")
            )  # fmt: skip
    found += _masked_signs(rows, clean, worst, main)
    if group in ("standard", "basic") and n < SAMPLES["standard"]:
        found.append(
            Finding(code="few-images", severity="info", text=f"{n} images; the protocol is {SAMPLES['standard']}: the "
                    f"interval of the worst case is {worst.low:.1%} to {worst.high:.1%}")
        )  # fmt: skip
    if random or (traits is not None and traits.stochastic == "always"):
        found.append(
            Finding(code="stochastic", severity="warning", text="the model is random at inference; attacks without "
                    "expectation over its noise overstate its robustness")
        )  # fmt: skip
    if traits is not None and traits.masked:
        found.append(
            Finding(code="masked", severity="warning", text="masked units cut off gradients; transfer and black-box "
                    "attacks are needed beside white-box ones")
        )  # fmt: skip
    return found


def _masked_signs(rows: Sequence[Row], clean: Share, worst: Share, main: Threat | None) -> list[Finding]:
    """What Table 1 of the KAP paper shows: PGD far above AutoAttack, and black-box Square as strong as all of it."""
    found: list[Finding] = []
    if main is None or main.group != "standard":
        return found
    for r in rows:
        if (r.group, r.norm, r.eps, r.source) != ("paper", main.norm, main.eps, None):
            continue
        if r.attack.startswith("pgd") and r.mean > worst.value + 0.1:
            found.append(
                Finding(code="pgd-above-worst", severity="warning", text=f"PGD leaves {r.mean:.1%}, the worst case is "
                        f"{worst.value:.1%}: PGD's number is not this model's robustness")
            )  # fmt: skip
        if r.attack == "square" and 0.02 < r.mean < min(worst.value + 0.02, clean.value - 0.1):
            found.append(
                Finding(code="black-box-as-strong", severity="warning", text=f"Square alone, which sees no gradient, leaves "
                        f"{r.mean:.1%}, all attacks together {worst.value:.1%}: a sign of masked gradients")
            )  # fmt: skip
    return found
