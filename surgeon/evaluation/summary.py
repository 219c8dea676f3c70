"""What verdicts add up to, with intervals, and what they are worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from surgeon.edits import Traits
from surgeon.errors import SurgeonError
from surgeon.evaluation.engine import Verdict


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Share(_Frozen):
    """k of n, with its 95 % Wilson interval."""

    k: int
    n: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """k / n."""
        return self.k / self.n if self.n else float("nan")


class Finding(_Frozen):
    """Something to know about the numbers: a value first, a sentence second."""

    code: str
    severity: Literal["info", "warning", "error"]
    text: str


class Summary(_Frozen):
    """Accuracy on clean images, under each attack, and under the worst of them image by image."""

    clean: Share
    robust: dict[str, Share]
    worst: Share = Field(description="images that no attack turned")
    findings: tuple[Finding, ...] = ()


def wilson(k: int, n: int) -> Share:
    """k of n with its 95 % Wilson interval (Wilson 1927), by scipy."""
    from scipy.stats import binomtest

    if n == 0:
        return Share(k=0, n=0, low=0.0, high=1.0)
    interval = binomtest(k, n).proportion_ci(confidence_level=0.95, method="wilson")
    return Share(k=k, n=n, low=float(interval.low), high=float(interval.high))


def summarize(verdicts: Sequence[Verdict], traits: Traits | None = None) -> Summary:
    """Sum up verdicts; `traits` of the model's surgery (`model.surgery.traits`) add to the findings.

    Raises SurgeonError for no verdicts.
    """
    if not verdicts:
        raise SurgeonError("there are no verdicts to sum up")
    examples = {v.example for v in verdicts}
    unattacked = {v.example for v in verdicts if v.attack == "none"}
    names = sorted({v.attack for v in verdicts} - {"none"})
    n = len(examples)
    turned = {a: {v.example for v in verdicts if v.attack == a and v.success} | unattacked for a in names}
    robust = {a: wilson(n - len(t), n) for a, t in turned.items()}
    everything = set().union(unattacked, *turned.values())
    return Summary(
        clean=wilson(n - len(unattacked), n), robust=robust, worst=wilson(n - len(everything), n),
        findings=tuple(_findings(robust, traits)),
    )  # fmt: skip


def _findings(robust: dict[str, Share], traits: Traits | None) -> list[Finding]:
    found = [
        Finding(code="upper-bound", severity="info", text="robust accuracy under these attacks is an upper bound; "
                "stronger attacks can only lower it")
    ]  # fmt: skip
    one, many = robust.get("fgsm"), robust.get("pgd") or robust.get("own-pgd")
    if one is not None and many is not None and one.value + 0.01 < many.value:
        found.append(
            Finding(code="one-step-stronger", severity="warning", text=f"one step (FGSM, {one.value:.1%}) beats many "
                    f"(PGD, {many.value:.1%}): a sign of masked gradients, these numbers are not reliable")
        )  # fmt: skip
    if traits is not None and traits.stochastic == "always":
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
