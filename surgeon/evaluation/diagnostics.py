"""Diagnostics: cheap checks that say when attacks' numbers cannot be believed (Carlini et al. 2019; Athalye et al. 2018)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from surgeon.evaluation.assessment import Check, Diagnosis
from surgeon.evaluation.attacked import Attacked
from surgeon.evaluation.attacks import run_attack
from surgeon.evaluation.normalized import check_images
from surgeon.evaluation.pgd import LOSSES, margin
from surgeon.evaluation.quiet import held_still
from surgeon.evaluation.scoring import check_labels, check_model, device_of, score
from surgeon.evaluation.threat import Attack, Norm
from surgeon.numerals import percent

IMAGES = 128
SCALES = (0.5, 1.0, 2.0, 4.0, 8.0)
UNBOUNDED = 0.5
EOT, DRAWS = 5, 9
"""Of a random model: passes that a gradient is the mean of, and draws that a prediction is the majority of."""
RANDOM = 1e-4
"""Relative difference of the logits of two passes, above which a model is random."""
_FINITE = 0.01
"""Length of the step of finite differences, L2 in pixels."""


def diagnose(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    eps: float,
    norm: Norm = "linf",
    sources: Mapping[str, nn.Module] | None = None,
    seed: int = 0,
    batch_size: int | None = None,
) -> Diagnosis:
    """Whether attacks on a model can be believed, on a few images: 40 to 128, of which the right ones are attacked.

    model: takes pixels in [0, 1] (see Normalized). images: (N, C, H, W) float32 in [0, 1]. labels: (N,). sources: other
    models, whose adversarial images must not be stronger than this model's own.

    Raises DataError for images, labels or a model that do not fit.
    """
    images, labels = images.cpu(), labels.cpu()
    check_images(images)
    check_labels(images, labels)
    check_model(model)
    device = device_of(model)
    subject = Attacked(model, batch_size)
    with held_still(subject, seed):
        said = score(subject, images, labels)
        right = said.prediction == labels
        if not bool(right.any()):
            nothing = Check(
                code="nothing-right", measured={"clean accuracy": 0.0}, rule="no image is right as it is", failed=True,
                reason=f"the model gets none of the {len(images)} images right: there is nothing to attack",
            )  # fmt: skip
            return Diagnosis(norm=norm, eps=eps, images=len(images), random=False, checks=(nothing,))
        x, y = images[right].to(device), labels[right].to(device)
        random = two_passes(subject, x)
        asked = _Asked(subject, x, y, len(images), norm, eps, seed, said.classes, random > RANDOM)
        checks = [
            Check(
                code="two-passes", measured={"relative difference": random}, rule=f"> {RANDOM:g}", failed=random > RANDOM,
                reason="two passes over the same images differ: the model is random, and attacks without expectation over "
                "its noise, and single draws, overstate it",
            ),
            _zero_gradients(subject, x, y),
            _finite_differences(subject, x, y),
            *_attacked(asked, float(right.float().mean())),
            *_transferred(asked, sources or {}),
        ]  # fmt: skip
    return Diagnosis(norm=norm, eps=eps, images=len(images), random=random > RANDOM, checks=tuple(checks))


def two_passes(model: nn.Module, images: Tensor) -> float:
    """How far the logits of two forward passes over the same images differ, relative to their size."""
    with torch.no_grad():
        one, two = model(images), model(images)
    return float((one - two).norm() / one.norm().clamp_min(1e-12))


class _Asked:
    """Accuracy under an attack on the images that the model gets right, as a share of all.

    Of a random model gradients are means over EOT passes, no lucky draw ends a search, and accuracy is by majority.
    """

    def __init__(
        self, model: nn.Module, x: Tensor, y: Tensor, count: int, norm: Norm, eps: float, seed: int, classes: int,
        random: bool,
    ) -> None:  # fmt: skip
        self.model, self.x, self.y, self.count = model, x, y, count
        self.norm, self.eps, self.seed, self.classes = norm, eps, seed, classes
        self.draws = DRAWS if random else 1
        self.how = {"eot": EOT, "early_stop": False} if random else {}

    def accuracy(self, kind: str, *, on: nn.Module | None = None, **settings: object) -> float:
        """Of the model, under an attack of this kind on it, or on another model."""
        how = self.how if kind in ("own-pgd", "apgd") else {}
        given = {"name": kind, "kind": kind, "norm": self.norm, "eps": self.eps, **how, **settings}
        attack = Attack.model_validate(given)
        found = run_attack(attack, on or self.model, self.x, self.y, seed=self.seed, classes=self.classes)
        said = score(self.model, found, self.y, draws=self.draws, seed=self.seed + 1)
        return float((said.prediction == self.y.cpu()).sum()) / self.count

    def pgd(self, steps: int = 20, **settings: object) -> float:
        """Under our PGD."""
        return self.accuracy("own-pgd", steps=steps, **settings)

    @property
    def one(self) -> float:
        """The share that one image is, and a bit of rounding."""
        return 1 / self.count + 1e-9


def _zero_gradients(model: nn.Module, x: Tensor, y: Tensor) -> Check:
    shares = {}
    for name in ("ce", "margin"):
        gradient = _gradient(model, x, y, LOSSES[name])
        shares[name] = float((gradient.flatten(1).abs().amax(1) == 0).float().mean())
    return Check(
        code="zero-gradients", measured=shares, rule="more than 1 % of the images", failed=max(shares.values()) > 0.01,
        reason="the loss has no gradient at many images: attacks that follow it stand still",
    )  # fmt: skip


def _finite_differences(model: nn.Module, x: Tensor, y: Tensor) -> Check:
    """The margin along its gradient: what it really changes by, against what the gradient promises."""
    gradient = _gradient(model, x, y, margin)
    length = gradient.flatten(1).norm(dim=1)
    way = gradient / length.clamp_min(1e-30).view(-1, 1, 1, 1)
    with torch.no_grad():
        ahead, behind = (margin(model((x + s * _FINITE * way).clamp(0, 1)), y) for s in (1, -1))
        # clamping at 0 and 1 shortens the step; compare with the gradient along what is left of it
        left = ((x + _FINITE * way).clamp(0, 1) - (x - _FINITE * way).clamp(0, 1)).flatten(1)
        promised = (gradient.flatten(1) * left).sum(1)
    ratio = torch.where(
        promised > 0, (ahead - behind) / promised.clamp_min(1e-30), torch.zeros_like(promised)
    )
    value = float(ratio.median())
    return Check(
        code="finite-differences", measured={"median ratio": value}, rule="outside 0.5 to 1.5",
        failed=not 0.5 <= value <= 1.5, reason="gradients are not the slopes of the function: something hides them",
    )  # fmt: skip


def _gradient(model: nn.Module, x: Tensor, y: Tensor, loss: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    x = x.detach().requires_grad_(True)
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(loss(model(x), y).sum(), x, allow_unused=True)
    return torch.zeros_like(x) if gradient is None else gradient


def _attacked(asked: _Asked, clean: float) -> list[Check]:
    one, eps = asked.one, asked.eps
    curve = [asked.pgd(eps=eps * s) for s in SCALES]
    rises = [b - a for a, b in zip(curve, curve[1:], strict=False)]
    wide = UNBOUNDED if asked.norm == "linf" else UNBOUNDED * asked.x[0].numel() ** 0.5
    unbounded = asked.pgd(50, eps=wide)
    short, long, restarts = asked.pgd(10), asked.pgd(50), asked.pgd(10, restarts=3)
    gain = short - min(long, restarts)
    few = asked.classes < 3
    sharp = asked.pgd(loss="margin") if few else asked.accuracy("apgd", steps=20, loss="dlr")
    entropy = asked.accuracy("apgd", steps=20)
    black = asked.accuracy("square", steps=200, loss="margin")
    found = [
        Check(
            code="eps-curve", measured={f"{s:g} ε": a for s, a in zip(SCALES, curve, strict=True)},
            rule="rises by more than an image", failed=max(rises) > one, reason="larger perturbations raise accuracy",
        ),
        Check(
            code="unbounded", measured={"accuracy": unbounded}, rule="above 0 where images may become anything",
            failed=unbounded > 0, reason="attacks fail even where images may become anything",
        ),
        Check(
            code="budget", measured={"10 steps": short, "50 steps": long, "3 restarts": restarts}, rule="never; advises",
            failed=False, advice=f"a larger budget still gains {percent(gain)}" if gain > 0.01 else "",
        ),
        Check(
            code="black-box", measured={"Square 200": black, "pgd-margin" if few else "APGD-DLR 20": sharp},
            rule="black-box lower by more than an image", failed=black < sharp - one,
            reason="an attack without gradients is stronger than one with them",
        ),
        Check(
            code="losses", measured={"APGD-CE": entropy, "pgd-margin" if few else "APGD-DLR": sharp},
            rule="differ by more than 5 points and an image", failed=abs(entropy - sharp) > 0.05 + one,
            reason="two losses disagree: one of them has no usable gradient",
        ),
    ]  # fmt: skip
    if asked.norm == "linf" and eps > 0:
        noise, white = asked.accuracy("random-sign"), min(short, long, sharp, entropy)
        found.append(
            Check(
                code="random-sign", measured={"noise": noise, "white-box": white}, rule="noise as strong as white-box attacks",
                failed=noise < white or (noise <= white and white < clean - one),
                reason="random signs are as strong as attacks that follow gradients",
            )
        )  # fmt: skip
    return found


def _transferred(asked: _Asked, sources: Mapping[str, nn.Module]) -> list[Check]:
    found = []
    for name, source in sources.items():
        with held_still(source):
            there = asked.pgd(50, on=source, early_stop=False)
        white = min(asked.pgd(50), asked.accuracy("apgd", steps=20))
        found.append(
            Check(
                code=f"transfer from {name}", measured={"transfer": there, "white-box": white},
                rule="transfer lower by more than an image", failed=there < white - asked.one,
                reason="images made for another model are stronger than those made for this one",
            )
        )  # fmt: skip
    return found
