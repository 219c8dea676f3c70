"""Check an evaluation's folder: its subject, its verdicts, the numbers that follow, and its other files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from torch import nn

from surgeon.data import HeldOut
from surgeon.disk.hashes import own_hash
from surgeon.errors import ArtifactError
from surgeon.evaluation.finished import read_assessment
from surgeon.evaluation.parts import PICTURES
from surgeon.pipeline.chain import attacks, certificates, page, shifts, subject
from surgeon.pipeline.chain.checking import Misfit, Unknown, checked, demand_manifest, in_use, some, unknown
from surgeon.pipeline.chain.comparing import demand_equal
from surgeon.pipeline.chain.seals import record_checks
from surgeon.pipeline.evaluating import PAGE
from surgeon.reading import read_json, read_mapping
from surgeon.results.assessment import Assessment
from surgeon.results.files import RESULT, SETTINGS
from surgeon.results.robustbench import model_info
from surgeon.verification import Check

PARTS = {
    "diagnostics": "diagnosis",
    "flags": "flags",
    "curves": "curves",
    "corruptions": "corruptions",
    "shifts": "shifts",
    "noise": "noise",
}
"""File of an evaluation → the field of evaluation.json with the same content."""


@dataclass(frozen=True)
class Tested:
    """The subject of an evaluation: functions that give the network, and a number of the test images.

    Both raise Unknown where these are missing.
    """

    network: Callable[[], nn.Module]
    images: Callable[[int | None], HeldOut]


def evaluation_checks(folder: Path, tested: Tested) -> list[Check]:
    """The checks of an evaluation, from the network and its images to the page.

    Args:
        folder: the evaluation's folder.
        tested: what was evaluated.
    """
    checks, read = in_use(folder), list[Assessment]()
    if not (folder / RESULT).is_file():
        return [*checks, unknown(RESULT, _unfinished(folder))]
    checks.append(checked(RESULT, lambda: _result(folder, read)))
    if not read:
        return checks
    (assessment,) = read
    checks += subject.subject_checks(folder, assessment, tested.network, tested.images)
    checks += attacks.attack_checks(folder, assessment)
    checks += certificates.certificate_checks(folder, assessment)
    checks += shifts.shift_checks(folder, assessment)
    checks.append(checked("parts", lambda: _parts(folder, assessment)))
    if assessment.pictures:
        checks.append(checked(PICTURES, lambda: _pictures(folder, assessment.pictures)))
    if (folder / PAGE).is_file():
        checks.append(checked(PAGE, lambda: page.of_evaluation(folder / PAGE, folder / RESULT)))
    return [*checks, *record_checks(folder, checks)]


def _unfinished(folder: Path) -> str:
    try:
        read_assessment(folder)
    except ArtifactError as error:
        return str(error).removeprefix(f"{folder} ")
    return "not there"


def _result(folder: Path, read: list[Assessment]) -> str:
    demand_manifest(folder, "evaluation")
    assessment = read_assessment(folder)
    read.append(assessment)
    demand_equal(
        assessment.settings, read_mapping(folder / SETTINGS), f"its settings are not those of {SETTINGS}"
    )
    demand_equal(assessment.data, assessment.settings["data"], "its data are not those of its settings")
    return f"of {assessment.subject.name or assessment.subject.model}"


def _parts(folder: Path, assessment: Assessment) -> str:
    """Check that the figures in separate files are those in evaluation.json."""
    whole, seen = assessment.model_dump(mode="json"), []
    for name, field in PARTS.items():
        path = folder / f"{name}.json"
        if path.is_file():
            demand_equal(whole[field], read_json(path), f"{name}.json and {RESULT} differ: {field}")
            seen.append(path.name)
        elif whole[field]:
            raise Misfit(f"{path.name} is missing")
    path = folder / "model_info.json"
    demand_equal(read_json(path), model_info(assessment), path.name)
    return ", ".join([*seen, path.name])


def _pictures(folder: Path, drawn: Sequence[Any]) -> str:
    missing = [d.file for d in drawn if not (folder / PICTURES / Path(d.file).name).is_file()]
    if missing:
        raise Misfit(f"missing: {some(missing)}")
    other = [d.file for d in drawn if d.hash and d.hash != own_hash(folder / PICTURES / Path(d.file).name)]
    if other:
        raise Misfit(f"not as they were drawn: {some(other)}")
    if any(not d.hash for d in drawn):
        raise Unknown(f"{len(drawn)} pictures are there, and nothing states what they held")
    return f"{len(drawn)} pictures"


def reason(why: str) -> Callable[..., Any]:
    """A function that raises Unknown when called, in place of something that is missing.

    Args:
        why: the reason.
    """

    def ask(*given: Any) -> NoReturn:
        raise Unknown(why)

    return ask
