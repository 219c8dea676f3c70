"""Whether a run's trained/ still holds the network that its training ended with."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from surgeon.errors import ArtifactError
from surgeon.models.tensor_files import same_tensors
from surgeon.ownership.parts import CUT, TRAINED, TRAINING
from surgeon.reading import read_mapping
from surgeon.store.folder import WEIGHTS
from surgeon.training.run_files import BEST, LAST

SETTINGS = "settings.json"


def ended_with(run: Path, settings: Mapping[str, Any]) -> Path:
    """The file of weights that a run's training ends with.

    Args:
        run: the run's folder.
        settings: the run's settings.
    """
    if not settings["training"]["epochs"]:
        return run / CUT / WEIGHTS
    best = settings["training"]["keep"] == "best" and (run / TRAINING / BEST).is_file()
    return run / TRAINING / (BEST if best else LAST)


def check_ended(place: Path) -> None:
    """Check the weights of a run's trained network, where the run keeps those that its training ended with.

    Args:
        place: a folder. Nothing is checked unless it is a run's, or the trained/ in one.

    Raises:
        ArtifactError: they are other weights: what is known of the run is not of this network.
    """
    run = place.parent if place.name == TRAINED else place
    trained = run / TRAINED / WEIGHTS
    if not (trained.is_file() and (run / SETTINGS).is_file()):
        return
    settings = read_mapping(run / SETTINGS)
    if not isinstance(settings.get("training"), dict) or not {"epochs", "keep"} <= {*settings["training"]}:
        return
    source = ended_with(run, settings)
    if source.is_file() and not _equal(trained, _state(trained), source, _state(source)):
        raise ArtifactError(
            f"{run / TRAINED} does not hold the network that the run {run} was trained to: its weights are not "
            f"those of {source.relative_to(run).as_posix()} (surgeon verify {run} tells more); put it back, or keep "
            "the other network in a folder outside the run"
        )


def _state(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size


@functools.lru_cache(maxsize=16)
def _equal(one: Path, now: tuple[int, int, int], other: Path, then: tuple[int, int, int]) -> bool:
    """Whether two files hold the same tensors; remembered as long as both files are untouched."""
    return same_tensors(one, other)
