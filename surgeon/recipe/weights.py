"""What a training does to weights beside its steps, as data: worst-case perturbations, and an equal average."""

from __future__ import annotations

from pydantic import Field

from surgeon.recipe.limits import LARGEST
from surgeon.strict import Strict


class WeightPerturbation(Strict):
    """Adversarial weight perturbation (Wu et al. 2020): each step's gradient is taken at the worst weights nearby.

    Attributes:
        gamma: γ, the size of a layer's perturbation in units of the norm of its weights.
        warmup_epochs: First epochs without it.
    """

    gamma: float = Field(default=0.005, gt=0, le=1, description="size, in units of each layer's norm")
    warmup_epochs: int = Field(default=0, ge=0, description="first epochs without it")


class WeightAverage(Strict):
    """Stochastic weight averaging (Izmailov et al. 2018): the mean of the weights that the last epochs end with.

    Attributes:
        start: Share of the epochs after which averaging begins.
        lr: A constant learning rate from there on. Default: that of the schedule.
    """

    start: float = Field(
        default=0.75, ge=0, lt=1, description="share of the epochs after which averaging begins"
    )
    lr: float | None = Field(
        default=None, gt=0, le=LARGEST, description="constant rate from there on; by default the schedule's"
    )
