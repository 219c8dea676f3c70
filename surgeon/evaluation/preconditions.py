"""What must hold before attacks begin: sources that fit, images that an attack can work on, a model that is the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from surgeon.errors import ArtifactError, DataError, SurgeonError
from surgeon.evaluation.admission import FEW, first_scores
from surgeon.evaluation.quiet import held_still
from surgeon.evaluation.scoring import check_model, score
from surgeon.evaluation.threat import Attack
from surgeon.evaluation.verdict import Verdict

SAID = 64
"""Images that a model is known by."""
DRIFT = 1e-2
"""How far, relative to 1 + its size, a margin may be from what another machine, or another batch size, gave."""
RANDOM_DRIFT = 0.5
"""Likewise of the mean logits of a random model, whose draws follow the batch size."""


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
    """Raise ArtifactError if a model says of the first block something else than its verdicts `known`, kept in `where`."""
    with held_still(model, seed):
        said = score(model, images[:SAID], labels[:SAID], draws=draws, seed=seed, batch_size=SAID)
    before = torch.tensor([v.margin for v in known[:SAID]])
    allowed = (DRIFT if draws == 1 else RANDOM_DRIFT) * (1 + before.abs())
    far = int(((said.margin[: len(before)] - before).abs() > allowed).sum())
    if far:
        raise ArtifactError(
            f"{where} holds an evaluation of a model with these weights, and this one says something else of {far} of "
            f"the first {len(before)} images; choose another folder"
        )


def check_sources(sources: Mapping[str, nn.Module], images: Tensor, labels: Tensor, classes: int) -> None:
    """Raise DataError unless every source takes the images and has the model's classes."""
    for name, source in sources.items():
        try:
            check_model(source)
            found = first_scores(source, images[:FEW], labels[:FEW]).classes
        except DataError as error:
            raise DataError(f"source {name} cannot be attacked on these images: {error}") from None
        if found != classes:
            raise DataError(
                f"source {name} has {found} classes, the model {classes}: attacks do not transfer between them"
            )


def check_square(attacks: Sequence[Attack], images: Tensor) -> None:
    """Raise SurgeonError where torchattacks' Square cannot work: its windows in L2 need square images, of 8 pixels."""
    h, w = images.shape[-2:]
    if (h != w or h < 8) and any(a.kind == "square" and a.norm == "l2" for a in attacks):
        raise SurgeonError(
            f"square in l2 needs square images of 8 pixels or more, not {h}x{w}: resize them (--input-size)"
        )
