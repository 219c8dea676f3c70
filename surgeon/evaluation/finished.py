"""What a finished evaluation leaves in its folder: the result, the verdicts as tables, a benchmark's entry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from surgeon.disk.files import write_csv, write_json, write_parquet
from surgeon.errors import ArtifactError
from surgeon.evaluation.beyond.certification import COLUMNS as OF_CERTIFICATES
from surgeon.evaluation.beyond.certification import SETTINGS as OF_ONE_SIGMA
from surgeon.evaluation.beyond.certification import Certificate
from surgeon.evaluation.engine.external import EXTERNAL
from surgeon.evaluation.engine.store import MANIFEST, read_outcome
from surgeon.evaluation.parts import ATTACKS
from surgeon.ownership import seal
from surgeon.reading import read_as
from surgeon.results.assessment import Assessment
from surgeon.results.files import RESULT, SETTINGS, VERDICTS, VERDICTS_AS_TEXT
from surgeon.results.robustbench import model_info
from surgeon.results.verdict import COLUMNS, Outcome

CERTIFICATES, ROBUSTBENCH = "certificates.parquet", "model_info.json"


def write_assessment(
    folder: Path, assessment: Assessment, outcome: Outcome, certificates: Sequence[Certificate]
) -> None:
    """Write the result of an evaluation, and the files that are made of it.

    Args:
        folder: The evaluation's folder.
        assessment: The result.
        outcome: The verdicts.
        certificates: The certificates, if some were made.
    """
    write_parquet(folder / VERDICTS, COLUMNS, outcome.rows())
    write_csv(folder / VERDICTS_AS_TEXT, list(COLUMNS), ([r[c] for c in COLUMNS] for r in outcome.rows()))
    if certificates:
        write_parquet(folder / CERTIFICATES, OF_CERTIFICATES, [c.model_dump() for c in certificates])
    write_json(folder / ROBUSTBENCH, model_info(assessment))
    write_json(
        folder / RESULT, assessment.model_dump(mode="json")
    )  # last: its presence marks a finished evaluation
    of_parts = [*folder.rglob(MANIFEST), *folder.rglob(OF_ONE_SIGMA)]
    inside = sorted(p.relative_to(folder).as_posix() for p in of_parts)
    # Its own files are as they are now, also where an earlier result was deleted; of its parts those from before count.
    own = (SETTINGS, ROBUSTBENCH, RESULT, EXTERNAL)
    seal(folder, (*own, *inside), anew=own)


def check_named(folder: Path, assessment: Assessment, name: str) -> None:
    """Check that a finished evaluation calls its network as it is asked for.

    Args:
        folder: The evaluation's folder.
        assessment: Its result.
        name: The name that is asked for; empty for any.

    Raises:
        ArtifactError: It calls it otherwise.
    """
    if name and name != assessment.subject.name:
        raise ArtifactError(
            f"{folder} holds a finished evaluation, whose network is called {assessment.subject.name!r} in it, and "
            f"name={name!r} is given: leave name out, or choose another folder"
        )


def read_assessment(folder: str | Path) -> Assessment:
    """Read the result of a finished evaluation.

    Args:
        folder: The folder that `assess` wrote.

    Returns:
        The assessment.

    Raises:
        ArtifactError: The folder has no evaluation, or an unfinished one; the message states its progress.

    Examples:
        >>> from surgeon.evaluation import read_assessment
        >>> read_assessment("runs/demo/evaluation").summary.headline  # doctest: +SKIP
    """
    path = Path(folder) / RESULT
    if not path.is_file():
        blocks = Path(folder) / ATTACKS
        if blocks.is_dir():
            missing = len(read_outcome(blocks).missing)
            state = f"{missing} blocks of attacks are missing" if missing else "its attacks are done"
            raise ArtifactError(
                f"{folder} holds an evaluation that is not finished ({state}): run the same command again"
            )
        raise ArtifactError(f"{folder} holds no evaluation: there is no {RESULT} in it")
    return read_as(path, Assessment)
