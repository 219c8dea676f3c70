"""The page's part on published shifted sets."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from surgeon.report.reading import Run
from surgeon.results.shifted import shift_words


def shift_sentences(runs: Sequence[Run]) -> list[tuple[str, str, str]]:
    """Write what was measured on each shifted set.

    Args:
        runs: The runs.

    Returns:
        (name of the run, its figures, its notes), one for each set.
    """
    return [
        (run.name, "; ".join(shift_words(shift, run.found.clean_error_on(shift))), "; ".join(shift.notes))
        for run in runs
        for shift in run.found.shifts
    ]


def shift_lines(runs: Sequence[Run]) -> list[tuple[str, str, dict[int, tuple[float, str]]]]:
    """Build the table of errors on shifted sets.

    Args:
        runs: The runs.

    Returns:
        (set, part, number of the run → (error, the error at each severity as text)). Of two sets of one name in a
        run the later one stands there.
    """
    lines: dict[tuple[str, str], dict[int, tuple[float, str]]] = {}
    for number, run in enumerate(runs):
        for shift in run.found.shifts:
            for part in dict.fromkeys(r.part for r in shift.rows):
                own = sorted((r for r in shift.rows if r.part == part), key=lambda r: r.severity or 0)
                errors = [1 - r.share.value for r in own]
                each = " ".join(f"{100 * e:.0f}" for e in errors) if len(errors) > 1 else ""
                shown = "" if part == shift.name else part.replace("_", " ")
                lines.setdefault((shift.name, shown), {})[number] = (fmean(errors), each)
    return [(name, part, cells) for (name, part), cells in lines.items()]
