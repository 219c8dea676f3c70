"""What `fit` is called with, checked before anything is computed."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.data import IterableDataset

from surgeon.data import Images, Records
from surgeon.errors import ArgumentError, CalibrationWarning, DataError, RecipeError
from surgeon.images import channels_of, may_take
from surgeon.models.facts import name_of
from surgeon.models.handed_on import handed_on, unkept
from surgeon.models.normalisation import check_normalization, contradicted, in_words
from surgeon.recipe import Training
from surgeon.tensors.auxiliary import has_auxiliary_norms
from surgeon.training.reading import Seeded
from surgeon.training.setup import check_settings
from surgeon.training.source import Source
from surgeon.training.two_rounds import noise_by_name
from surgeon.training.wanted import Wanted
from surgeon.warned import warn

NORMALISED = 0.25
"""How far below 0 pixels are that were normalised; noise that was added to pixels rarely takes them so far."""


def checked_call(
    model: nn.Module,
    train: Source,
    val: Source | None,
    settings: Training,
    normalize: tuple[Sequence[float], Sequence[float]] | None,
) -> Wanted:
    """Check all that a training is given, and return what its images have to be.

    Args:
        model: The network.
        train: The training images.
        val: The validation images, or None.
        settings: The settings.
        normalize: (mean, std) per channel, or None.

    Returns:
        What images have to be that are read in the course of the training.

    Raises:
        ArgumentError: As `check_call` does.
        RecipeError: As `check_call` and `check_settings` do.
        DataError: As `check_call` and `Wanted.check` do.

    Warns:
        CalibrationWarning: As `tell_of_images` and `Wanted.check` do.
    """
    check_call(model, train, settings, normalize)
    wanted = Wanted(model, bool(normalize or settings.adversary), len(normalize[0]) if normalize else 1)
    for name, data in (("train", train), ("val", val)):
        if data is not None:
            wanted.check(name, data)
    tell_of_images(model, train, val, normalize)
    check_settings(settings, validated=val is not None)
    return wanted


def check_call(
    model: nn.Module,
    train: Source,
    settings: Training,
    normalize: tuple[Sequence[float], Sequence[float]] | None,
) -> None:
    """Check the network, the settings and the normalisation of a training.

    Args:
        model: The network.
        train: The training images.
        settings: The settings.
        normalize: (mean, std) per channel, or None.

    Raises:
        ArgumentError: The settings are no `Training`, ask for transforms that `fit` does not make, or the network has
            nothing to train or takes no images in float32.
        RecipeError: The network's noise layers would be off in every epoch.
        DataError: The normalisation is not of pixels in [0, 1], or is of another number of channels.
    """
    if not isinstance(settings, Training):
        raise ArgumentError(
            f"settings is a {type(settings).__name__}; give surgeon.recipe.Training(epochs=1, ...)"
        )
    if settings.transform is not None and not (isinstance(train, Records) and train.transform is not None):
        raise ArgumentError(
            f"transform={settings.transform} is not made by fit: give a Dataset that makes it (Records(transform=...))"
            ", or use pad and flip; surgeon.pipeline.train reads it"
        )
    if settings.epochs and not any(p.requires_grad for p in model.parameters()):
        raise ArgumentError(
            "the network has nothing to train: all of its parameters are frozen (requires_grad)"
        )
    types = {p.dtype for p in model.parameters() if p.is_floating_point()}
    if types and torch.float32 not in types and not _takes_float32(model, train):
        raise ArgumentError(
            f"the network has parameters of {sorted(map(str, types))[0]}, and trainings are in float32: model.float(), "
            "with mixed_precision='bf16' or 'fp16' for speed"
        )
    check_noise(model, settings)
    if normalize is not None:
        mean, std = normalize
        check_normalization(mean, std)
        if len(mean) != 1 and not may_take(model, len(mean)):
            raise DataError(
                f"normalize={in_words(mean, std)} has {len(mean)} numbers each, and the network takes images of "
                f"{channels_of(model)} channels: give one for each"
            )


def tell_of_images(
    model: nn.Module,
    train: Source,
    val: Source | None,
    normalize: tuple[Sequence[float], Sequence[float]] | None,
) -> None:
    """Warn of images that the network, or its two sets alike, are not trained on as they were meant.

    Args:
        model: The network.
        train: The training images, checked.
        val: The validation images, checked, or None.
        normalize: (mean, std) per channel, or None.

    Warns:
        CalibrationWarning: The normalisation is not that of the configuration of the network, or of a network in it
            that is given the same images; or images are normalised in one of the two sets alone.
    """
    _tell_of_normalisation(model, train, normalize)
    tell_of_two_ranges(train, val)


def _tell_of_normalisation(
    model: nn.Module, train: Source, normalize: tuple[Sequence[float], Sequence[float]] | None
) -> None:
    """Warn of a training that does not normalise as the configuration of the network, or of one inside it, says."""
    if said := unkept(model, normalize):
        warn(f"{said}; a training normalises by normalize=(mean, std)", CalibrationWarning)
    image = None if isinstance(train, IterableDataset) else _image_of(train)
    part, inside = (None if image is None else handed_on(model, torch.empty(1, *image.shape))) or ("", model)
    if (known := contradicted(inside, normalize)) is None:
        return
    how = "does not normalise images" if normalize is None else f"normalises images by {in_words(*normalize)}"
    whose = f"{part} in this {type(model).__name__}, a {name_of(inside)}" if part else name_of(inside)
    written = "" if part else ", which surgeon.save writes into its folder,"
    given = part or "model"
    warn(
        f"this training {how}, and by the configuration of {whose}{written or ','} they are normalised by "
        f"{in_words(*known)}: give normalize=surgeon.models.normalization_of({given}) or say what is meant with "
        f"surgeon.models.set_normalization({given}, mean, std)",
        CalibrationWarning,
    )


def _image_of(train: Source) -> Tensor | None:
    """The first image of a set, or one of its size; None of an empty set."""
    if isinstance(train, Images):
        return train.x[0] if len(train.x) else None
    return torch.as_tensor(Seeded(train, 0, 0, "train")[0][0])


def tell_of_two_ranges(train: Source, val: Source | None) -> None:
    """Warn of a training whose images are pixels in [0, 1] in one of its sets, and normalised in the other.

    Of a Dataset the first image stands for all; of a stream none is read.

    Args:
        train: The training images, checked.
        val: The validation images, checked, or None.

    Warns:
        CalibrationWarning: They are.
    """
    ranges = {
        name: _range_of(data, name) for name, data in (("train", train), ("val", val)) if data is not None
    }
    plain = [n for n, r in ranges.items() if r is not None and r[0] >= 0 and r[1] <= 1]
    other = [n for n, r in ranges.items() if r is not None and r[0] < -NORMALISED]
    if plain and other:
        (low, high), (least, most) = ranges[plain[0]] or (0, 0), ranges[other[0]] or (0, 0)
        warn(
            f"{plain[0]} has images over [{low:.3g}, {high:.3g}] and {other[0]} over [{least:.3g}, {most:.3g}], as if "
            "these alone were normalised: what is said of the one is not of the other; give both as pixels in [0, 1], "
            "and normalize=(mean, std)",
            CalibrationWarning,
        )


def _range_of(data: Source, name: str) -> tuple[float, float] | None:
    """The range of a set's pixels, in which bytes are from 0 to 1; None where that is not known."""
    if isinstance(data, IterableDataset):
        return None
    x = data.x if isinstance(data, Images) else torch.as_tensor(Seeded(data, 0, 0, name)[0][0])
    if not x.numel():
        return None
    if x.dtype == torch.uint8:
        return 0.0, 1.0
    low, high = x.detach().aminmax()
    return float(low), float(high)


