"""The network that is really attacked: folded where that is exact, and checked for randomness."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from surgeon.edits import Growth
from surgeon.errors import SurgeonError, VerificationError
from surgeon.evaluation.diagnostics.probes import RANDOM, between_passes
from surgeon.evaluation.diagnostics.speed import images_per_second
from surgeon.evaluation.engine.admission import admitted
from surgeon.evaluation.engine.fingerprints import weights_hash
from surgeon.evaluation.engine.scoring import device_of, spread
from surgeon.graph.measuring.measure import measure
from surgeon.host import in_own_state
from surgeon.models.facts import name_of, normalised_in_words, normalization_of
from surgeon.models.norm_inputs import far_from_training
from surgeon.models.pixels import Normalized
from surgeon.models.quiet import held_still
from surgeon.results.assessment import Subject
from surgeon.surgery.door import changed_by_fold, surgery_of
from surgeon.surgery.folding import folded_network, uncut_network
from surgeon.verification import relative, tolerance_of
from surgeon.wrappers import unwrapped


class Evaluated(NamedTuple):
    """The network to attack, and by how much its logits differ from the given one's; None if not folded."""

    model: nn.Module
    error: float | None


def folded(model: nn.Module, images: Tensor) -> Evaluated:
    """Fold a rewritten network into one of plain layers where its surgery allows it, and check that both agree.

    Args:
        model: A network.
        images: (N, C, H, W) normalised as the network expects them; a few suffice.

    Returns:
        The folded network and its error, or the network itself and None.

    Raises:
        VerificationError: The surgery's record says that the network folds, and the folded one differs.
    """
    model = unwrapped(model)
    record = surgery_of(model)
    if record is None or not record.folds:
        return Evaluated(model, None)
    stock = folded_network(model)
    with held_still(model), held_still(stock), torch.no_grad():
        error = relative(stock(images), model(images))
    if error > 10 * tolerance_of(model):
        raise VerificationError(
            f"the folded network differs from the rewritten one by {error:.1e}; neither can be trusted"
        )
    return Evaluated(stock, error)


@in_own_state()
def evaluated(model: nn.Module, images: Tensor) -> nn.Module:
    """Return the network to attack: folded if its surgery folds exactly, else the network itself.

    Args:
        model: A network, rewritten or stock.
        images: (N, C, H, W) normalised as the network expects them; a few suffice for the check.

    Returns:
        The network to attack; of a network in `torch.compile`, `DataParallel` or an average, that of the one inside.

    Raises:
        VerificationError: The surgery's record says that the network folds, and the folded one differs.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from surgeon.evaluation import evaluated
        >>> stock = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 3))
        >>> evaluated(stock, torch.rand(2, 3, 4, 4)) is stock
        True
    """
    return folded(model, images).model


def of_pixels(network: nn.Module, *, probabilities: bool = False) -> Normalized:
    """Wrap the network so that it accepts [0, 1] pixels and normalises them itself, by its own configuration.

    Args:
        network: A network.
        probabilities: Whether it ends in a softmax.

    Returns:
        The wrapped network; it does not normalise if the network's configuration names no mean and std.
    """
    mean, std = normalization_of(network) or (None, None)
    return Normalized(network, mean, std, probabilities=probabilities)


