"""The pictures of an evaluation, drawn by surgeon.insight into the evaluation's folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from surgeon.disk.files import write_bytes, write_json
from surgeon.disk.hashes import own_hash
from surgeon.disk.writing import make_folder
from surgeon.evaluation.attacks.pgd import pgd
from surgeon.evaluation.engine.scoring import device_of, score, spread
from surgeon.models.pixels import Normalized
from surgeon.models.quiet import held_still
from surgeon.reading import read_mapping
from surgeon.results.assessment import Drawn
from surgeon.results.kinds import Norm
from surgeon.surgery.door import surgery_of
from surgeon.surgery.folding import uncut_network

COUNT, STEPS = 8, 20
INDEX = "pictures.json"


def draw(
    folder: Path,
    subject: nn.Module,
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    size: tuple[Norm, float],
    class_names: Sequence[str],
    seed: int,
    tell: Callable[[int], None],
) -> tuple[tuple[Drawn, ...], tuple[str, ...]]:
    """Draw the pictures of an evaluation, for images that the model gets right, under PGD with 20 steps.

    Args:
        folder: Where the pictures go; a finished index in it is read instead.
        subject: The attacked model, of [0, 1] pixels.
        network: The rewritten network, whose layers are shown.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) class indices.
        size: Norm and ε of the attack.
        class_names: Names of the classes; empty for numbers.
        seed: Seed of the attack.
        tell: Called with 0 before and 1 after.

    Returns:
        (pictures, one sentence for each picture that could not be made).
    """
    index = folder / INDEX
    if index.is_file():
        known = read_mapping(index)
        return tuple(Drawn(**d) for d in known["pictures"]), tuple(known["skipped"])
    tell(0)
    from surgeon.insight import pictures

    device = device_of(subject)
    with held_still(subject, seed):
        candidates = spread(256, len(images))
        said = score(subject, images[candidates], labels[candidates]).prediction
        correct = candidates[said == labels[candidates]]
        right = correct[spread(COUNT, len(correct))] if len(correct) else correct
        if len(right) == 0:
            tell(1)
            return (), ("no pictures: the model gets none of the first images right",)
        x, y = images[right].to(device), labels[right].to(device)
        generator = torch.Generator().manual_seed(seed)
        moved = pgd(subject, x, y, norm=size[0], eps=size[1], steps=STEPS, generator=generator)
    shown = _as(subject, network)
    beside = (
        {"before the surgery": _as(subject, uncut_network(network))}
        if surgery_of(network) is not None
        else {}
    )
    made, skipped = pictures(
        shown, x, y, moved, beside=beside, seed=seed, class_names=list(class_names) or None
    )
    make_folder(folder)
    drawn = []
    for picture in made:
        path = folder / f"{picture.name}.png"
        write_bytes(path, picture.png)
        words = {"title": picture.title, "caption": picture.caption, "alt": picture.alt}
        drawn.append(Drawn(file=path.name, hash=own_hash(path), **words))
    write_json(index, {"pictures": [d.model_dump() for d in drawn], "skipped": list(skipped)})
    tell(1)
    return tuple(drawn), tuple(skipped)


def _as(subject: nn.Module, network: nn.Module) -> nn.Module:
    """Wrap another network with the subject's normalisation."""
    if not isinstance(subject, Normalized):
        return network
    mean = None if subject.mean is None else subject.mean.flatten().tolist()
    std = None if subject.std is None else subject.std.flatten().tolist()
    return Normalized(network, mean, std, probabilities=subject.probabilities)
