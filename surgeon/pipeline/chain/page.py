"""Check a page: unchanged since it was written, and made from the evaluation beside it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from surgeon.disk.hashes import own_hash
from surgeon.ownership.parts import EVALUATION
from surgeon.pipeline.chain.checking import Misfit, Unknown, checked
from surgeon.report.origin import origin_of
from surgeon.report.reading import RESULT
from surgeon.verification import Check

_BESIDE = (
    RESULT,
    f"*/{RESULT}",
    f"*/{EVALUATION}/{RESULT}",
    f"*/*/{EVALUATION}/{RESULT}",
    f"*/*/*/{EVALUATION}/{RESULT}",
)
"""Where evaluations are searched: beside a page and below it, also those of runs and studies."""


def of_evaluation(page: Path, result: Path) -> str:
    """Check that a page was made from the evaluation beside it.

    Args:
        page: the page.
        result: the evaluation's result file.

    Raises:
        Misfit: the page was made from another evaluation.
        ArtifactError: the page was changed.
    """
    if own_hash(result) not in origin_of(page):
        raise Misfit(f"was made from another {RESULT} than the one that is there")
    return f"made from this {RESULT}"


def page_checks(page: Path) -> list[Check]:
    """The checks of a page: unchanged, and made from evaluations that lie beside it.

    Args:
        page: the page.
    """
    hashes: list[str] = []
    checks = [checked("page", lambda: _as_written(page, hashes))]
    files = {own_hash(p): p.parent for pattern in _BESIDE for p in sorted(page.parent.glob(pattern))}
    for number, wanted in enumerate(hashes, 1):
        checks.append(checked(f"evaluation {number}", partial(_place, files, wanted)))
    return checks


def _as_written(page: Path, texts: list[str]) -> str:
    texts.extend(origin_of(page))
    return f"as it was written, of {len(texts)} evaluation{'s' if len(texts) != 1 else ''}"


def _place(files: dict[str, Path], wanted: str) -> str:
    if wanted not in files:
        raise Unknown(f"no evaluation beside the page is the one that it was made from ({wanted[:21]}…)")
    return str(files[wanted])
