"""Adversarial images that an evaluation stored, put together again."""

from __future__ import annotations

from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from surgeon.errors import ArtifactError, DataError
from surgeon.evaluation.engine.fingerprints import image_hashes
from surgeon.evaluation.engine.store import IMAGES
from surgeon.host import in_own_state
from surgeon.results.threat import main_threat
from surgeon.results.verdict import Outcome


@in_own_state()
def adversarial_images(folder: str | Path, outcome: Outcome, images: Tensor) -> Tensor:
    """Return the stored adversarial images of an evaluation's main threat.

    Args:
        folder: The folder of the attacks' blocks (a `Store`, or attacks/ of an assessment).
        outcome: The evaluation's verdicts.
        images: (N, C, H, W) clean images in [0, 1], in the order of the outcome's clean verdicts.

    Returns:
        (N, C, H, W): for each image the result of the first successful attack, or else the clean image.

    Raises:
        ArtifactError: The evaluation did not store its images.
        DataError: `images` are not those of the outcome, in its order.

    Examples:
        >>> import tempfile, torch
        >>> from torch import nn
        >>> from surgeon.evaluation import Attack, Store, adversarial_images, evaluate
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 3))
        >>> images, labels = torch.rand(8, 3, 4, 4), torch.arange(8) % 3
        >>> pgd = Attack(name="pgd", kind="own-pgd", eps=8 / 255, steps=5)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     outcome = evaluate(model, images, labels, [pgd], store=Store(folder, keep=True))
        ...     adversarial = adversarial_images(folder, outcome, images)
        >>> bool((adversarial - images).abs().max() <= 8 / 255 + 1e-6)
        True
    """
    main, kept = main_threat(outcome.attacks), Path(folder) / IMAGES
    place = {v.example: i for i, v in enumerate(outcome.clean)}
    if len(images) != len(place):
        raise DataError(f"the outcome is of {len(place)} images, and {len(images)} are given")
    wrong = [
        v.example for v, h in zip(outcome.clean, image_hashes(images.cpu()), strict=True) if v.image != h
    ]
    if wrong:
        raise DataError(
            f"{len(wrong)} of {len(images)} images are not those of the outcome, the first is image {wrong[0]}: give "
            "them as they were evaluated, and in that order"
        )
    result = images.clone()
    # In reverse, so that the first attack that turned an image overwrites later ones.
    for number in reversed(range(len(outcome.attacks))):
        attack = outcome.attacks[number]
        if main is None or not main.covers(attack.threat):
            continue
        turned = {v.example for v in outcome.of(attack) if v.success}
        if turned and not kept.is_dir():
            raise ArtifactError(
                f"{folder} keeps no adversarial images: evaluate with keep=true into another folder"
            )
        for path in sorted(kept.glob(f"{number:03d}-*.safetensors")):
            with safe_open(path, "pt") as file:
                stored = file.get_tensor("images")
                ids = [int(i) for i in file.metadata()["examples"].split(",") if i]
            for i, image in zip(ids, stored, strict=True):
                if i in turned:
                    result[place[i]] = image
    return result
