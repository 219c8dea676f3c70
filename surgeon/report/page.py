"""The page: tables and charts of one or several runs, in one file that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from surgeon.edits import EFFECT_TEXT
from surgeon.errors import SurgeonError
from surgeon.evaluation.statistics import Share
from surgeon.evaluation.threat import size_text
from surgeon.files import write_text
from surgeon.report.charts import Series, line_chart
from surgeon.report.reading import Run, compared, read_run, unique

_LEVELS = {
    "gaussian": ("Gaussian noise", "σ, in [0, 1] pixels"),
    "uniform": ("Uniform noise, brought back to [0, 1]", "upper bound u"),
    "patches": ("Shuffled patches: shape against texture", "patches a side"),
}


def report(folders: Sequence[str | Path], path: str | Path) -> Path:
    """Write one HTML page about the evaluations in `folders`, side by side, to `path`.

    Raises ArtifactError for a folder without a finished evaluation, SurgeonError for none, or without jinja2.
    """
    if not folders:
        raise SurgeonError("a report needs one folder of an evaluation or more")
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError:
        raise SurgeonError("the report needs jinja2 and matplotlib: pip install 'surgeon[report]'") from None
    runs = unique([read_run(f) for f in folders])
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        percent=_percent, interval=_interval, size=lambda row: size_text(row.norm, row.eps)
    )
    here = files("surgeon.report")
    page = environment.from_string((here / "page.html.j2").read_text(encoding="utf-8"))
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(
        target,
        page.render(
            style=(here / "style.css").read_text(encoding="utf-8"), script=(here / "script.js").read_text(encoding="utf-8"),
            runs=runs, charts=_charts(runs), pairs=_pairs(runs), overview=[_overview(r) for r in runs],
            corruptions=_corruptions(runs), transfer=_transfer(runs), effects=EFFECT_TEXT, growth=_growth,
            reproduce=[_reproduce(r) for r in runs],
        ),
    )  # fmt: skip
    return target


def _percent(share: Share | float | None) -> str:
    if share is None:
        return "–"
    value = share.value if isinstance(share, Share) else share
    return f"{100 * value:.1f} %"


def _interval(share: Share) -> str:
    return f"{100 * share.low:.1f}–{100 * share.high:.1f}"


def _overview(run: Run) -> dict[str, Any]:
    """The line of a run in the first table, as plain values."""
    found, plan = run.found, run.found.plan
    speed, stock = found.subject.images_per_second, found.subject.stock_images_per_second
    return {
        "name": run.name, "model": found.subject.model, "recipe": found.subject.recipe or "stock",
        "clean": found.summary.clean, "worst": found.summary.worst, "reliable": found.reliable,
        "headline": found.summary.headline, "parameters": 1.0 if plan is None else _ratio(plan, "parameters"),
        "flops": 1.0 if plan is None or found.subject.folded else _ratio(plan, "flops"), "speed": speed / stock if speed and stock else None,
        "images": found.summary.clean.n,
    }  # fmt: skip


def _ratio(plan: Any, what: str) -> float:
    before = getattr(plan.before, what)
    return (before + getattr(plan.growth, what)) / before if before else 1.0


def _growth(run: Run) -> list[tuple[str, int, int]]:
    """(what, before, after) for one image."""
    plan = run.found.plan
    if plan is None:
        return []
    names = ("parameters", "flops", "activations", "buffers") if plan.measured else ("parameters", "buffers")
    return [(n, getattr(plan.before, n), getattr(plan.before, n) + getattr(plan.growth, n)) for n in names]


def _charts(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """title, svg, and the same numbers as a table."""
    found = []

    def add(name: str, series: list[Series], title: str, x_label: str, scale: float = 1.0) -> None:
        svg = line_chart(name, series, title=title, x_label=x_label, scale=scale)
        if svg:
            found.append(
                {
                    "title": title,
                    "svg": svg,
                    "series": [s for s in series if s.points],
                    "scale": scale,
                    "x": x_label,
                }
            )

    for attack, norm in _curved(runs):
        series = [Series(r.name, _by_eps(r, attack, norm)) for r in runs]
        inf = norm == "linf"
        title = f"{attack}, {norm}"
        add(
            f"attack-{len(found)}",
            series,
            title,
            "ε, of 255" if inf else "ε, in [0, 1] pixels",
            255.0 if inf else 1.0,
        )
    for kind, (title, x_label) in _LEVELS.items():
        series = [
            Series(
                r.name, tuple((p.level, p.share) for c in r.found.curves if c.kind == kind for p in c.points)
            )
            for r in runs
        ]
        add(f"curve-{kind}", series, title, x_label)
    certified = [
        Series(f"{r.name}, σ {c.sigma:g}", tuple((p.level, p.share) for p in c.points))
        for r in runs
        for c in r.found.certified
    ]
    add("certified", certified, "Certified accuracy by randomized smoothing", "L2 radius, in [0, 1] pixels")
    return found


def _curved(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Attacks that some run has at two sizes or more."""
    found: list[tuple[str, str]] = []
    for run in runs:
        for row in run.found.summary.rows:
            key = (row.attack, row.norm)
            if row.eps is not None and not row.source and key not in found and len(_by_eps(run, *key)) > 1:
                found.append(key)
    return found


def _by_eps(run: Run, attack: str, norm: str) -> tuple[tuple[float, Share], ...]:
    rows = [
        r
        for r in run.found.summary.rows
        if (r.attack, r.norm, r.source) == (attack, norm, None) and r.eps is not None
    ]
    return tuple(
        sorted(
            ((float(r.eps or 0), r.shares[0]) for r in {r.eps: r for r in rows}.values()), key=lambda p: p[0]
        )
    )


def _pairs(runs: Sequence[Run]) -> list[tuple[str, str, Any]]:
    """Every later run against the first, on the images that both saw, in the worst case."""
    pairs = [(runs[0].name, other.name, compared(runs[0], other)) for other in runs[1:]]
    return [p for p in pairs if p[2] is not None]


def _corruptions(runs: Sequence[Run]) -> dict[str, list[tuple[float, list[Any]] | None]]:
    """kind → for each run the mean over severities, and the shares by severity."""
    kinds = dict.fromkeys(c.kind for r in runs for c in r.found.corruptions)
    table: dict[str, list[tuple[float, list[Any]] | None]] = {}
    for kind in kinds:
        cells: list[tuple[float, list[Any]] | None] = []
        for run in runs:
            own = [c for c in run.found.corruptions if c.kind == kind]
            cells.append((sum(c.share.value for c in own) / len(own), own) if own else None)
        table[kind] = cells
    return table


def _transfer(runs: Sequence[Run]) -> dict[str, Any]:
    """Rows: what is attacked; columns: sources; white-box under its own name."""
    rows = {r.name: {x.source: x for x in r.found.summary.rows if x.source} for r in runs}
    sources = list(dict.fromkeys(s for cells in rows.values() for s in cells))
    return {"sources": sources, "rows": rows}


def _reproduce(run: Run) -> dict[str, str]:
    made = run.found.made
    return {
        "command": " ".join(map(str, made.get("command", []))),
        "versions": ", ".join(f"{k} {v}" for k, v in made.get("versions", {}).items()),
        "settings": json.dumps(run.found.settings, indent=2, ensure_ascii=False),
    }
