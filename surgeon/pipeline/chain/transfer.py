"""Check the networks that transferred attacks come from: they have the weights that the evaluation recorded."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from surgeon.errors import ArtifactError
from surgeon.evaluation.engine.fingerprints import weights_hash
from surgeon.evaluation.engine.subject import of_pixels
from surgeon.evaluation.finished import read_assessment
from surgeon.ownership import opened
from surgeon.pipeline.chain.checking import Misfit, Unknown, checked
from surgeon.pipeline.evaluating import network_of
from surgeon.verification import Check


def transfer_checks(folder: Path, allowed: tuple[str, ...]) -> list[Check]:
    """One check for each network that transferred attacks come from.

    Args:
        folder: the evaluation's folder.
        allowed: modules that folders may import.
    """
    try:
        assessment = read_assessment(folder)
    except ArtifactError:
        return []
    places = assessment.made.get("sources") or {}
    return [
        checked(f"source {name}", partial(_same, _placed(places.get(name), folder), written[0], allowed))
        for name, written in assessment.settings["sources"].items()
    ]


def _placed(place: object, folder: Path) -> object:
    """Where a network lies, which the record names by its place in the same reproduction; a model's name stays."""
    return opened(str(place), folder) if str(place).startswith("../") else place


def _same(place: object, wanted: str, allowed: tuple[str, ...]) -> str:
    if not place:
        raise Unknown("the record does not say where it lies")
    if not Path(str(place)).is_dir():
        absolute = Path(str(place)).is_absolute()
        raise Unknown(
            f"{place} is {'no longer there' if absolute else 'a name, whose weights are not in a folder'}"
        )
    now = weights_hash(of_pixels(network_of(str(place), allow_code=allowed)))
    if now != wanted:
        raise Misfit(f"the weights of {place} ({now}) are not those that were attacked ({wanted})")
    return str(place)
