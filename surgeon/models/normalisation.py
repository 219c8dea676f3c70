"""How a network's images are normalised, where the caller says it: checked, written down, compared with records."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from torch import nn

from surgeon.errors import DataError, ModelError, either
from surgeon.images import may_take
from surgeon.models.facts import (
    ASSUMED,
    ORIGIN,
    assumes_normalization,
    in_channels_of,
    name_of,
    normalization_of,
)
from surgeon.models.preparation import configure, configured
from surgeon.wrappers import unwrapped


def set_normalization(model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
    """Say how a network's images are normalised, in its configuration.

    `surgeon.apply`, trainings and evaluations then normalise so, and `surgeon.save` writes it into the folder. What the
    configuration said before is replaced.

    Args:
        model: the network, changed in place.
        mean: one number per channel, in units of [0, 1] pixels.
        std: one number per channel, positive, in units of [0, 1] pixels.

    Raises:
        DataError: the numbers are not finite, not as many, or of pixels up to 255.
        ModelError: the network takes another number of channels.

    Examples:
        >>> import surgeon
        >>> network = surgeon.create_model("torchvision/resnet18")
        >>> surgeon.models.set_normalization(network, (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616))
        >>> surgeon.models.normalization_of(network)
        ((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616))
    """
    check_normalization(mean, std)
    if not may_take(model, len(mean)):
        channels = in_channels_of(model) or 0
        raise ModelError(
            f"{in_words(mean, std)} {'has one number' if len(mean) == 1 else f'have {len(mean)} numbers'} each, and "
            f"{name_of(model)} takes images of {channels} channel{'s' if channels > 1 else ''}: give one for each"
        )
    said = {"mean": tuple(map(float, mean)), "std": tuple(map(float, std))}
    configure(model, {**(configured(model) or {}), **said})
    settle(model)


def settle(model: nn.Module) -> None:
    """Take how a network's images are normalised for what its weights are of: it was said, or it is trained so.

    Args:
        model: the network, changed in place.
    """
    model = unwrapped(model, sharded=True)
    origin = model.__dict__.get(ORIGIN)
    if origin is not None:
        model.__dict__[ORIGIN] = {**origin, ASSUMED: False}


def as_said(
    model: nn.Module, mean: Sequence[float] | None, std: Sequence[float] | None, *, record: str = ""
) -> nn.Module:
    """Have a network's images normalised as a caller says, where the caller says anything.

    Args:
        model: the network, changed in place.
        mean: one number per channel, or None.
        std: one number per channel, or None.
        record: whose word the configuration's normalisation is, where it is that of these weights; empty where it is a
            library's default for the architecture, which the caller knows better.

    Returns:
        The network.

    Raises:
        DataError: one of both is missing, or the numbers are no normalisation.
        ModelError: the record says another normalisation.
    """
    if mean is None and std is None:
        return model
    if mean is None or std is None:
        lacks, there = ("mean", "std") if mean is None else ("std", "mean")
        raise DataError(
            f"{either(lacks, f'--{lacks}')} is missing: {either(f'{there} is', f'--{there} was')} given, and images "
            "are normalised by both"
        )
    check_normalization(mean, std)
    known = normalization_of(model)
    if record and known is not None and not assumes_normalization(model):
        if not (_close(mean, known[0]) and _close(std, known[1])):
            raise ModelError(
                f"{record} says that images are normalised by {in_words(*known)}, and "
                f"{in_words(mean, std)} says otherwise: leave {either('mean and std', '--mean and --std')} out"
            )
        return model
    set_normalization(model, mean, std)
    return model


def check_normalization(mean: Sequence[float], std: Sequence[float]) -> None:
    """Check the numbers that pixels in [0, 1] are normalised by.

    Args:
        mean: one number per channel.
        std: one number per channel.

    Raises:
        DataError: they are not finite, not as many, std is not above 0, or they are of pixels up to 255.
    """
    if not (isinstance(mean, Iterable) and isinstance(std, Iterable)):
        raise DataError(
            f"mean={mean!r} and std={std!r} must be one number a channel each, as in (0.5,) and (0.25,)"
        )
    numbers = [*mean, *std]
    if len(mean) != len(std) or not all(map(math.isfinite, numbers)) or min(std, default=0) <= 0:
        raise DataError(
            f"mean={tuple(mean)} and std={tuple(std)} must be finite, one number a channel, std above 0"
        )
    if max(mean) > _LARGEST or max(std) > _LARGEST:
        raise DataError(
            f"{in_words(mean, std)} are not of pixels in [0, 1]: divide them by 255 where they are of pixels up to 255"
        )


_LARGEST = 4.0
"""No standard deviation of pixels in [0, 1] is above 1. A scale may be a little larger; those of 255 levels are far."""


def in_words(mean: Sequence[float], std: Sequence[float]) -> str:
    """A normalisation as a text, in the words of the interface.

    Args:
        mean: one number per channel.
        std: one number per channel.
    """
    here, there = (tuple(float(v) for v in values) for values in (mean, std))
    return either(
        f"mean={here} and std={there}",
        f"--mean {','.join(map(repr, here))} --std {','.join(map(repr, there))}",
    )


def _close(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether numbers are equal up to how a file in 32 bits writes them."""
    return len(one) == len(other) and all(
        math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9) for a, b in zip(one, other, strict=True)
    )


def contradicted(
    model: nn.Module, normalize: tuple[Sequence[float], Sequence[float]] | None
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return what a network's configuration says of its images, where they are normalised otherwise.

    Args:
        model: the network.
        normalize: (mean, std) that its images are normalised by; None where they are pixels.

    Returns:
        (mean, std) of the configuration; None where it says nothing, or the same.
    """
    known = normalization_of(model)
    if known is None:
        return None
    if normalize is None:
        plain = all(m == 0 for m in known[0]) and all(s == 1 for s in known[1])
        return None if plain else known
    mean, std = ([*v] * (len(k) if len(v) == 1 else 1) for v, k in zip(normalize, known, strict=True))
    return None if _close(mean, known[0]) and _close(std, known[1]) else known
