"""Whether the result of a finished evaluation is still what its own records give."""

from __future__ import annotations

from pathlib import Path

from surgeon.disk.files import each_of_parquet
from surgeon.errors import ArtifactError
from surgeon.ownership import unsealed
from surgeon.results.assessment import Assessment
from surgeon.results.files import RESULT, SETTINGS, VERDICTS
from surgeon.results.verdict import standing


def check_untouched(folder: str | Path, assessment: Assessment) -> None:
    """Check the result of an evaluation by its seal and by its verdicts, where the folder has them.

    Args:
        folder: The evaluation's folder.
        assessment: What evaluation.json in it holds.

    Raises:
        ArtifactError: settings.json or evaluation.json was changed since the evaluation ended, or its counts
            of images that are right, clean and in the worst case, are not those of verdicts.parquet.
    """
    place = Path(folder)
    how = f"put back what was changed (surgeon verify {folder} tells what), or evaluate into a new folder"
    for name in (n for n in unsealed(place) if n in (SETTINGS, RESULT)):
        raise ArtifactError(f"{place / name} was changed after the evaluation had ended; {how}")
    if not (place / VERDICTS).is_file():
        return
    summary = assessment.summary
    try:
        clean, worst = standing(each_of_parquet(place / VERDICTS), summary.main)
    except KeyError as error:
        raise ArtifactError(f"{place / VERDICTS} has no column {error}; {how}") from None
    for name, share, right in (("clean", summary.clean, clean), ("worst", summary.worst, worst)):
        if (share.k, share.n) != (sum(right.values()), len(right)):
            raise ArtifactError(
                f"{place / RESULT} says that {share.k} of {share.n} images are right "
                f"({name}), and {VERDICTS} beside it "
                f"{sum(right.values())} of {len(right)}; {how}"
            )
