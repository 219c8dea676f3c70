"""How a network is trained, as data: the settings of a training, and the attack that it trains on."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from surgeon.quantities import Quantity, WithinPixels
from surgeon.strict import Strict

LARGEST = 1e6
"""The largest rate, decay or weight of a training: float32 overflows in products with larger ones."""


class Adversary(WithinPixels, Strict):
    """Adversarial training: the attack that each batch is trained on. ε and step sizes are in [0, 1] pixels.

    `pgd` is Madry et al. 2018, with early stopping as in Rice et al. 2020 by `keep: best`; `fgsm` is
    Goodfellow et al. 2015; `fgsm-rs` Wong et al. 2020 (one step from a random start); `trades` Zhang et al.
    2019.

    Attributes:
        method: The attack.
        norm: The norm that bounds it.
        eps: Its bound ε.
        steps: Number of steps, of pgd and trades.
        step_size: Size of a step. Default: 1.25 ε for fgsm-rs, ε for fgsm, otherwise 2.5 ε / steps.
        beta: Weight of the second term of TRADES.
        clean_share: Share of each batch that is left clean.
    """

    method: Literal["fgsm", "fgsm-rs", "pgd", "trades"] = "pgd"
    norm: Literal["linf", "l2"] = "linf"
    eps: Quantity = Field(default=8 / 255, ge=0)
    steps: int = Field(default=10, ge=1, description="of pgd and trades")
    step_size: Quantity | None = Field(
        default=None, gt=0, description="by default 1.25 eps for fgsm-rs, eps for fgsm, else 2.5 eps / steps"
    )
    beta: float = Field(default=6.0, ge=0, le=LARGEST, description="weight of TRADES' second term")
    clean_share: float = Field(default=0.0, ge=0, lt=1, description="share of each batch that is left clean")


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
    weight_decay: float = Field(default=5e-4, ge=0, le=LARGEST)
    schedule: str = Field(
        default="cosine",
        description="cosine, linear, step, multistep, plateau, constant, or another of timm.scheduler",
    )
    warmup_epochs: float = Field(
        default=0, ge=0, le=LARGEST, description="epochs in which the learning rate rises from 0"
    )
    clip_grad: float | None = Field(default=None, gt=0)
    ema: float | None = Field(
        default=None, gt=0, lt=1, description="decay of a moving average of the weights, which replaces them"
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
        default=0.5, ge=0, le=1, description="share of the epochs with noise layers on"
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
                f"epochs={self.epochs}: the full rate is never reached"
            )
        if self.accumulate > self.batch_size:
            raise ValueError(
                f"accumulate={self.accumulate} is larger than batch_size={self.batch_size}: "
                "some micro-batches would be empty"
            )
        return self
