"""The page: one or several runs in a single HTML file without external resources."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from surgeon.errors import ArgumentError, MissingPackageError
from surgeon.numerals import bounds, percent, points
from surgeon.ownership import new_file
from surgeon.report import curves, overview, shifts, tables
from surgeon.report.charts import mark
from surgeon.report.comparing import comparisons
from surgeon.report.origin import hashes_of, is_unchanged_page, signed
from surgeon.report.reading import Run, read_runs, unique
from surgeon.report.words import attack_words, check_words, size_words
from surgeon.results.acceptance import acceptance
from surgeon.results.statistics import Share

_FEW = 3
"""Up to this many runs are named in the page's title; for more, it states their number."""


def report(folders: Sequence[str | Path], path: str | Path, *, overwrite: bool = False) -> Path:
    """Write one HTML page that shows evaluations side by side.

    Args:
        folders: Folders of evaluations, of runs, or of studies; each arm of a study is a run of its own.
        path: The file to write.
        overwrite: Replace an existing page, if surgeon wrote it.

    Returns:
        The path of the page.

    Raises:
        ArtifactError: A folder has no finished evaluation, or `path` exists.
        ArgumentError: No folder is given, or one more than once.
        MissingPackageError: jinja2 or matplotlib is not installed.

    Examples:
        >>> from surgeon.report import report
        >>> report(["runs/stock/evaluation", "runs/kap/evaluation"], "report.html")  # doctest: +SKIP
    """
    if not folders:
        raise ArgumentError("a report needs one folder of an evaluation or more")
    try:
        import matplotlib  # noqa: F401
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise MissingPackageError(
            f"the report needs {error.name}: pip install 'fx-surgeon[report]'"
        ) from None
    each = [run for folder in folders for run in read_runs(folder)]
    places = Counter(run.folder.resolve() for run in each)
    if twice := next((run.folder for run in each if places[run.folder.resolve()] > 1), None):
        raise ArgumentError(f"{twice} is given more than once: a page compares evaluations with other ones")
    runs = unique(each)
    environment = Environment(
        loader=PackageLoader("surgeon.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=_percent,
        interval=bounds,
        points=points,
        shown=_shown,
        mark=mark,
        size_words=size_words,
        attack_words=attack_words,
        check_words=check_words,
    )
    page = environment.get_template("page.html.j2").render(**_content(runs))
    with new_file(path, overwrite=overwrite, ours=is_unchanged_page, inputs=folders) as work:
        work.write_bytes(signed(page).encode("utf-8"))
    return Path(path)


def _content(runs: Sequence[Run]) -> dict[str, Any]:
    """The variables of the templates."""
    here = files("surgeon.report")
    names = [r.name for r in runs]
    radii, certified = tables.certified_lines(runs)
    return {
        "style": (here / "style.css").read_text(encoding="utf-8"),
        "script": (here / "script.js").read_text(encoding="utf-8"),
        "title": "Robustness of " + (", ".join(names) if len(names) <= _FEW else f"{len(names)} networks"),
        "evaluations": hashes_of(runs),
        "runs": runs,
        "cards": [overview.card(r) for r in runs],
        "remarks": overview.remarks(runs),
        "factors": [overview.factors(r) for r in runs],
        "spreads": [overview.spread(r) for r in runs],
        "comparisons": comparisons(runs),
        "growth": overview.growth,
        "edits": overview.edits,
        "passed_over": overview.passed_over,
        "attacks": tables.attack_lines(runs),
        "smallest": [(r.name, c) for r in runs for c in r.found.smallest],
        "attack_charts": curves.attack_charts(runs),
        "noise": tables.noise_lines(runs),
        "noise_charts": curves.noise_charts(runs),
        "checks": tables.check_lines(runs),
        "acceptance": [(r.name, acceptance(r.found)) for r in runs if r.found.flags is not None],
        "corruptions": tables.corruption_lines(runs),
        "shifted": shifts.shift_lines(runs),
        "shift_words": shifts.shift_sentences(runs),
        "radii": radii,
        "certified": certified,
        "certified_charts": curves.certified_charts(runs),
        "pictures": overview.pictures(runs),
        "reproduce": [_reproduce(r) for r in runs],
    }


def _percent(share: Share | float) -> str:
    return percent(share.value if isinstance(share, Share) else share).replace(" ", "\N{NO-BREAK SPACE}")


def _shown(value: float) -> str:
    """A count with separated thousands, other numbers with three digits."""
    return f"{value:,}" if isinstance(value, int) else (f"{value:,.0f}" if value >= 100 else f"{value:.3g}")


def _reproduce(run: Run) -> dict[str, str]:
    made = run.found.made
    machine = [str(made[k]) for k in ("machine",) if made.get(k)] + [str(g) for g in made.get("gpus", ())]
    python = [f"Python {made['python']}"] if made.get("python") else []
    return {
        "command": shlex.join(map(str, made.get("command", []))),
        "versions": ", ".join([f"{k} {v}" for k, v in made.get("versions", {}).items()] + python),
        "machine": ", ".join(machine),
        "settings": json.dumps(run.found.settings, indent=2, ensure_ascii=False),
    }
