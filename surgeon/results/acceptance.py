"""Whether RobustBench would take a network, by its three rules, and what AutoAttack would warn of. No torch here.

RobustBench accepts "only defenses that are (1) have in general non-zero gradients wrt the inputs, (2) have a
fully deterministic forward pass (i.e. no randomness) that (3) does not have an optimization loop"
(github.com/RobustBench/robustbench, README). Beside them stands what AutoAttack flags, where RobustBench asks for
adaptive evaluations, and whether the whole test set was attacked.
"""

from __future__ import annotations

from typing import NamedTuple

from surgeon.numerals import percent
from surgeon.results.assessment import Assessment
from surgeon.results.benchmark import autoattack
from surgeon.results.flags import PASSES, SQUARE, Flags

_STRAY = 0.01
"""Share of images that may have no gradient: "in general non-zero"."""


class Rule(NamedTuple):
    """One rule, and whether the network keeps it; None where that was not measured."""

    rule: str
    kept: bool | None
    because: str

    @property
    def text(self) -> str:
        """The rule as a sentence: `would be accepted, because …`."""
        if self.kept is None:
            return f"{self.rule}: not known, because {self.because}"
        return f"{self.rule}: would {'' if self.kept else 'not '}be accepted, because {self.because}"


def acceptance(assessment: Assessment) -> tuple[Rule, ...]:
    """Decide RobustBench's rules from what was measured and from the record of the surgery.

    Args:
        assessment: The evaluation.

    Returns:
        Its three rules, AutoAttack's warnings, and the size of the test set, in this order.
    """
    flags = assessment.flags
    if flags is None:
        unmeasured = "no diagnostics were made (--set diagnostics=128)"
        names = (
            "non-zero gradients",
            "deterministic forward pass",
            "no optimization loop",
            "AutoAttack's flags",
        )
        return (*(Rule(n, None, unmeasured) for n in names), _whole(assessment))
    return (
        _gradients(flags),
        _deterministic(assessment, flags),
        _loop(flags),
        _warned(assessment, flags),
        _whole(assessment),
    )


def _gradients(flags: Flags) -> Rule:
    share = flags.zero_gradients / flags.started if flags.started else 0.0
    if not flags.started:
        return Rule("non-zero gradients", None, "no image is right as it is")
    return Rule(
        "non-zero gradients",
        share <= _STRAY,
        f"the DLR loss has no gradient at {flags.zero_gradients} of {flags.started} starting points",
    )


def _deterministic(assessment: Assessment, flags: Flags) -> Rule:
    said = assessment.plan is not None and assessment.plan.traits.stochastic == "always"
    measured = f"{PASSES} passes over {flags.images} images differ by at most {flags.difference:.1g}"
    if said and not flags.randomized:
        return Rule(
            "deterministic forward pass", False, f"its surgery draws at inference, although {measured}"
        )
    if flags.randomized and not said:
        right = ", and in how many are right" if flags.changed else ""
        return Rule("deterministic forward pass", False, f"{measured}{right}")
    because = f"its surgery draws at inference, and {measured}" if said else measured
    return Rule("deterministic forward pass", not said, because)


def _loop(flags: Flags) -> Rule:
    if flags.dynamic:
        return Rule(
            "no optimization loop",
            False,
            f"a forward pass computes gradients (it called {', '.join(flags.asked)})",
        )
    return Rule(
        "no optimization loop",
        True,
        "no forward pass computes gradients; a loop without gradients, such as a search, would not be seen",
    )


def _warned(assessment: Assessment, flags: Flags) -> Rule:
    warned = []
    if flags.probabilities:
        warned.append("the outputs are probabilities")
    if flags.classes <= 3:
        warned.append(f"{flags.classes} classes are too few for the targeted DLR loss")
    known = autoattack(assessment)
    if known is not None and known.before_square - known.share.value > SQUARE:
        gain = percent(known.before_square - known.share.value)
        warned.append(f"Square lowers the accuracy by {gain} more than the attacks with gradients do")
    if flags.randomized:
        warned.append("it is randomised")
    if flags.dynamic:
        warned.append("it optimises at inference")
    if flags.zero_gradients:
        warned.append(f"{flags.zero_gradients} points have no gradient")
    if warned:
        return Rule("AutoAttack's flags", False, f"AutoAttack warns: {'; '.join(warned)}")
    square = "" if known else "; Square was not compared, as AutoAttack was not run"
    return Rule("AutoAttack's flags", True, f"AutoAttack warns of nothing{square}")


def _whole(assessment: Assessment) -> Rule:
    known, why = autoattack(assessment), assessment.benchmark_lacks
    if why or known is None:
        return Rule("the whole test set", False, "; ".join(why) or "AutoAttack was not run")
    return Rule("the whole test set", True, f"AutoAttack was run on all {known.share.n:,} images")