def prepare(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    mode: Literal["auto", "standard", "random"],
    *,
    name: str,
    probabilities: bool,
    seed: int,
) -> tuple[Normalized, Subject]:
    """Prepare the network to attack and describe it.

    Folding and randomness are checked on a few of the images.

    Args:
        network: The network as given.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) class indices.
        mode: "auto" detects randomness; "standard" and "random" choose the attacks regardless.
        name: Name in reports; "" for the name of the architecture.
        probabilities: Whether the network ends in a softmax.
        seed: Seed of the checks.

    Returns:
        (the network to attack, of [0, 1] pixels; its description).

    Raises:
        DataError: Images, labels or the network do not fit.
        VerificationError: As `folded`.
    """
    given = of_pixels(network, probabilities=probabilities)
    images, labels, classes = admitted(given, images, labels, seed=seed)
    some, record = spread(16, len(images)), surgery_of(network)
    few = images[some].to(device_of(network))
    attacked = folded(network, given.normalize(few))
    subject = of_pixels(attacked.model, probabilities=probabilities)
    with held_still(subject, seed):
        random = between_passes(subject, few) > RANDOM
    random = random or (record is not None and record.traits.stochastic == "always")
    mean, std = normalization_of(network) or (None, None)
    known = record or changed_by_fold(network)
    operations = tuple(dict.fromkeys(e.operation.split("#")[0] for e in record.edits)) if record else ()
    described = Subject(
        name=name or name_of(network),
        model=name_of(network),
        recipe=known.recipe if known else "",
        operations=operations,
        weights=weights_hash(network),
        parameters=sum(p.numel() for p in network.parameters()),
        classes=classes,
        mean=mean,
        std=std,
        input_size=tuple(images.shape[1:]),
        folded=attacked.error is not None,
        shipped=_shipped(attacked.model, tuple(images.shape[1:])),
        fold_error=attacked.error,
        random=random,
        mode="random" if mode == "random" or (mode == "auto" and random) else "standard",
        uncut_weights=_uncut(network) if record is not None else None,
    )
    return subject, described


def normalisation_doubts(network: nn.Module, subject: Normalized, images: Tensor) -> tuple[str, ...]:
    """Say where images are far from those that a network was trained on, as with another normalisation.

    Args:
        network: The network as given.
        subject: The attacked network, of [0, 1] pixels.
        images: (N, C, H, W) in [0, 1].

    Returns:
        One sentence, or an empty tuple.
    """
    x = subject.normalize(images[spread(16, len(images))].to(device_of(network)))
    finding = far_from_training(network, x)
    if not finding:
        return ()
    return (f"{finding}: were images in training {normalised_in_words(network)}, as they are here?",)


def _shipped(attacked: nn.Module, size: tuple[int, ...]) -> Growth | None:
    """Count what a folded network of a changed architecture has; None for any other."""
    record = changed_by_fold(attacked)
    if record is None:
        return None
    # At the size at which the network before the surgery was counted, for factors between the two.
    seen = measure(attacked, record.input_size if record.measured and record.input_size else size)
    return Growth(
        parameters=sum(p.numel() for p in attacked.parameters()),
        buffers=sum(b.numel() for b in attacked.buffers()),
        flops=0 if seen.error else seen.flops,
        activations=0 if seen.error else seen.activations,
    )


def _uncut(network: nn.Module) -> str | None:
    """Hash the weights that a revert gives: those of the network that was cut, where no training came after."""
    try:
        return weights_hash(uncut_network(network))
    except SurgeonError:
        return None


def timed(described: Subject, network: nn.Module, subject: Normalized, images: Tensor) -> Subject:
    """Add inference speeds to a description: of the attacked network, and of the stock one if it is another.

    A network that folds into one of the stock network's shapes computes what that computes; a factor that was
    measured would be of the machine.

    Args:
        described: The description.
        network: The network as given.
        subject: The attacked network, of [0, 1] pixels.
        images: (N, C, H, W) in [0, 1]; the first 64 are used.

    Returns:
        A copy of `described` with the speeds in images per second.
    """
    x = subject.normalize(images[:64].to(device_of(network)))
    models = [subject.model]
    if surgery_of(network) is not None:
        stock = uncut_network(network)
        if not (described.folded and _shapes(stock) == _shapes(subject.model)):
            models.append(stock)
    speeds = images_per_second(models, x)
    return described.model_copy(
        update={
            "images_per_second": speeds.medians[0],
            "stock_images_per_second": speeds.medians[1] if len(models) > 1 else None,
            "speed_factor": speeds.factor,
        }
    )


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in model.state_dict().items() if hasattr(value, "shape")}
