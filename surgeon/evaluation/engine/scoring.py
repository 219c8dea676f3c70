"""Predictions on images, single or by majority over the draws of a random model, and checks of images."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from surgeon.errors import DataError, VerificationError, either
from surgeon.models.logits import sum_of_probabilities
from surgeon.results.threat import Attack
from surgeon.values import has_values

BATCH = 256
SLACK = 1e-6
ROUNDING = 1e-4
"""Relative to ε, how far rounding may take an attack outside the ball: in L2 up to 1.5e-5 was observed."""


class Scores(NamedTuple):
    """Predictions (N,) by most draws, margins (N,) of the mean logits, votes (N,), and the number of classes.

    votes: The share of draws that are right.
    """

    prediction: Tensor
    margin: Tensor
    votes: Tensor
    classes: int


@torch.no_grad()
def score(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    draws: int = 1,
    seed: int = 0,
    batch_size: int = BATCH,
) -> Scores:
    """Score a model on images, in batches, each on `draws` fresh draws of its randomness.

    Args:
        model: Takes [0, 1] pixels and gives logits.
        images: (N, C, H, W) in [0, 1].
        labels: (N,) class indices.
        draws: Predictions per image.
        seed: Seed of the draws, if there are several.
        batch_size: Images in one forward pass.

    Returns:
        The scores, on the CPU.

    Raises:
        DataError: The outputs are not logits, or a label is not among the classes.
    """
    device, parts, classes = device_of(model), [], 0
    for n, (x, y) in enumerate(zip(images.split(batch_size), labels.split(batch_size), strict=True)):
        x, y = x.to(device), y.to(device)
        if draws > 1:
            # A seed for each batch: what one draws does not depend on those before it.
            torch.manual_seed(seed + n)
        logits = [check_logits(model(x), len(x)) for _ in range(draws)]
        classes = logits[0].shape[1]
        if not 0 <= int(y.min()) <= int(y.max()) < classes:
            raise DataError(
                f"labels run from {int(labels.min())} to {int(labels.max())}, the model has {classes} classes"
            )
        predicted = torch.stack([each.argmax(1) for each in logits])
        counts = torch.nn.functional.one_hot(predicted, classes).sum(0)
        mean = torch.stack(logits).mean(0)
        true = mean.gather(1, y[:, None]).squeeze(1)
        others = mean.scatter(1, y[:, None], -torch.inf).amax(1)
        parts.append((counts.argmax(1), true - others, (predicted == y).float().mean(0)))
    if not parts:
        return Scores(torch.empty(0, dtype=torch.long), torch.empty(0), torch.empty(0), classes)
    prediction, margin, votes = (torch.cat(part).cpu() for part in zip(*parts, strict=True))
    return Scores(prediction, margin, votes, classes)


def spread(count: int, total: int) -> Tensor:
    """Choose indices evenly over a set: the first images of one that is sorted by class have few classes.

    Args:
        count: Number of indices to choose.
        total: Number of indices to choose from.

    Returns:
        (min(count, total),) int64.
    """
    return torch.linspace(0, total - 1, min(count, total)).round().long()


def check_finite(finite: Tensor) -> None:
    """Check the flag that says whether all logits so far were finite.

    Args:
        finite: A bool tensor.

    Raises:
        DataError: It is False.
    """
    if not bool(finite):
        raise DataError(
            "the model gives values that are not finite logits: look at its weights and normalisation"
        )


def check_logits(logits: Tensor, count: int) -> Tensor:
    """Check that a model's output is logits.

    Args:
        logits: The output.
        count: Number of images.

    Returns:
        The logits (N, K).

    Raises:
        DataError: It is anything else; the message says what would work.
    """
    if not isinstance(logits, Tensor):
        raise DataError(
            f"the model gives a {type(logits).__name__}; wrap it so that it gives its logits (N, classes): "
            "surgeon.evaluation.Normalized finds them in a tuple, a list or a mapping"
        )
    if not logits.is_floating_point():
        raise DataError(
            f"the model gives {logits.dtype}; it must give logits, which are floats, not classes or counts"
        )
    if logits.dim() != 2 or len(logits) != count:
        raise DataError(
            f"the model gives {tuple(logits.shape)} for {count} images; it must give logits (N, classes)"
        )
    check_finite(torch.isfinite(logits).all())
    if logits.shape[1] < 2:
        raise DataError(
            "the model gives 1 value an image; a classifier of two classes must give two logits: stack (-z/2, z/2)"
        )
    if total := sum_of_probabilities(logits):
        by = "" if total == "1" else f"divide its outputs by {total} and "
        raise DataError(
            f"the model gives probabilities (not negative, sum {total}): attacks need logits, as a softmax hides "
            f"gradients; take the softmax off, or {by}say that the outputs are probabilities: "
            + either("Normalized(…, probabilities=True)", "--probabilities")
        )
    return logits


def check_labels(images: Tensor, labels: Tensor) -> None:
    """Check that labels are class indices, one for each image.

    Args:
        images: (N, C, H, W).
        labels: (N,) int64.

    Raises:
        DataError: They are not.
    """
    if labels.dim() != 1 or labels.dtype != torch.int64:
        raise DataError(f"labels are {labels.dtype} {tuple(labels.shape)}; give class indices (N,), int64")
    if len(images) != len(labels):
        raise DataError(f"{len(images)} images have {len(labels)} labels")


def check_model(model: nn.Module) -> None:
    """Check that a model is a module with float32 weights that have values; lower precision weakens attacks.

    Args:
        model: The model.

    Raises:
        DataError: It is not.
    """
    if not isinstance(model, nn.Module):
        raise DataError(f"the model is a {type(model).__name__}; give a torch.nn.Module")
    if not all(is_lazy(t) or has_values(t) for t in (*model.parameters(), *model.buffers())):
        raise DataError(
            "the model's weights lie on the device meta, or are fake, and have no values; load some"
        )
    for name, p in [*model.named_parameters(), *model.named_buffers()]:
        if p.is_floating_point() and p.dtype != torch.float32:
            raise DataError(
                f"{name} is {p.dtype}; attacks need float32, as lower precision weakens them: model.float()"
            )


class Distances(NamedTuple):
    """Distances (N,) of images in each norm, in float64."""

    linf: Tensor
    l2: Tensor
    l1: Tensor


def distances(adversarial: Tensor, images: Tensor) -> Distances:
    """Compute Linf, L2 and L1 distances in float64.

    Args:
        adversarial: (N, C, H, W).
        images: (N, C, H, W).

    Returns:
        The distances.
    """
    # In float32 a sum over all pixels rounds by more than the slack that is allowed.
    delta = (adversarial.double() - images.double()).flatten(1).abs()
    return Distances(delta.amax(1), delta.norm(dim=1), delta.sum(1))


def tightened(adversarial: Tensor, images: Tensor, attack: Attack) -> Tensor:
    """Move images that rounding left just outside the ball (by up to ROUNDING · ε) back inside.

    Images further outside are left for `check_adversarial` to refuse.

    Args:
        adversarial: (N, C, H, W), the adversarial images.
        images: (N, C, H, W), the clean images.
        attack: Its norm and ε.

    Returns:
        (N, C, H, W).
    """
    if attack.eps is None or adversarial.shape != images.shape:
        return adversarial
    far: Tensor = getattr(distances(adversarial, images), attack.norm)
    over = (far > attack.eps) & (far <= attack.eps * (1 + ROUNDING))
    if not bool(over.any()):
        return adversarial
    # A little further in than ε, as the result is rounded to float32 once more.
    shrink = torch.where(over, attack.eps * (1 - 1e-6) / far, 1.0).view(-1, 1, 1, 1)
    return torch.where(
        over.view(-1, 1, 1, 1), images + (adversarial.double() - images.double()) * shrink, adversarial
    ).float()


def check_adversarial(adversarial: Tensor, images: Tensor, attack: Attack) -> Distances:
    """Check that adversarial images are finite, in [0, 1] and within the ball.

    Args:
        adversarial: (N, C, H, W), the adversarial images.
        images: (N, C, H, W), the clean images.
        attack: Its norm and ε.

    Returns:
        The distances.

    Raises:
        VerificationError: An image is not.
    """
    name = attack.label
    if adversarial.shape != images.shape or not bool(torch.isfinite(adversarial).all()):
        raise VerificationError(f"{name} gave images that are not finite or of another shape")
    far = distances(adversarial, images)
    if float(adversarial.min()) < -SLACK or float(adversarial.max()) > 1 + SLACK:
        raise VerificationError(
            f"{name} left the range [0, 1]: [{float(adversarial.min()):.4g}, {float(adversarial.max()):.4g}]"
        )
    most = float(getattr(far, attack.norm).max())
    # The rounding of single pixels adds up in L1.
    if attack.eps is not None and most > attack.eps + SLACK * (1 + attack.eps * (attack.norm == "l1")):
        raise VerificationError(f"{name} left the ball: distance {most:.7g} > ε {attack.eps:.7g}")
    return far


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a model's weights; the CPU for a model without any.

    Args:
        model: The model.
    """
    first = next(iter([*model.parameters(), *model.buffers()]), None)
    return torch.device("cpu") if first is None else first.device
