"""How a network is attacked, as data."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, ValidationInfo, WithJsonSchema, field_validator, model_validator

from surgeon.errors import nearest
from surgeon.methods.registry import papers
from surgeon.quantities import Deviation, Quantity, Size, Smoothing, WithinPixels, too_large
from surgeon.results.kinds import NORMS, Norm
from surgeon.results.named import NAMED, check_name, check_norm
from surgeon.results.threat import UNIFORM
from surgeon.strict import Strict, shown

_Name = Annotated[str, WithJsonSchema({"type": "string", "enum": list(NAMED)})]


class Sizes(Strict):
    """ε of each norm of the union, in [0, 1] pixels; null leaves a norm out."""

    linf: Annotated[Size, Field(gt=0)] | None = 8 / 255
    l2: Annotated[Size, Field(gt=0)] | None = 0.5
    l1: Annotated[Size, Field(gt=0)] | None = 12.0

    @field_validator("linf")
    @classmethod
    def _within(cls, value: float | None) -> float | None:
        if value is not None and value > 1:
            raise ValueError(too_large("linf", value, "of the union"))
        return value

    @model_validator(mode="after")
    def _several(self) -> Self:
        if len(self.each) < 2:
            raise ValueError("a union is of two norms or three; for one alone say norm and eps")
        return self

    @property
    def each(self) -> tuple[tuple[Norm, float], ...]:
        """(norm, ε) of each norm that is in it."""
        return tuple((norm, float(eps)) for norm in NORMS if (eps := getattr(self, norm)) is not None)


class Evaluation(WithinPixels, Strict):
    """How a network is attacked (`surgeon.evaluation.suites` reads it). ε and steps are in [0, 1] pixels."""

    suite: Literal["basic", "quick", "lean", "standard", "plus", "rand", "paper"] = Field(
        default="basic",
        description="basic: the attacks named below; the others have attacks of their own",
    )
    attacks: tuple[_Name, ...] = Field(
        default=("fgsm", "pgd"), min_length=1, description="names of attacks, each once; of the suite basic"
    )
    beside: tuple[_Name, ...] = Field(
        default=(),
        description="names of attacks that run beside those of a suite that has its own, each on all images that are "
        "right, so that each has a figure of its own",
    )
    norm: Literal["linf", "l2", "l1", "union"] | None = Field(
        default=None,
        description="by default linf; in the suite paper the paper's; in the union it stands in each norm",
    )
    eps: Size | None = Field(
        default=None,
        gt=0,
        description="by default 8/255 in linf, 0.5 in l2, 12 in l1; in the suite paper the paper's",
    )
    union: Sizes = Field(default=Sizes(), description="ε by norm, where norm is union")
    steps: int | None = Field(
        default=None, ge=1, description="of the attacks of the suite basic; by default each one's own number"
    )
    curve_eps: tuple[Annotated[Quantity, Field(ge=0)], ...] = Field(
        default=(),
        description="ε at which the curve of the minimum-norm attacks is told; by default multiples of the usual one",
    )
    samples: int | None = Field(
        default=None, ge=1, description="images of the test set; by default as the suite says, or all"
    )
    paper: str | None = Field(
        default=None,
        description="whose tables the suite paper follows; by default the one of the operations in the model",
    )
    mode: Literal["auto", "standard", "random"] = Field(
        default="auto",
        description="random: attacks on the expectation over a model's noise; auto asks the model",
    )
    adaptive: bool = Field(
        default=True,
        description="attack a cut network also by what the record of its surgery knows, and compare it with the "
        "network before the surgery",
    )
    adaptive_samples: int = Field(
        default=64, ge=1, description="images on which the strongest of the record's sources is found"
    )
    diagnostics: int | None = Field(
        default=None, ge=0, description="images for diagnostics; by default 128, and 0 in the suite basic"
    )
    beyond: bool | None = Field(
        default=None, description="noise, patch and corruption curves; by default in standard and paper"
    )
    gaussian: tuple[Deviation, ...] = Field(default=(0.05, 0.1, 0.15, 0.2, 0.3), description="σ of the curve")
    uniform: tuple[Annotated[Quantity, Field(ge=0)], ...] = Field(
        default=UNIFORM, description="upper bounds of the curve"
    )
    patches: tuple[PositiveInt, ...] = Field(
        default=(2, 4, 8), description="n: images are cut into n × n patches, which are shuffled"
    )
    shifts: tuple[str, ...] = Field(
        default=(),
        description="folders of published shifted sets: CIFAR-10-C, CIFAR-100-C, ImageNet-C, -A, -R, -Sketch, "
        "Stylized ImageNet, cue conflicts",
    )
    shift_samples: int | None = Field(
        default=None, ge=1, description="images of each part of a shifted set; by default all"
    )
    keep: bool | None = Field(
        default=None,
        description="store adversarial images, and test noise on them; by default in the suite paper",
    )
    certify: tuple[Smoothing, ...] = Field(default=(), description="σ of randomized smoothing, each once")
    certify_samples: int = Field(default=500, ge=1)
    certify_draws: int = Field(default=100_000, ge=1)
    pictures: bool | None = Field(default=None, description="by default in quick, standard and paper")

    @field_validator("attacks", "beside")
    @classmethod
    def _known(cls, value: tuple[str, ...], about: ValidationInfo) -> tuple[str, ...]:
        for name in value:
            try:
                check_name(name)
            except ValueError as error:
                raise ValueError(f"{about.field_name}: {error}") from None
        if len(set(value)) < len(value):
            raise ValueError(f"{about.field_name}={shown(list(value))} has a name twice")
        return value

    @field_validator("paper")
    @classmethod
    def _published(cls, value: str | None) -> str | None:
        if value is not None and value not in papers():
            raise ValueError(f"paper={shown(value)} is not a method's paper; {nearest(value, papers())}")
        return value

    @model_validator(mode="after")
    def _each_once(self) -> Evaluation:
        if len(set(self.certify)) < len(self.certify):
            raise ValueError(f"certify={self.certify} has a σ twice")
        for name in ("gaussian", "uniform", "patches"):
            points = getattr(self, name)
            if len(set(points)) < len(points):
                raise ValueError(f"{name}={list(points)} has a point twice")
        if len(set(self.shifts)) < len(self.shifts):
            raise ValueError(f"shifts={[*map(shown, self.shifts)]} has a folder twice")
        return self

    @model_validator(mode="after")
    def _norms_fit(self) -> Evaluation:
        if self.norm == "union":
            if self.eps is not None:
                raise ValueError(
                    f"eps={self.eps:g} is one size, and the union has several: set union.linf, union.l2 and union.l1"
                )
            if self.suite == "paper":
                raise ValueError("the suite paper has its paper's norm; norm=union needs another suite")
            return self
        for name in self.attacks if self.suite == "basic" else self.beside:
            if self.norm is not None or self.suite != "paper":  # whose norm is its paper's
                check_norm(name, self.norm or "linf")
        return self

    @model_validator(mode="after")
    def _beside_others(self) -> Evaluation:
        if self.beside and self.suite == "basic":
            raise ValueError(
                f"beside={shown(list(self.beside))} goes with a suite that has attacks of its own; "
                "basic runs those of the setting attacks"
            )
        return self
