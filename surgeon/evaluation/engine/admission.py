"""Checks of the model, images and labels, before anything is computed with them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from surgeon.arguments import checked_count
from surgeon.errors import ArgumentError, CalibrationWarning, DataError, SurgeryWarning
from surgeon.evaluation.engine.scoring import Scores, check_labels, check_model, device_of, score
from surgeon.images import check_images, check_taken, plain, tell_dark
from surgeon.methods.annealed import unfinished
from surgeon.models.facts import name_of, normalised_in_words
from surgeon.models.handed_on import handed_on, unkept
from surgeon.models.logits import tell_of_precision, tell_of_sigmoid
from surgeon.models.normalisation import contradicted, in_words
from surgeon.models.pixels import Normalized
from surgeon.models.quiet import held_still
from surgeon.results.threat import Attack
from surgeon.strict import shown
from surgeon.values import has_values
from surgeon.warned import warn

FEW = 8
"""Number of images that a model is tried on."""
COMPANY = 0.01
"""How far the logits of images may differ with those beside them, relative to their norm: rounding does far less."""
_REFUSALS = (RuntimeError, AssertionError, IndexError, TypeError, NotImplementedError)
"""Errors that networks raise for images of another size or number of channels."""


class Admitted(NamedTuple):
    """Checked images (N, C, H, W) float32 in [0, 1] and labels (N,) int64, on the CPU, N at least 1.

    classes: Number of the model's classes.
    """

    images: Tensor
    labels: Tensor
    classes: int


def admitted(model: nn.Module, images: Tensor, labels: Tensor, *, seed: int = 0) -> Admitted:
    """Check that a model can be evaluated on images; it is run on a few of them.

    Args:
        model: Takes [0, 1] pixels and gives logits.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) class indices.
        seed: Seed for a model that is random.

    Returns:
        Images and labels on the CPU, and the number of classes.

    Raises:
        DataError: The model, images or labels are invalid or empty; the message says what would work.

    Warns:
        CalibrationWarning: The model's configuration normalises images, and nothing here does; or no pixel has a tenth
            of white's value.
        UserWarning: The model gives several outputs, and names none of them as its logits; all of them lie between 0
            and 1, as behind a sigmoid; or they have 16 bits.
        SurgeryWarning: Annealed layers have a part of their effect.
    """
    check_model(model)
    images, labels = on_cpu("images", images), on_cpu("labels", labels)
    check_images(images)
    check_labels(images, labels)
    if len(images) == 0:
        raise DataError("there are no images to evaluate on")
    tell_dark(images, "images")
    check_taken(images, model)
    tell_of_normalisation(model, images)
    some = images[:FEW]  # their labels are looked at below, with all others
    classes = first_scores(model, some, torch.zeros(len(some), dtype=torch.int64), seed=seed).classes
    _check_outputs(model, images[:FEW], seed)
    if isinstance(model, Normalized) and model.passed_over:
        warn(model.passed_over)
    if said := unfinished(model):
        warn(said, SurgeryWarning)
    if not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise DataError(
            f"labels run from {int(labels.min())} to {int(labels.max())}, the model has {classes} classes"
        )
    return Admitted(images, labels, classes)


@torch.no_grad()
def _check_outputs(model: nn.Module, images: Tensor, seed: int) -> None:
    """Raise DataError for a model whose outputs for an image depend on the rest of the batch.

    Verdicts on images would depend on the batch. A model that is random is not asked: it draws anew in each pass.
    Outputs of 16 bits, or as of a sigmoid, are warned of.
    """
    x = images.to(device_of(model))
    with held_still(model, seed):
        whole = model(x)
        tell_of_precision(whole)
        if len(images) < 2:
            return
        again = model(x)
        if not (isinstance(model, Normalized) and model.probabilities):
            tell_of_sigmoid(whole)
        if not torch.equal(whole, again):
            return
        try:
            halves = torch.cat([model(part) for part in x.tensor_split(2)])
        except (*_REFUSALS, ValueError):  # one that takes batches of one size alone
            return
    # By image: rounding may turn a layer that jumps (k winners, a quantised input) on one of them, never on most.
    apart, size = ((t.flatten(1).norm(dim=1)) for t in (halves - whole, whole))
    if float((apart / size.clamp_min(1e-12)).median()) > COMPANY:
        raise DataError(
            f"the model says something else of {len(x)} images together than of {len(x) - len(x) // 2} of them, "
            "so that no verdict would be of an image alone: give batch norms running statistics of their own, and take "
            "out of the model what it computes over the batch"
        )


def tell_of_normalisation(model: nn.Module, images: Tensor) -> None:
    """Warn of a network whose images are not normalised as its configuration says, or that of the network inside it.

    Args:
        model: The network, also in a `Normalized`.
        images: (N, C, H, W) in [0, 1]; one is used.

    Warns:
        CalibrationWarning: They are not; or TorchScript compiled the network, which keeps no configuration.
    """
    inner, given = (model.model, model.given) if isinstance(model, Normalized) else (model, None)
    if said := unkept(inner, given):
        warn(said, CalibrationWarning)
    part, inside = handed_on(inner, images) or ("", inner)
    if (known := contradicted(inside, given)) is None:
        return
    who = f"{part} in this {type(inner).__name__}, a {name_of(inside)}," if part else name_of(inside)
    how = (
        "is given pixels in [0, 1]" if given is None else f"is given images normalised by {in_words(*given)}"
    )
    mean, std = known
    what = f"surgeon.models.set_normalization(model, {mean}, {std}), or " if part else ""
    warn(
        f"{who} {how}, and by its configuration images are {normalised_in_words(inside)}; if it was trained so, give "
        f"{what}surgeon.evaluation.Normalized(model, {mean}, {std})",
        CalibrationWarning,
    )


def first_scores(model: nn.Module, images: Tensor, labels: Tensor, *, seed: int = 0) -> Scores:
    """Score a model on a few images.

    Args:
        model: Takes [0, 1] pixels and gives logits.
        images: (N, C, H, W) in [0, 1].
        labels: (N,) class indices.
        seed: Seed for a model that is random.

    Returns:
        The scores.

    Raises:
        DataError: The model fails on the images.
    """
    try:
        with held_still(model, seed):
            return score(model, images, labels)
    except torch.OutOfMemoryError:
        raise
    except _REFUSALS as error:
        reason = str(error).strip().partition("\n")[0][:300]
        raise DataError(f"the model does not take images of {tuple(images.shape[1:])}: {reason}") from error


def on_cpu(name: str, value: object) -> Tensor:
    """Move a tensor to the CPU, detached.

    Args:
        name: Its name in messages.
        value: The tensor.

    Returns:
        The tensor.

    Raises:
        DataError: The value is not a tensor, has no values (meta or fake), or is not dense (see `images.plain`).
    """
    if not isinstance(value, Tensor):
        raise DataError(f"{name} are a {type(value).__name__}; give a tensor (torch.as_tensor, torch.stack)")
    if not has_values(value):
        raise DataError(
            f"{name} lie on the device meta, or are fake, where tensors have no values; give them on a real one"
        )
    return plain(value.detach(), name).cpu()


def checked_attacks(attacks: Attack | Iterable[Attack]) -> tuple[Attack, ...]:
    """Check a list of attacks.

    Args:
        attacks: The list.

    Returns:
        The attacks as a tuple.

    Raises:
        ArgumentError: It is anything else; or two attacks of one name, part, source, norm and ε, whose verdicts are
            one row, have the same seed or differ in more than the seed.
    """
    listed = (attacks,) if isinstance(attacks, Attack) else tuple(attacks)
    odd = next((a for a in listed if not isinstance(a, Attack)), None)
    if odd is not None or isinstance(attacks, Attack):
        what = "one attack" if odd is None else f"a {type(odd).__name__} among them"
        raise ArgumentError(f"attacks are {what}; give a list of surgeon.evaluation.Attack")
    rows: dict[Any, list[Attack]] = {}
    for attack in listed:
        same = rows.setdefault(
            (attack.name, attack.group, attack.source, attack.norm, attack.eps, attack.union), []
        )
        for other in same:
            _demand_two_draws(other, attack)
        same.append(attack)
    return listed


def _demand_two_draws(one: Attack, other: Attack) -> None:
    """Check that two attacks of one row are two draws of the same: their verdicts are told apart by the seed alone."""
    first, second = one.model_dump(mode="json"), other.model_dump(mode="json")
    differ = [k for k in first if first[k] != second[k] and k != "seed"]
    if differ:
        values = ", ".join(f"{k}={shown(first[k])} and {shown(second[k])}" for k in differ[:2])
        raise ArgumentError(
            f"two attacks are called {one.name!r} and differ in {values}: give each a name of its own, since one row "
            "is of one attack"
        )
    if first["seed"] == second["seed"]:
        raise ArgumentError(
            f"the attack {one.name!r} is there twice with seed={one.seed}: two draws have two seeds"
        )


def checked_examples(examples: Iterable[int] | None, count: int) -> list[int]:
    """Check the indices that identify images.

    Args:
        examples: One index for each image; None for 0 to N − 1.
        count: Number of images.

    Returns:
        The indices.

    Raises:
        ArgumentError: Their number differs, or two are equal.
    """
    names = list(range(count)) if examples is None else [checked_count("an example", e, 0) for e in examples]
    if len(names) != count or len(set(names)) < count:
        raise ArgumentError(
            f"{len(names)} examples, {len(set(names))} of them different, for {count} images; give each its own number"
        )
    return names


def checked_class_names(
    given: Iterable[str], labels: Tensor, outputs: int, num_classes: int | None
) -> tuple[str, ...]:
    """Check the names of a network's outputs.

    Args:
        given: The names, by output; empty if unknown.
        labels: (N,) class indices.
        outputs: Number of outputs of the network.
        num_classes: Their number as the caller said it, which permits names of the first of them alone.

    Returns:
        The names.

    Raises:
        ArgumentError: A label has no name, two classes have one, there are more or fewer names than outputs, or
            `num_classes` is not their number.
    """
    if isinstance(given, str):
        raise ArgumentError(
            f"class_names={shown(given)} is one text; give a list of names, one for each output"
        )
    names = tuple(given)
    if num_classes is not None and num_classes != outputs:
        raise ArgumentError(f"num_classes={num_classes}, and the network has {outputs} outputs")
    if not names:
        return ()
    if twice := [n for i, n in enumerate(names) if n in names[:i]]:
        raise ArgumentError(
            f"class_names has {shown(twice[0])} for two classes; give each output a name of its own"
        )
    if unnamed := [int(y) for y in labels if y >= len(names)]:
        raise ArgumentError(
            f"class_names are {len(names)}, and an image has the label {unnamed[0]}; give one for each output"
        )
    if len(names) > outputs:
        raise ArgumentError(
            f"class_names are {len(names)}, and the network has {outputs} outputs; give one for each output"
        )
    if len(names) < outputs and num_classes is None:
        raise ArgumentError(
            f"class_names are {len(names)}, and the network has {outputs} outputs: give one for each output; where the "
            f"first {len(names)} are meant, and the rest are not classes of these images, say so by "
            f"num_classes={outputs}"
        )
    return names
