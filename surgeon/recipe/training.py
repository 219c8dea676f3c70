"""How a network is trained, as data. `adversary.py` and `weights.py` have two parts of it."""

from __future__ import annotations

import itertools
import math
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from surgeon.errors import either
from surgeon.recipe.adversary import Adversary
from surgeon.recipe.limits import LARGEST
from surgeon.recipe.weights import WeightAverage, WeightPerturbation
from surgeon.strict import Strict


class Training(Strict):
    """How `surgeon train` and `surgeon run` train the rewritten network."""

    epochs: int = Field(default=10, ge=0)
    batch_size: int = Field(
        default=128, ge=1, description="images per step, over all processes and micro-batches"
    )
    accumulate: int = Field(default=1, ge=1, description="micro-batches per process and step")
    optimizer: str = Field(default="sgd", description="a name of timm.optim, such as sgd (Nesterov) or adamw")
    lr: float = Field(default=0.05, gt=0, le=LARGEST)
    min_lr: float = Field(default=1e-3, ge=0, le=LARGEST)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], ...] | None = Field(
        default=None, description="of adam and its like; by default the optimizer's own"
    )
    weight_decay: float = Field(default=5e-4, ge=0, le=LARGEST)
    weight_decay_on: Literal["weights", "all"] = Field(
        default="weights",
        description="what decays; weights: all but biases, parameters of norms, and what the network excepts",
    )
    schedule: str = Field(
        default="cosine",
        description="cosine, linear, step, multistep, plateau, constant, or another of timm.scheduler",
    )
    milestones: tuple[Annotated[float, Field(gt=0, le=LARGEST)], ...] | None = Field(
        default=None,
        description="epochs after which multistep multiplies the rate by decay_rate, below 1 as shares of all; "
        "by default [0.5, 0.75]",
    )
    decay_epochs: float | None = Field(
        default=None, gt=0, le=LARGEST, description="of step, by default a third of the epochs"
    )
    decay_rate: float | None = Field(
        default=None, gt=0, lt=1, description="factor of step and multistep, by default 0.1"
    )
    warmup_epochs: float = Field(
        default=0, ge=0, le=LARGEST, description="epochs in which the learning rate rises from 0"
    )
    clip_grad: float | None = Field(default=None, gt=0)
    ema: float | None = Field(
        default=None, gt=0, lt=1, description="decay of a moving average of the weights, which replaces them"
    )
    swa: WeightAverage | None = Field(
        default=None, description="an equal average of the last epochs' weights, which replaces them"
    )
    update_norms: bool | None = Field(
        default=None,
        description="measure batch norms anew, on the training images, for averaged weights; by default with swa",
    )
    awp: WeightPerturbation | None = Field(
        default=None, description="adversarial weight perturbation, beside an adversary"
    )
    keep: Literal["last", "best"] = Field(
        default="last", description="the weights that the training ends with"
    )
    pad: int = Field(
        default=0, ge=0, description="pixels of zero padding before a random crop to the original size"
    )
    flip: bool = Field(default=False, description="mirror half of the images")
    transform: dict[str, Any] | None = Field(
        default=None,
        description="arguments of timm.data.create_transform, for images that are read one by one",
    )
    mixup: float = Field(default=0, ge=0, le=LARGEST, description="α of timm's mixup")
    cutmix: float = Field(default=0, ge=0, le=LARGEST, description="α of timm's cutmix")
    smoothing: float = Field(default=0, ge=0, lt=1, description="label smoothing")
    adversary: Adversary | None = None
    noise_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="share of the epochs with noise layers on; above 0 where there are some",
    )
    anneal_share: float = Field(default=0.5, ge=0, le=1, description="share of the steps that anneals take")
    exact: bool = Field(
        default=True, description="several processes give the result of one: noise and batch norms are shared"
    )
    channels_last: bool = False
    compile: bool = Field(default=False, description="torch.compile")

    @model_validator(mode="after")
    def _fits_together(self) -> Training:
        if "min_lr" in self.model_fields_set and self.min_lr > self.lr:
            raise ValueError(
                f"min_lr={self.min_lr:g} is above lr={self.lr:g}: the rate would rise; lower min_lr"
            )
        if 0 < self.epochs <= self.warmup_epochs:
            raise ValueError(
                f"warmup_epochs={self.warmup_epochs:g} leaves nothing of "
                f"epochs={self.epochs}: the full rate is never reached; give more epochs, or "
                + either(
                    "a smaller warmup_epochs", "--set training.warmup_epochs=0 or another smaller number"
                )
            )
        if self.accumulate > self.batch_size:
            raise ValueError(
                f"accumulate={self.accumulate} is larger than batch_size={self.batch_size}: "
                "some micro-batches would be empty"
            )
        return self

    @model_validator(mode="after")
    def _rates_fit_the_schedule(self) -> Training:
        for name, owner in (
            ("milestones", ("multistep",)),
            ("decay_epochs", ("step",)),
            ("decay_rate", ("step", "multistep")),
        ):
            if getattr(self, name) is not None and self.schedule not in owner:
                raise ValueError(
                    f"{name}={_said(getattr(self, name))} and schedule={self.schedule!r}: "
                    f"{' and '.join(owner)} {'take' if len(owner) > 1 else 'takes'} {name}"
                )
        if self.decay_epochs is not None and 0 < self.epochs <= self.decay_epochs:
            raise ValueError(
                f"decay_epochs={self.decay_epochs:g} and epochs={self.epochs}: the rate never falls; "
                "lower decay_epochs, or set schedule=constant"
            )
        if self.milestones is not None:
            at = self.milestones_in_epochs()
            if any(b <= a for a, b in itertools.pairwise((0.0, *at))):
                raise ValueError(
                    f"milestones={_said(self.milestones)} do not rise, over epochs={self.epochs}"
                )
            if self.epochs and at and at[-1] >= self.epochs:
                raise ValueError(
                    f"milestones={_said(self.milestones)} and epochs={self.epochs}: the last is never reached; "
                    "milestones below 1 are shares of the epochs"
                )
        given = [n for n in ("milestones", "decay_epochs", "decay_rate") if getattr(self, n) is not None]
        last = self.lowest_rate()
        if given and last < self.min_lr * (1 - 1e-9):
            raise ValueError(
                f"min_lr={self.min_lr:g} is above the rate that {given[0]}={_said(getattr(self, given[0]))} leads to, "
                f"{last:.3g}: set min_lr=0"
            )
        return self

    @model_validator(mode="after")
    def _weights_fit_together(self) -> Training:
        if self.ema is not None and self.swa is not None:
            raise ValueError(
                f"ema={self.ema:g} and swa are two averages of the weights: set one of them to null"
            )
        if self.update_norms is not None and self.ema is None and self.swa is None:
            raise ValueError(
                f"update_norms={str(self.update_norms).lower()} is of averaged weights: set ema or swa beside it"
            )
        if self.awp is not None and self.adversary is None:
            raise ValueError(
                "awp perturbs weights under attacked images, and adversary is null: set one, or awp=null"
            )
        if self.awp is not None and 0 < self.epochs <= self.awp.warmup_epochs:
            raise ValueError(
                f"awp.warmup_epochs={self.awp.warmup_epochs} and epochs={self.epochs}: no weights are ever perturbed"
            )
        mixed = [f"{n}={v:g}" for n in ("mixup", "cutmix", "smoothing") if (v := getattr(self, n))]
        if mixed and self.adversary is not None and self.adversary.method == "mart":
            raise ValueError(
                f"{mixed[0]} and adversary.method='mart', whose loss is of one true class an image: set one of them"
            )
        return self

    @property
    def factor(self) -> float:
        """What step and multistep multiply the rate by."""
        return 0.1 if self.decay_rate is None else self.decay_rate

    def milestones_in_epochs(self) -> tuple[float, ...]:
        """Return the milestones of multistep in epochs; those below 1 are shares of all epochs."""
        given = (0.5, 0.75) if self.milestones is None else self.milestones
        return tuple(round(m * max(self.epochs, 1), 2) if m < 1 else m for m in given)

    def lowest_rate(self) -> float:
        """Return the rate that step and multistep end with, before `min_lr`; for other schedules `lr`."""
        if self.schedule == "multistep":
            return self.lr * self.factor ** len(self.milestones_in_epochs())
        if self.schedule == "step":
            every = self.decay_epochs or max(1, round(self.epochs / 3))
            return self.lr * self.factor ** max(0, math.ceil(self.epochs / every) - 1)
        return self.lr


def _said(value: float | tuple[float, ...]) -> str:
    """Write numbers as people do, `[3, 5]` and not `(3.0, 5.0)`."""
    return f"[{', '.join(f'{v:g}' for v in value)}]" if isinstance(value, tuple) else f"{value:g}"
