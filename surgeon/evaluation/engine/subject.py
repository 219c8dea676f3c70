"""What is really evaluated: a model that folds exactly is folded first, and one that is random is known to be."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from surgeon.errors import VerificationError
from surgeon.evaluation.diagnostics.probes import RANDOM, two_passes
from surgeon.evaluation.diagnostics.speed import images_per_second
from surgeon.evaluation.engine.admission import admitted
from surgeon.evaluation.engine.fingerprints import weights_hash
from surgeon.evaluation.engine.scoring import device_of, spread
from surgeon.host import in_own_state
from surgeon.models.facts import name_of, normalization_of
from surgeon.models.pixels import Normalized
from surgeon.models.quiet import held_still
from surgeon.results.assessment import Subject
from surgeon.surgery import fold, revert
from surgeon.surgery.door import surgery_of
from surgeon.verification import relative, tolerance_of


class Evaluated(NamedTuple):
    """The network to attack, and by how much it differs from the one that was given; None where it is the same."""

    model: nn.Module
    error: float | None


def folded(model: nn.Module, images: Tensor) -> Evaluated:
    """The stock network that a rewritten one folds into, after checking on `images` that both agree; else the model.

    images: (N, C, H, W) as the model takes them, a few suffice.

    Raises VerificationError when the record says that the model folds, and the folded one differs.
    """
    record = surgery_of(model)
    if record is None or not record.folds:
        return Evaluated(model, None)
    found = fold(model)
    with held_still(model), held_still(found), torch.no_grad():
        error = relative(found(images), model(images))
    if error > 10 * tolerance_of(model):
        raise VerificationError(
            f"the folded network differs from the rewritten one by {error:.1e}; neither can be trusted"
        )
    return Evaluated(found, error)


@in_own_state()
def evaluated(model: nn.Module, images: Tensor) -> nn.Module:
    """The network of `folded` alone."""
    return folded(model, images).model


def of_pixels(network: nn.Module, *, probabilities: bool = False) -> Normalized:
    """A network as it takes pixels in [0, 1]: behind the normalisation of its own configuration."""
    mean, std = normalization_of(network) or (None, None)
    return Normalized(network, mean, std, probabilities=probabilities)


def prepare(
    network: nn.Module, images: Tensor, labels: Tensor, mode: Literal["auto", "standard", "random"], *, name: str,
    probabilities: bool, seed: int,
) -> tuple[Normalized, Subject]:  # fmt: skip
    """(what is attacked, as it takes pixels; what it is). Folding and randomness are looked at on a few of the images.

    Raises DataError for images, labels or a network that do not fit, VerificationError as `folded`.
    """
    given = of_pixels(network, probabilities=probabilities)
    images, labels, classes = admitted(given, images, labels, seed=seed)
    some, record = spread(16, len(images)), surgery_of(network)
    few = images[some].to(device_of(network))
    found = folded(network, given.normalize(few))
    subject = of_pixels(found.model, probabilities=probabilities)
    with held_still(subject, seed):
        random = two_passes(subject, few) > RANDOM
    random = random or (record is not None and record.traits.stochastic == "always")
    mean, std = normalization_of(network) or (None, None)
    operations = tuple(dict.fromkeys(e.operation.split("#")[0] for e in record.edits)) if record else ()
    described = Subject(
        name=name or name_of(network), model=name_of(network), recipe=record.recipe if record else "", operations=operations,
        weights=weights_hash(network), parameters=sum(p.numel() for p in network.parameters()), classes=classes, mean=mean,
        std=std, input_size=tuple(images.shape[1:]), folded=found.error is not None, fold_error=found.error, random=random,
        mode="random" if mode == "random" or (mode == "auto" and random) else "standard",
    )  # fmt: skip
    return subject, described


def timed(described: Subject, network: nn.Module, subject: Normalized, images: Tensor) -> Subject:
    """With the speed of what would be shipped, and of the network before the surgery where it can be had."""
    x = subject.normalize(images[:64].to(device_of(network)))
    models = [subject.model] if surgery_of(network) is None else [subject.model, revert(network)]
    speeds = [*images_per_second(models, x), None]
    return described.model_copy(update={"images_per_second": speeds[0], "stock_images_per_second": speeds[1]})
