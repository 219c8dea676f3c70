"""Clean images, adversarial images, and the difference between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from surgeon.errors import DataError
from surgeon.host import in_own_state
from surgeon.insight.attacked_images import AttackedImages
from surgeon.insight.door import seen_by
from surgeon.insight.picture import WRONG, Picture, png
from surgeon.insight.raster import grid, named, seen, show, side_text
from surgeon.models.pixels import logits_of
from surgeon.models.quiet import held_still

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Attacked:
    """A model's predictions (N,) on clean and adversarial images, and the distances (N,) between the images.

    Distances are in [0, 1] pixels.
    """

    before: Tensor
    after: Tensor
    linf: Tensor
    l2: Tensor


@in_own_state()
@torch.no_grad()
def attacked(model: nn.Module, images: Tensor, adversarial: Tensor, *, seed: int = 0) -> Attacked:
    """Compute the predictions on clean and adversarial images, and the distances between the images.

    Args:
        model: Takes [0, 1] pixels and gives logits.
        images: (N, C, H, W) in [0, 1] on the model's device.
        adversarial: (N, C, H, W), the same images attacked.
        seed: Seed for a model that is random.

    Returns:
        Predictions and distances, on the CPU.

    Raises:
        DataError: The batches differ in shape.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from surgeon.insight.adversarial import attacked
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 3))
        >>> images = torch.zeros(2, 3, 4, 4)
        >>> attacked(model, images, images + 0.5).linf.tolist()
        [0.5, 0.5]
    """
    both = isinstance(images, Tensor) and isinstance(adversarial, Tensor)
    if both and images.shape != adversarial.shape:
        raise DataError(
            f"images {tuple(images.shape)} and adversarial images {tuple(adversarial.shape)} must have one "
            "shape"
        )
    images, adversarial = seen_by(model, images), seen_by(model, adversarial, "adversarial images")
    predictions = []
    for batch in (images, adversarial):
        with held_still(model, seed):
            predictions.append(logits_of(model(batch)).argmax(1).cpu())
    moved = (adversarial - images).flatten(1).double().cpu()
    return Attacked(predictions[0], predictions[1], moved.abs().amax(1), moved.norm(dim=1))


def draw_adversarial(
    images: Tensor, adversarial: Tensor, labels: Tensor, outcome: Attacked, names: Sequence[str] | None = None
) -> Figure:
    """Draw three rows: clean images, adversarial images, and their difference, amplified by one factor.

    Gray means no difference. Above each image stands the prediction; a wrong one is red and marked with ✗.

    Args:
        images: (N, C, H, W) in [0, 1].
        adversarial: (N, C, H, W) in [0, 1].
        labels: (N,) true classes.
        outcome: Predictions and distances from `attacked`.
        names: Names of the classes; None for numbers.

    Returns:
        The figure.
    """
    figure, axes = grid(3, len(images), extra=0.75)
    difference = (adversarial - images).cpu()
    most = float(difference.abs().max())
    shown = 0.5 + difference / (2 * most) if most else torch.full_like(difference, 0.5)
    for i in range(len(images)):
        for axis, picture in zip(axes[:, i], (images[i], adversarial[i], shown[i]), strict=True):
            show(axis, seen(picture))
        _say(axes[0, i], "", int(outcome.before[i]), int(labels[i]), names)
        _say(axes[1, i], "→ ", int(outcome.after[i]), int(labels[i]), names)
    for axis, text in zip(axes[:, 0], ("clean", "adversarial", "difference"), strict=True):
        side_text(axis, text)
    scale = (
        f"×{0.5 / most:.3g}: black −{most:.3g}, gray 0, white +{most:.3g} in [0, 1] pixels"
        if most
        else "none"
    )
    figure.supxlabel(f"difference {scale}", fontsize=8.5)
    return figure


def _say(axis: Axes, arrow: str, said: int, label: int, names: Sequence[str] | None) -> None:
    right = said == label
    axis.set_title(
        f"{arrow}{named(said, names)}{'' if right else ' ✗'}", color="black" if right else WRONG, fontsize=8
    )


def pictured(shown: AttackedImages) -> Picture:
    """Make the picture of a few attacked images.

    Args:
        shown: The images before and after the attack.

    Returns:
        The picture.
    """
    names, labels = shown.names, shown.labels.cpu()
    outcome = attacked(shown.model, shown.images, shown.adversarial, seed=shown.seed)
    right = [int((said == labels).sum()) for said in (outcome.before, outcome.after)]
    count = len(labels)
    each = "; ".join(
        f"{named(int(a), names, None)} → {named(int(b), names, None)}{'' if b == y else ' (wrong)'}"
        for a, b, y in zip(outcome.before, outcome.after, labels, strict=True)
    )
    linf, l2 = float(outcome.linf.max()), float(outcome.l2.mean())
    size = f"largest change of a pixel {linf:.3g}, mean L2 length {l2:.3g}"
    return Picture(
        "adversarial",
        "What the attack added, and what the model said",
        "Clean images, adversarial images and the difference, amplified to one scale. Right before: "
        f"{right[0]} of {count}; after: {right[1]} of {count}; {size}, in pixels of [0, 1]. A wrong answer "
        "is red and has a ✗.",
        f"{count} images before and after the attack: {each}. {size}.",
        png(lambda: draw_adversarial(shown.images, shown.adversarial, labels, outcome, names)),
    )
