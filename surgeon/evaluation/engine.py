"""The engine: attacks in fixed blocks, each result scored again by a forward pass of its own."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from surgeon.errors import DataError, VerificationError
from surgeon.evaluation import attacks
from surgeon.evaluation.normalized import check_images
from surgeon.evaluation.pgd import pgd as own_pgd
from surgeon.evaluation.quiet import held_still
from surgeon.recipe import Evaluation

BLOCK = 64
"""Images attacked together. Seeds go by block, so that nothing else about batches changes a verdict."""
SLACK = 1e-6


class Verdict(BaseModel):
    """One attack on one image. eps and distance are in units of [0, 1] pixels, in the attack's norm."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    example: int = Field(description="index into the images that were given")
    label: int
    clean: int = Field(description="prediction on the image as it is")
    attack: str = Field(description="'none' for an image that was misclassified before any attack")
    norm: Literal["linf", "l2"]
    eps: float
    seed: int
    success: bool = Field(description="whether the image is misclassified in the end")
    prediction: int
    distance: float


Attack = Callable[[nn.Module, Tensor, Tensor, Evaluation, torch.Generator], Tensor]


def _fgsm(model: nn.Module, x: Tensor, y: Tensor, s: Evaluation, generator: torch.Generator) -> Tensor:
    return attacks.fgsm(model, x, y, eps=s.eps, seed=generator.initial_seed())


def _pgd(model: nn.Module, x: Tensor, y: Tensor, s: Evaluation, generator: torch.Generator) -> Tensor:
    seed = generator.initial_seed()
    return attacks.pgd(model, x, y, eps=s.eps, steps=s.steps, norm=s.norm, seed=seed)


def _own_pgd(model: nn.Module, x: Tensor, y: Tensor, s: Evaluation, generator: torch.Generator) -> Tensor:
    return own_pgd(model, x, y, eps=s.eps, steps=s.steps, norm=s.norm, generator=generator)


ATTACKS: dict[str, Attack] = {"fgsm": _fgsm, "pgd": _pgd, "own-pgd": _own_pgd}


def evaluate(
    model: nn.Module, images: Tensor, labels: Tensor, settings: Evaluation | None = None, *, seed: int = 0
) -> tuple[Verdict, ...]:
    """A verdict for every image and attack.

    model: takes pixels in [0, 1] (see Normalized). images: (N, C, H, W) float32 in [0, 1]. labels: (N,).
    Images that are misclassified as they are are not attacked and count as misclassified.

    Raises DataError for images or labels that do not fit, and VerificationError for an adversarial image
    that is not finite, leaves [0, 1] or lies outside the ball: it is never counted as a success.
    """
    settings = settings or Evaluation()
    images, labels = images[: settings.samples], labels[: settings.samples]
    check_images(images)
    check_labels(images, labels)
    rows: list[Verdict] = []
    with held_still(model, seed):
        clean = predict(model, images)
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < clean.classes:
            raise DataError(
                f"labels run from {int(labels.min())} to {int(labels.max())}, the model has {clean.classes} classes"
            )
        right = (clean.labels == labels).nonzero().flatten().tolist()
        wrong = (clean.labels != labels).nonzero().flatten().tolist()
        for name in settings.attacks:
            kind: Literal["linf", "l2"] = "linf" if name == "fgsm" else settings.norm
            base = dict(attack=name, norm=kind, eps=settings.eps, seed=seed)
            for i in wrong:
                rows.append(Verdict(**{**base, "attack": "none"}, example=i, label=int(labels[i]), clean=int(clean.labels[i]), success=True, prediction=int(clean.labels[i]), distance=0.0))  # type: ignore[arg-type]  # fmt: skip
            for start in range(0, len(right), BLOCK):
                block = right[start : start + BLOCK]
                x, y = images[block], labels[block]
                stream = zlib.crc32(f"{seed}/{name}/{start}".encode())
                torch.manual_seed(stream)
                found = ATTACKS[name](model, x, y, settings, torch.Generator().manual_seed(stream)).detach()
                model.eval()
                distance = check_adversarial(found, x, settings.eps, kind, name)
                after = predict(model, found).labels
                for k, i in enumerate(block):
                    rows.append(Verdict(**base, example=i, label=int(y[k]), clean=int(clean.labels[i]), success=bool(after[k] != y[k]), prediction=int(after[k]), distance=float(distance[k])))  # type: ignore[arg-type]  # fmt: skip
    return tuple(rows)


def check_labels(images: Tensor, labels: Tensor) -> None:
    """Raise DataError unless `labels` are class indices (N,), one for each image."""
    if len(images) != len(labels):
        raise DataError(f"{len(images)} images have {len(labels)} labels")
    if labels.dim() != 1 or labels.dtype != torch.int64:
        raise DataError(f"labels are {labels.dtype} {tuple(labels.shape)}; give class indices (N,), int64")


class Prediction:
    """Predicted labels (N,) and the number of classes."""

    def __init__(self, labels: Tensor, classes: int) -> None:
        self.labels, self.classes = labels, classes


@torch.no_grad()
def predict(model: nn.Module, images: Tensor, batch_size: int = 256) -> Prediction:
    """What a model says of images, by batches. Raises DataError for logits that are not finite or not (N, K)."""
    found, classes = [], 0
    for part in images.split(batch_size):
        logits = model(part)
        if logits.dim() != 2 or not bool(torch.isfinite(logits).all()):
            raise DataError(
                f"the model gives {tuple(logits.shape)} with values that are no finite logits (N, classes)"
            )
        classes = logits.shape[1]
        found.append(logits.argmax(1))
    return Prediction(torch.cat(found) if found else torch.empty(0, dtype=torch.long), classes)


def check_adversarial(x: Tensor, images: Tensor, eps: float, norm: str, attack: str) -> Tensor:
    """(N,) distances of adversarial images; raises VerificationError where one is not what it may be."""
    if x.shape != images.shape or not bool(torch.isfinite(x).all()):
        raise VerificationError(f"{attack} gave images that are not finite or of another shape")
    delta = (x - images).flatten(1)
    distance = delta.abs().amax(1) if norm == "linf" else delta.norm(dim=1)
    if float(x.min()) < -SLACK or float(x.max()) > 1 + SLACK:
        raise VerificationError(
            f"{attack} left the range [0, 1]: [{float(x.min()):.4g}, {float(x.max()):.4g}]"
        )
    if float(distance.max()) > eps + SLACK + 1e-6 * eps:
        raise VerificationError(
            f"{attack} left the ball: {norm} distance {float(distance.max()):.6g} > ε {eps:.6g}"
        )
    return distance
