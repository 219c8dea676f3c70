"""Whether images are resized and normalised for an evaluation as they were in the network's training."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from surgeon.errors import either
from surgeon.models.facts import normalised_in_words, normalization_of
from surgeon.models.preparation import resized_otherwise
from surgeon.models.robustbench import is_robustbench
from surgeon.pipeline.origin import Lineage
from surgeon.pipeline.own_images import unrecorded
from surgeon.store.artifact import folder_of
from surgeon.store.folder import network_in, read_config


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
    if otherwise := resized_otherwise(network):
        remarks += (
            f"images are stretched to {size[-2]}×{size[-1]} (bilinear), whatever their shape; the configuration "
            f"of {target} says {otherwise}: of images of another size it would be given other pixels",
        )
    if lineage and normalised and not _normalises(folder_of(target)):
        remarks += (
            f"warning: {target} was trained without a normalisation, as its record says, and here its images are "
            f"{normalised_in_words(network)}: leave {either('mean and std', '--mean and --std')} out to evaluate "
            "it as it was trained",
        )
    unsaid = weights or (normalization_of(network) is None and not is_robustbench(target))
    if unsaid and not lineage and not normalised:
        remarks += (
            f"how the images of its training were normalised is not recorded: here they are "
            f"{normalised_in_words(network)}, as {target} is configured; "
            f"{either('mean=… and std=…', '--mean and --std')} say otherwise",
        )
    return remarks


def _normalises(folder: Path | None) -> bool:
    """Whether a folder's configuration says how images are normalised; True where there is no folder to ask."""
    return folder is None or read_config(network_in(folder)).pretrained_cfg.mean is not None
