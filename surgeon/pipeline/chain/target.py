"""Find the network and the images that an evaluation outside a run names."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from surgeon.data import HeldOut
from surgeon.errors import ArtifactError
from surgeon.evaluation.finished import read_assessment
from surgeon.models.facts import normalization_of
from surgeon.models.normalisation import as_said
from surgeon.pipeline.chain.checking import Unknown
from surgeon.pipeline.chain.evaluation import Tested, reason
from surgeon.pipeline.chain.origins import Reader, demand_source
from surgeon.pipeline.evaluating import network_of, test_images


def tested_by_name(folder: Path, reader: Reader) -> Tested:
    """The subject of an evaluation, as evaluation.json names it.

    Args:
        folder: the evaluation's folder.
        reader: opens what the folder names.
    """
    try:
        assessment = read_assessment(folder)
    except ArtifactError as error:
        return Tested(reason(str(error)), reason(str(error)))
    target = str(assessment.made.get("target") or "")
    there = Path(target).is_absolute() and Path(target).is_dir()

    def network() -> nn.Module:
        if there:
            subject = network_of(target, allow_code=reader.allowed)
            # Where the folder says nothing, the evaluation was told.
            return (
                subject
                if normalization_of(subject)
                else as_said(subject, assessment.subject.mean, assessment.subject.std)
            )
        if not target:
            raise Unknown("the record does not name its network")
        if Path(target).is_absolute():
            raise Unknown(f"{target} is no longer there")
        raise Unknown(f"{target} is a name, whose weights are not in a folder")

    def images(count: int | None) -> HeldOut:
        source, root = str(assessment.data["source"]), assessment.data.get("root")
        demand_source(source, root)
        if not there and Path(target).is_absolute():
            raise Unknown(f"{target}, which says how its images were split, is no longer there")
        weights = assessment.made.get("weights")
        if weights and not Path(str(weights)).exists():
            raise Unknown(f"{weights}, which says how its images were split, is no longer there")
        return test_images(target, source, root, assessment.subject.input_size, count, weights=weights).images

    return Tested(network, images)
