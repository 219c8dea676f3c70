"""The charts of runs: accuracy against the size of attacks, against noise, and against radii."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from surgeon.report.charts import Series, line_chart
from surgeon.report.reading import Run
from surgeon.report.words import attack_words, norm_words
from surgeon.results.statistics import Share, wilson

_Points = tuple[tuple[float, Share], ...]
_NOISE = {
    "gaussian": (
        "Gaussian noise",
        "Images plus N(0, σ²), clipped to [0, 1]; σ = 0 is the clean images.",
        "σ, in [0, 1] pixels",
        0.0,
    ),
    "uniform": (
        "Uniform noise",
        "Images plus U(0, u), divided by 1 + u; u = 0 is the clean images.",
        "upper bound u, in [0, 1] pixels",
        0.0,
    ),
    "patches": (
        "Shuffled patches",
        "Images cut into n × n patches that change places: textures stay, shapes go; n = 1 is clean.",
        "patches a side",
        1.0,
    ),
}
"""Kind → (title, description, label of the axis, level of the clean images)."""


@dataclass(frozen=True)
class Chart:
    """A drawing, its description, and the same numbers for a table."""

    title: str
    text: str
    x_label: str
    series: tuple[Series, ...]
    svg: str

    @property
    def rows(self) -> list[tuple[float, list[Share | None]]]:
        """(level, each line's share there or None) for every level."""
        by = [dict(s.points) for s in self.series]
        return [(level, [b.get(level) for b in by]) for level in sorted({level for b in by for level in b})]


def attack_charts(runs: Sequence[Run]) -> list[Chart]:
    """Draw accuracy against the size of attacks: worst cases, single attacks, and the diagnostics' PGD.

    Args:
        runs: The runs.

    Returns:
        The charts; only those with at least two sizes.
    """
    return [c for c in (*_worsts(runs), *_singles(runs), *_distances(runs), *_diagnosed(runs)) if c]


def noise_charts(runs: Sequence[Run]) -> list[Chart]:
    """Draw accuracy against noise and against shuffled patches.

    Args:
        runs: The runs.

    Returns:
        The charts that have points.
    """
    charts = []
    for kind, (title, text, x_label, clean) in _NOISE.items():
        series = []
        for k, run in enumerate(runs):
            points = [(p.level, p.share) for c in run.found.curves if c.kind == kind for p in c.points]
            series.append(Series(run.name, _with(clean, run, points), k))
        levels = sorted({level for s in series for level, _ in s.points})
        ticks = levels if kind == "patches" else None
        charts.append(_chart(f"noise-{kind}", title, text, x_label, series, ticks))
    return [c for c in charts if c]


def certified_charts(runs: Sequence[Run]) -> list[Chart]:
    """Draw certified accuracy against the L2 radius, one line per run and σ.

    Args:
        runs: The runs.

    Returns:
        The chart in a list; empty without certificates.
    """
    several = any(len(r.found.certified) > 1 for r in runs)
    curves = [(n, r, c) for n, r in enumerate(runs) for c in r.found.certified]
    series = [
        Series(f"{r.name}, σ = {c.sigma:g}", tuple((p.level, p.share) for p in c.points), k if several else n)
        for k, (n, r, c) in enumerate(curves)
    ]
    chart = _chart(
        "certified",
        "Certified accuracy",
        "Images that are right, and whose answer no perturbation shorter than the radius changes.",
        "L2 radius, in [0, 1] pixels",
        series,
    )
    return [chart] if chart else []


def _chart(
    name: str,
    title: str,
    text: str,
    x_label: str,
    series: Iterable[Series],
    ticks: Sequence[float] | None = None,
) -> Chart | None:
    drawn = tuple(s for s in series if s.points)
    svg = line_chart(name, drawn, title=title, x_label=x_label, ticks=ticks)
    return Chart(title, text, x_label, drawn, svg) if svg else None


def _with(level: float, run: Run, points: Iterable[tuple[float, Share]]) -> _Points:
    """Points by level, with that of the clean images added; () if there are no points."""
    by_level = {point[0]: point[1] for point in points}
    if by_level:
        by_level.setdefault(level, run.found.summary.clean)
    return tuple(sorted(by_level.items()))


def _worsts(runs: Sequence[Run]) -> list[Chart | None]:
    """Charts of the worst case of the suite's main part, where it ran at several sizes."""
    norms = dict.fromkeys(r.found.summary.main.norm for r in runs if r.found.summary.main)
    return [
        _by_size(
            f"worst-{norm}",
            f"Worst case, {norm_words(norm)}",
            "Images that no attack of the suite's main part turned, at each size; ε = 0 is the clean images.",
            norm,
            [(r, _worst(r, norm)) for r in runs],
        )
        for norm in norms
    ]


def _worst(run: Run, norm: str) -> dict[float, Share]:
    main, worsts = run.found.summary.main, run.found.summary.worsts
    return {
        w.eps: w.share
        for w in worsts
        if main and w.eps is not None and (w.group, w.norm, w.seed) == (main.group, norm, main.seed)
    }


def _singles(runs: Sequence[Run]) -> list[Chart | None]:
    """Charts of the attacks that are counted alone, not cumulatively."""
    rows = [r for run in runs for r in run.found.summary.rows]
    names = dict.fromkeys(
        (r.attack, r.norm) for r in rows if r.eps is not None and not r.source and not r.cascade
    )
    return [
        _by_size(
            f"attack-{k}",
            f"{attack}, {norm_words(norm)}",
            f"{attack_words(attack) or attack}. ε = 0 is the clean images.",
            norm,
            [(r, _single(r, attack, norm)) for r in runs],
        )
        for k, (attack, norm) in enumerate(names)
    ]


def _single(run: Run, attack: str, norm: str) -> dict[float, Share]:
    return {
        r.eps: r.shares[0]
        for r in run.found.summary.rows
        if r.eps is not None and (r.attack, r.norm, r.source, r.cascade) == (attack, norm, None, False)
    }


def _by_size(
    name: str,
    title: str,
    text: str,
    norm: str,
    runs: Sequence[tuple[Run, dict[float, Share]]],
    clean: bool = True,
) -> Chart | None:
    """A chart over ε, in 255ths if all sizes are; None for fewer than two. clean: add clean images at 0."""
    if all(len(points) < 2 for _, points in runs):
        return None
    sizes = [eps for _, points in runs for eps in points]
    whole = norm == "linf" and all(abs(255 * eps - round(255 * eps)) < 1e-6 for eps in sizes)
    series = []
    for k, (run, points) in enumerate(runs):
        levels = _with(0.0, run, points.items()) if clean else tuple(sorted(points.items()))
        series.append(Series(run.name, tuple((round(255 * e) if whole else e, s) for e, s in levels), k))
    return _chart(name, title, text, "ε, of 255" if whole else "ε, in [0, 1] pixels", series)


def _distances(runs: Sequence[Run]) -> list[Chart | None]:
    """Accuracy against ε by the smallest distances; where a norm has several attacks, by all of them."""
    norms = dict.fromkeys(c.norm for r in runs for c in r.found.smallest)
    return [
        _by_size(
            f"distances-{norm}",
            f"Accuracy by ε from the smallest distances, {norm_words(norm)}",
            "Each image stands below the smallest distance at which an attack turned it.",
            norm,
            [
                (
                    r,
                    {
                        p.eps: p.share
                        for c in [c for c in r.found.smallest if c.norm == norm][-1:]
                        for p in c.points
                    },
                )
                for r in runs
            ],
        )
        for norm in norms
    ]


def _diagnosed(runs: Sequence[Run]) -> list[Chart | None]:
    """PGD of the diagnostics at a few multiples of ε."""
    norms = dict.fromkeys(n for r in runs if r.found.diagnosis for n, _ in r.found.diagnosis.sizes)
    return [
        _by_size(
            f"diagnosed-{norm}",
            f"PGD far beyond ε, {norm_words(norm)}",
            "PGD of 20 steps on the diagnostics' few images, at multiples of ε: a line that does not fall "
            "tells of attacks that fail.",
            norm,
            [(r, _multiples(r, norm)) for r in runs],
            clean=False,
        )
        for norm in norms
    ]


def _multiples(run: Run, norm: str) -> dict[float, Share]:
    diagnosis = run.found.diagnosis
    eps = next((e for n, e in diagnosis.sizes if n == norm), 0.0) if diagnosis else 0.0
    check = diagnosis.in_norm(norm, "eps-curve") if diagnosis else None
    if diagnosis is None or check is None or eps == 0:
        return {}
    most = 1.0 if norm == "linf" else float("inf")
    return {
        min(float(key.split()[0]) * eps, most): wilson(round(value * diagnosis.images), diagnosis.images)
        for key, value in check.measured.items()
    }
