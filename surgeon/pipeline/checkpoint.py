"""What a conversion's checkpoint holds, as hashes: the same name may hold something else at the next call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from torch import nn

from surgeon.disk.hashes import sha256_of
from surgeon.evaluation.engine.fingerprints import joined, weights_hash
from surgeon.models.facts import normalization_of
from surgeon.models.source_code import code_of
from surgeon.store.artifact import folder_of
from surgeon.store.folder import CONFIG, WEIGHTS, network_in


class Held(NamedTuple):
    """Hashes of a checkpoint.

    Attributes:
        weights: of the file of weights; of a network by name, such as own code, of its weights in memory and its
            source.
        config: of a folder's config.json; of a network by name, of how it normalises images; "" for a file.
    """

    weights: str
    config: str


def held(checkpoint: str | Path, network: Callable[[], nn.Module]) -> Held:
    """Take the hashes of a checkpoint.

    Args:
        checkpoint: a file of weights, a network's or a run's folder, a repository, or the name of own code.
        network: makes the network with its weights; called for a name alone.
    """
    if Path(checkpoint).is_file():
        return Held(sha256_of(Path(checkpoint)), "")
    if place := folder_of(checkpoint):
        inside = network_in(place)
        weights, config = (sha256_of(inside / n) if (inside / n).is_file() else "" for n in (WEIGHTS, CONFIG))
        return Held(weights, config)
    model = network()
    own = joined([weights_hash(model), str(code_of(model))])
    return Held(own, joined([str(normalization_of(model))]))


def differing_in(before: Held, now: Held) -> str:
    """Say what of a checkpoint is not what it was.

    Args:
        before: its hashes as recorded.
        now: its hashes.

    Returns:
        "the checkpoint itself", "the checkpoint's config.json" or the like; "" where nothing differs.
    """
    if before.weights != now.weights:
        return "the checkpoint itself"
    if before.config != now.config:
        return "the checkpoint's configuration"
    return ""
