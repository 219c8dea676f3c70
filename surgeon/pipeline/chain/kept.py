"""Check stored adversarial images: inside their ball, and still matching their verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from surgeon.data import HeldOut
from surgeon.disk.files import read_parquet
from surgeon.errors import ArtifactError, VerificationError
from surgeon.evaluation.attacks.preconditions import DRIFT
from surgeon.evaluation.engine.scoring import check_adversarial, score
from surgeon.evaluation.engine.store import BLOCKS, IMAGES, read_outcome
from surgeon.evaluation.parts import ATTACKS
from surgeon.models.quiet import held_still
from surgeon.pipeline.chain.checking import Misfit, Unknown, some
from surgeon.results.threat import Attack

FOLDER = f"{ATTACKS}/{IMAGES}"


def check_kept(folder: Path, subject: nn.Module, test: HeldOut, *, random: bool) -> str:
    """Check every stored adversarial image against its ball and, unless the model is random, its verdict.

    Args:
        folder: the evaluation's folder.
        subject: the attacked network.
        test: the test images.
        random: whether the model is random.

    Raises:
        Misfit: an image is missing or does not match; the message names attack and image.
        Unknown: the images, or the blocks that they are of, are no longer there.
    """
    attacked = _attacked(folder)
    outcome = read_outcome(folder / ATTACKS)
    said = {(v.attack, v.source, v.norm, v.eps, v.seed, v.example): v for v in outcome.verdicts}
    place, count = {e: i for i, e in enumerate(test.examples)}, 0
    for path in sorted((folder / FOLDER).glob("*.safetensors")):
        attack = outcome.attacks[int(path.name[:3])]
        tensors, names = _read(path)
        if names != attacked.get(path.stem):
            raise Misfit(
                f"{path.name}: has the images {some(map(str, names))}, which are not those of its block"
            )
        rows = [place[e] for e in names]
        try:
            check_adversarial(tensors, test.x[rows], attack)
        except VerificationError as error:
            raise Misfit(f"{path.name}: {error}") from None
        if not random:
            _check_verdicts(path.name, subject, tensors, test.y[rows], attack, names, said)
        count += len(names)
    return f"{count} images in their balls" + ("" if random else ", with the verdicts that they have")


def _attacked(folder: Path) -> dict[str, list[int]]:
    """The examples of each block that has images: those that were attacked."""
    if not (folder / FOLDER).is_dir():
        raise Unknown(f"{FOLDER}/, where they were stored, is no longer there")
    blocks = {p.stem: read_parquet(p) for p in sorted((folder / ATTACKS / BLOCKS).glob("*.parquet"))}
    examples = {name: [int(r["example"]) for r in rows] for name, rows in blocks.items() if rows}
    missing = [f"{n}.safetensors" for n in examples if not (folder / FOLDER / f"{n}.safetensors").is_file()]
    if missing:
        raise Misfit(f"missing in {FOLDER}/: {some(missing)}")
    return examples


def _read(path: Path) -> tuple[Tensor, list[int]]:
    try:
        with safe_open(path, "pt") as file:
            return file.get_tensor("images"), [int(i) for i in file.metadata()["examples"].split(",") if i]
    except Exception as error:  # safetensors raises its own class
        raise ArtifactError(f"{path.name} cannot be read: {error}") from None


def _check_verdicts(
    name: str,
    subject: nn.Module,
    adversarial: Tensor,
    labels: Tensor,
    attack: Attack,
    names: list[int],
    said: Mapping[Any, Any],
) -> None:
    with held_still(subject), torch.no_grad():
        margin = score(subject, adversarial, labels).margin.tolist()
    for example, value in zip(names, margin, strict=True):
        verdict = said[attack.name, attack.source, attack.norm, attack.eps, attack.seed, example]
        # At the border itself, rounding differs between machines.
        if (value < 0) != verdict.success and abs(value) > DRIFT:
            turned = "turned" if verdict.success else "not turned"
            raise Misfit(
                f"{name}: image {example} is {turned} by its verdict, and the network says otherwise"
            )
