"""Remarks on an evaluation's numbers, derived from the numbers and the surgery's record. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from surgeon.edits import Traits
from surgeon.numerals import percent, span
from surgeon.results.counts import ERROR, SAMPLES
from surgeon.results.rows import Row
from surgeon.results.statistics import Share, more_often
from surgeon.results.threat import BY_DISTANCE, Threat
from surgeon.results.verdict import Outcome

CUT_OFF = "masked units cut off gradients"
_SIGN = "a sign of masked gradients"


class Finding(BaseModel):
    """One remark on an evaluation's numbers.

    code: Short name. severity: "info", "warning" or "error". text: The remark as a sentence.

    Examples:
        >>> from surgeon.evaluation import Finding
        >>> Finding(code="few-images", severity="info", text="100 images; the protocol is 1000").code
        'few-images'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str
    severity: Literal["info", "warning", "error"]
    text: str


def findings(
    rows: Sequence[Row],
    clean: Share,
    worst: Share,
    lowest: Share,
    main: Threat | None,
    n: int,
    traits: Traits | None,
    random: bool,
    outcome: Outcome,
) -> list[Finding]:
    """Derive remarks from the numbers of an evaluation.

    Args:
        rows: Accuracy under each attack.
        clean: Accuracy on clean images.
        worst: As `Summary.worst`.
        lowest: As `Summary.lowest`.
        main: The threat of the worst case; None without attacks.
        n: Number of images.
        traits: Traits of the surgery; None for a stock network.
        random: Whether the model is random at inference.
        outcome: The verdicts.

    Returns:
        The remarks, the most general first.
    """
    group = main.group if main else ""
    result = [
        Finding(
            code="upper-bound",
            severity="info",
            text="robust accuracy under attacks is an upper bound; stronger attacks can only lower it",
        )
    ]
    if lowest.k < worst.k:
        result.append(
            Finding(
                code="stronger-elsewhere",
                severity="warning",
                text=f"other attacks of the same size turn "
                f"{worst.k - lowest.k} more images: with them {percent(lowest.value)} stand, "
                f"not {percent(worst.value)}",
            )
        )
    result += _one_step_stronger(outcome, rows)
    result += _masked_signs(rows, clean, worst, main)
    if group in ("standard", "plus", "rand", "basic", BY_DISTANCE) and n < SAMPLES["standard"]:
        result.append(
            Finding(
                code="few-images",
                severity="info",
                text=f"{n} images; {'protocols take' if group in ('basic', BY_DISTANCE) else 'the protocol is'} "
                f"{SAMPLES['standard']}: the interval of the worst case is {span(worst.low, worst.high)}",
            )
        )
    if random or (traits is not None and traits.stochastic == "always"):
        result.append(
            Finding(
                code="stochastic",
                severity="warning",
                text="the model is random at inference; attacks without "
                "expectation over its noise overstate its robustness",
            )
        )
    if traits is not None and traits.masked:
        result.append(
            Finding(
                code="masked",
                severity="warning",
                text=f"{CUT_OFF}; transfer and black-box attacks are needed beside white-box ones",
            )
        )
    return result


def _one_step_stronger(outcome: Outcome, rows: Sequence[Row]) -> list[Finding]:
    """Whether FGSM turns images that PGD leaves, more than the other way round: McNemar's exact test, one-sided, at the
    error rate of a diagnostic. Not of transferred attacks: one step often transfers better, whatever gradients are."""
    own = [a for a in outcome.attacks if not a.source and not a.cascade and a.eps is not None]
    single = {(a.norm, a.eps): a for a in own if a.name == "fgsm"}
    stronger: dict[tuple[str, float | None], Finding] = {}
    for many in (a for a in own if a.name.startswith(("pgd", "own-pgd"))):
        size = (many.norm, many.eps)
        if size not in single or size in stronger:
            continue
        one, other = ({v.example for v in outcome.of(a) if v.success} for a in (single[size], many))
        chance = more_often(len(one - other), len(other - one))
        if chance <= ERROR:
            fgsm, pgd = (
                next(r.mean for r in rows if (r.attack, r.source, r.norm, r.eps) == (a.name, None, *size))
                for a in (single[size], many)
            )
            stronger[size] = Finding(
                code="one-step-stronger",
                severity="warning",
                text=f"one step (FGSM, {percent(fgsm)}) beats many (PGD, {percent(pgd)}; p = {chance:.1g}): {_SIGN}, "
                "these numbers are not reliable",
            )
    return list(stronger.values())


def _masked_signs(rows: Sequence[Row], clean: Share, worst: Share, main: Threat | None) -> list[Finding]:
    """Signs as in Table 1 of the KAP paper: PGD far above AutoAttack, and Square as strong as all of it."""
    signs: list[Finding] = []
    if main is None or main.group != "standard":
        return signs
    for r in rows:
        if r.group not in ("paper", "beside") or (r.norm, r.eps, r.source) != (main.norm, main.eps, None):
            continue
        if r.attack.startswith("pgd") and r.mean > worst.value + 0.1:
            signs.append(
                Finding(
                    code="pgd-above-worst",
                    severity="warning",
                    text=f"PGD leaves {percent(r.mean)}, the worst case is "
                    f"{percent(worst.value)}: PGD's number is not this model's robustness",
                )
            )
        if r.attack == "square" and 0.02 < r.mean < min(worst.value + 0.02, clean.value - 0.1):
            signs.append(
                Finding(
                    code="black-box-as-strong",
                    severity="warning",
                    text=f"Square alone, which sees no gradient, leaves "
                    f"{percent(r.mean)}, all attacks together {percent(worst.value)}: {_SIGN}",
                )
            )
    return signs
