"""Whether images are resized and normalised as they were in the network's training."""

from __future__ import annotations

from torch import nn

from surgeon.errors import ArtifactWarning, either
from surgeon.models.beside_weights import (
    configuration_beside,
    guessed_beside,
    input_size_beside,
    lost_beside,
)
from surgeon.models.facts import assumes_normalization, normalised_in_words, normalization_of
from surgeon.models.preparation import resized_otherwise
from surgeon.models.robustbench import is_robustbench
from surgeon.pipeline.lineage import lineage_of
from surgeon.pipeline.origin import Lineage, is_trained
from surgeon.pipeline.own_images import unrecorded
from surgeon.store.artifact import folder_of
from surgeon.store.folder import network_in, read_config
from surgeon.warned import warn


def remarks_on_preparation(
    target: str,
    network: nn.Module,
    size: tuple[int, ...],
    *,
    data: str,
    lineage: Lineage,
    weights: str | None,
    normalised: bool,
) -> tuple[str, ...]:
    """Remarks on how images are resized and normalised for trained weights, beside how their training did it.

    Args:
        target: the network's name or folder.
        network: the network.
        size: (C, H, W) of the images.
        data: the source of the images.
        lineage: what the network was trained on, as far as that is recorded.
        weights: the file of weights, or None.
        normalised: whether the caller said how images are normalised.
    """
    remarks: tuple[str, ...] = () if lineage else unrecorded(target, data)
    if lost := lost_beside(weights, network):
        remarks += (f"warning: {lost}",)
    remarks += _on_sizes(target, network, size, weights)
    if normalised and (said := _of_pixels(network, target, weights, lineage)):
        remarks += (f"warning: {said}",)
    return (*remarks, *not_recorded(target, network, lineage=lineage, weights=weights, normalised=normalised))


def remarks_on_source(source: str, network: nn.Module, size: tuple[int, ...]) -> tuple[str, ...]:
    """Remarks on how images are resized and normalised for a network that attacks are transferred from.

    Args:
        source: its name or folder.
        network: the network.
        size: (C, H, W) of the images.
    """
    remarks = _on_sizes(source, network, size, None)
    if assumes_normalization(network):
        remarks += (
            f"how the images of its training were normalised is not recorded: here they are "
            f"{normalised_in_words(network)}, as it is configured",
        )
    return remarks


def _on_sizes(target: str, network: nn.Module, size: tuple[int, ...], weights: str | None) -> tuple[str, ...]:
    """Remarks on images of another size than the record's, and resized otherwise."""
    remarks: tuple[str, ...] = ()
    if otherwise := resized_otherwise(network):
        remarks += (
            f"images are stretched to {size[-2]}×{size[-1]} (bilinear), whatever their shape; the configuration "
            f"of {target} says {otherwise}: of images of another size it would be given other pixels",
        )
    recorded = input_size_beside(weights) if weights else _recorded_size(target)
    if recorded is not None and recorded[-2:] != size[-2:]:
        here, there = ("×".join(map(str, s[-2:])) for s in (size, recorded))
        remarks += (
            f"images are {here} here, and those that the record of {weights or target} tells of {there}",
        )
    return remarks


def _recorded_size(target: str) -> tuple[int, ...] | None:
    folder = folder_of(target)
    return None if folder is None else read_config(network_in(folder)).pretrained_cfg.input_size


def not_recorded(
    target: str, network: nn.Module, *, lineage: Lineage, weights: str | None, normalised: bool
) -> tuple[str, ...]:
    """A remark where nothing says how the images of a network's training were normalised.

    Args:
        target: the network's name or folder.
        network: the network.
        lineage: what it was trained on, as far as that is recorded.
        weights: the file of weights, or None.
        normalised: whether the caller said how images are normalised.
    """
    if weights:
        known = not guessed_beside(weights)
    else:
        said = normalization_of(network) is not None and not assumes_normalization(network)
        known = is_trained(lineage) or said or is_robustbench(target)
    if known or normalised:
        return ()
    return (
        f"how the images of its training were normalised is not recorded: here they are "
        f"{normalised_in_words(network)}, as {target} is configured; "
        f"{either('mean=… and std=…', '--mean and --std')} say otherwise",
    )


def warn_of_pixels(network: nn.Module, target: str, weights: str | None) -> None:
    """Warn where a caller said how images are normalised, and the network was trained on pixels.

    Args:
        network: the network, with what was said.
        target: its name or folder.
        weights: the file of weights, or None.

    Warns:
        ArtifactWarning: the record of the training says that images were not normalised.
    """
    if said := _of_pixels(network, target, weights, lineage_of(target, weights)):
        warn(said, ArtifactWarning)


def _of_pixels(network: nn.Module, target: str, weights: str | None, lineage: Lineage) -> str:
    """What to say of a normalisation, where the record of a training says that images were pixels; else empty."""
    if not is_trained(lineage):
        return ""
    if weights:
        cfg = configuration_beside(weights)
        recorded = cfg is not None and not cfg.get("mean")
    else:
        folder = folder_of(target)
        recorded = folder is not None and read_config(network_in(folder)).pretrained_cfg.mean is None
    if not recorded:
        return ""
    return (
        f"{weights or target} was trained without a normalisation, as its record says, and here its images are "
        f"{normalised_in_words(network)}: leave {either('mean and std', '--mean and --std')} out to take it as it was "
        "trained"
    )