def check_noise(model: nn.Module, settings: Training) -> None:
    """Check that a training has epochs in which the network's noise layers are on.

    Args:
        model: The network.
        settings: The settings.

    Raises:
        RecipeError: It has such layers, and `noise_share` is 0.
    """
    if settings.epochs and settings.noise_share == 0 and noise_by_name(model):
        raise RecipeError(
            "noise_share=0 leaves the network's adversarial noise layers off in every epoch, and the learning rate at "
            "its minimum: give noise_share above 0, or train a network without these layers"
        )


def idle_norms(model: nn.Module, settings: Training) -> str:
    """Say that a training does not use the auxiliary norms that a network has for attacked images.

    Args:
        model: The network.
        settings: The settings.

    Returns:
        The sentence; empty where it uses them, or no images are given.
    """
    if settings.adversary is not None or not has_auxiliary_norms(model):
        return ""
    return (
        "the network has auxiliary norms for attacked images, and training.adversary is null: they stay as they are, "
        "and the training is a plain one"
    )


def _takes_float32(model: nn.Module, train: Source) -> bool:
    """Whether a network of another precision takes images in float32: it may convert them itself."""
    image = train.x[:1] if isinstance(train, Images) else torch.as_tensor(train[0][0]).unsqueeze(0)
    like = next(model.parameters())
    try:
        with torch.no_grad():
            copy.deepcopy(model).eval()(image.to(like.device, torch.float32))
    except RuntimeError:
        return False
    return True
