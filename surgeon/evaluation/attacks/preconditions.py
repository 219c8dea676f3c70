"""Conditions that must hold before attacks begin: sources that fit, suitable images, an unchanged model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from surgeon.errors import ArgumentError, ArtifactError, AttackError, DataError, either
from surgeon.evaluation.engine.admission import FEW, first_scores, tell_of_normalisation
from surgeon.evaluation.engine.scoring import check_model, score
from surgeon.images import times
from surgeon.models.quiet import held_still
from surgeon.results.threat import Attack
from surgeon.results.verdict import Verdict

SAID = 64
"""Number of images whose predictions identify a model."""
DRIFT = 1e-2
"""Largest difference of a margin, relative to 1 + its size, that another machine or batch size may cause."""
RANDOM_DRIFT = 0.5
"""The same for the mean logits of a random model, whose draws depend on the batch size."""


def check_said(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    known: Sequence[Verdict],
    *,
    draws: int,
    seed: int,
    where: Path,
) -> None:
    """Check that a model still gives the stored predictions on the first images.

    Args:
        model: The attacked model, of [0, 1] pixels.
        images: (N, C, H, W) in [0, 1].
        labels: (N,) class indices.
        known: Stored verdicts on the clean images.
        draws: Predictions per image.
        seed: Seed of the draws.
        where: Folder of the stored verdicts, for the message.

    Raises:
        ArtifactError: The predictions differ.
    """
    with held_still(model, seed):
        scores = score(model, images[:SAID], labels[:SAID], draws=draws, seed=seed, batch_size=SAID)
    before = torch.tensor([v.margin for v in known[:SAID]])
    allowed = (DRIFT if draws == 1 else RANDOM_DRIFT) * (1 + before.abs())
    far = int(((scores.margin[: len(before)] - before).abs() > allowed).sum())
    if far:
        raise ArtifactError(
            f"{where} holds an evaluation of a model with these weights, and this one decides otherwise on {far} of "
            f"the first {len(before)} images; choose another folder"
        )


def check_sources(sources: Mapping[str, nn.Module], images: Tensor, labels: Tensor, classes: int) -> None:
    """Check that every source accepts the images and has the model's classes.

    Args:
        sources: Models by name.
        images: (N, C, H, W) in [0, 1].
        labels: (N,) class indices.
        classes: Number of the attacked model's classes.

    Raises:
        DataError: A source does not.

    Warns:
        CalibrationWarning: A source's images are not normalised as its configuration says.
    """
    for name, source in sources.items():
        try:
            check_model(source)
            tell_of_normalisation(source, images)
            predicted = first_scores(source, images[:FEW], labels[:FEW]).classes
        except DataError as error:
            raise DataError(f"source {name} cannot be attacked on these images: {error}") from None
        if predicted != classes:
            raise DataError(
                f"source {name} has {predicted} classes, the model {classes}: attacks do not transfer between them"
            )


def check_reach(norm: str, eps: float | None, images: Tensor) -> None:
    """Check that a size is at most the largest distance of two images of [0, 1] pixels: √(C·H·W) in L2, C·H·W in L1.

    Args:
        norm: "linf", "l2" or "l1"; Linf is not checked.
        eps: Size in [0, 1] pixels; None for an unbounded attack.
        images: (N, C, H, W).

    Raises:
        ArgumentError: The size is larger.
    """
    farthest = {"l2": math.sqrt(images[0].numel()), "l1": float(images[0].numel())}.get(norm, math.inf)
    if eps is not None and eps > farthest:
        raise ArgumentError(
            f"eps={eps:g} in {norm} is more than pixels can change: no two images of "
            f"{times(images.shape[1:])} pixels in [0, 1] are "
            f"farther apart than {farthest:.4g}; where {eps:g} of 255 levels are meant, write {eps:g}/255"
        )


def check_needs(attacks: Sequence[Attack], images: Tensor, classes: int) -> None:
    """Check that the model and the images meet the requirements of each attack.

    Args:
        attacks: The attacks.
        images: (N, C, H, W).
        classes: Number of the model's classes.

    Raises:
        AttackError: An attack needs more classes, or other images.
    """
    h, w = images.shape[-2:]
    for attack in attacks:
        needs, what = attack.needs, _told(attack)
        if classes < needs.classes:
            raise AttackError(
                f"{what} needs a model of {needs.classes} classes or more, this one has {classes}: use {needs.instead}"
            )
        if needs.side is not None and (h != w or h < needs.side):
            raise AttackError(
                f"{what} needs square images of {needs.side} pixels or more, not {h}x{w}: resize them "
                f"({either('input_size', '--input-size')}), or use {needs.instead}"
            )


def _told(attack: Attack) -> str:
    """An attack by its kind and loss, which determine its needs, and by its name if that is different."""
    text = {"apgdt": "apgdt", "square": f"square in {attack.norm}"}.get(
        attack.kind, f"{attack.kind} with the loss {attack.loss}"
    )
    return text if attack.name in text else f"{attack.name} ({text})"
