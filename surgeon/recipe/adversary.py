"""The attack that adversarial training trains on, as data."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from surgeon.quantities import Size, WithinPixels
from surgeon.recipe.limits import LARGEST
from surgeon.strict import Strict

PAIRED = ("trades", "mart")
"""Methods whose loss is of each image clean and attacked."""
STEPWISE = ("pgd", *PAIRED)
"""Methods of several steps; the others take one."""


class Adversary(WithinPixels, Strict):
    """Adversarial training: the attack that each batch is trained on. ε and step sizes are in [0, 1] pixels.

    `pgd` is Madry et al. 2018, with early stopping as in Rice et al. 2020 by `keep: best`; `fgsm` is
    Goodfellow et al. 2015; `fgsm-rs` Wong et al. 2020 (one step from a random start); `n-fgsm` de Jorge et al.
    2022 (one step from noise of k ε, and nothing is clipped to the ball); `trades` Zhang et al. 2019; `mart`
    Wang et al. 2020.

    Attributes:
        method: The attack.
        norm: The norm that bounds it.
        eps: Its bound ε, above 0.
        steps: Number of steps, of pgd, trades and mart. Default: 10.
        step_size: Size of a step. Default: 1.25 ε for fgsm-rs, ε for fgsm and n-fgsm, otherwise 2.5 ε / steps.
        beta: Weight of the second term of TRADES (1/λ), above 0, and MART (λ); MART at 0 has its boosted
            cross-entropy on attacked images alone. Default: 6.
        noise: k of n-fgsm, the random start's bound in units of ε. Default: 2.
        clean_share: Share of each batch that is left clean.
    """

    method: Literal["fgsm", "fgsm-rs", "n-fgsm", "pgd", "trades", "mart"] = "pgd"
    norm: Literal["linf", "l2"] = "linf"
    eps: Size = Field(default=8 / 255, ge=0)
    steps: int | None = Field(default=None, ge=1, description="of pgd, trades and mart, by default 10")
    step_size: Size | None = Field(
        default=None,
        gt=0,
        description="by default 1.25 eps for fgsm-rs, eps for fgsm and n-fgsm, else 2.5 eps / steps",
    )
    beta: float | None = Field(
        default=None, ge=0, le=LARGEST, description="weight of TRADES' and MART's second term, by default 6"
    )
    noise: float | None = Field(
        default=None,
        ge=0,
        le=LARGEST,
        description="k of n-fgsm, the random start in units of eps; by default 2",
    )
    clean_share: float = Field(default=0.0, ge=0, lt=1, description="share of each batch that is left clean")

    @property
    def number(self) -> int:
        """How many steps the method takes."""
        return (10 if self.steps is None else self.steps) if self.method in STEPWISE else 1

    @model_validator(mode="after")
    def _attacks(self) -> Adversary:
        if self.eps == 0:
            raise ValueError(
                "eps=0 attacks nothing, and the training would be a plain one: give a size such as 8/255, or "
                "adversary=null"
            )
        if self.beta == 0 and self.method == "trades":
            raise ValueError(
                "beta=0 and method='trades', whose loss is then that of clean images alone, a plain training: give "
                "beta above 0, or adversary=null"
            )
        return self

    @model_validator(mode="after")
    def _of_one_method(self) -> Adversary:
        if (self.steps or 1) > 1 and self.method not in STEPWISE:
            raise ValueError(
                f"steps={self.steps} and method={self.method!r}, which takes one step: set steps=null, or method=pgd"
            )
        if self.beta is not None and self.method not in PAIRED:
            raise ValueError(
                f"beta={self.beta:g} and method={self.method!r}, whose loss has no second term: trades and mart "
                "take beta; set beta=null"
            )
        if self.noise is not None and self.method != "n-fgsm":
            raise ValueError(
                f"noise={self.noise:g} and method={self.method!r}: n-fgsm takes noise; set noise=null"
            )
        if self.clean_share and self.method in PAIRED:
            raise ValueError(
                f"clean_share={self.clean_share:g} and method={self.method!r}, which takes every image clean and "
                "attacked: set clean_share=0"
            )
        return self
