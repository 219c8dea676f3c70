"""Adversarial images that an evaluation stored, put together again."""

from __future__ import annotations

from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from surgeon.errors import ArtifactError, DataError
from surgeon.evaluation.engine.store import IMAGES
from surgeon.host import in_own_state
from surgeon.results.threat import main_threat
from surgeon.results.verdict import Outcome


@in_own_state()
def adversarial_images(folder: str | Path, outcome: Outcome, images: Tensor) -> Tensor:
    """(N, C, H, W): for each image what turned it first, of the main threat, else the image as it is.

    folder: of the attacks' blocks. images: (N, C, H, W), in the order of the outcome's clean verdicts.

    Raises ArtifactError where the images were not stored, DataError for another number of images.
    """
    main, kept = main_threat(outcome.attacks), Path(folder) / IMAGES
    place = {v.example: i for i, v in enumerate(v for v in outcome.verdicts if v.attack == "none")}
    if len(images) != len(place):
        raise DataError(f"the outcome is of {len(place)} images, and {len(images)} are given")
    turned = {
        (v.attack, v.source, v.example)
        for v in outcome.verdicts
        if v.success and v.attack != "none" and v.threat == main
    }
    if turned and not kept.is_dir():
        raise ArtifactError(
            f"{folder} keeps no adversarial images: evaluate with keep=true into another folder"
        )
    found = images.clone()
    for number in reversed(range(len(outcome.attacks))):  # the first attack has the last word
        attack = outcome.attacks[number]
        if attack.threat != main:
            continue
        for path in sorted(kept.glob(f"{number:03d}-*.safetensors")):
            with safe_open(path, "pt") as file:
                some = file.get_tensor("images")
                ids = [int(i) for i in file.metadata()["examples"].split(",") if i]
            for i, image in zip(ids, some, strict=True):
                if (attack.name, attack.source, i) in turned:
                    found[place[i]] = image
    return found
