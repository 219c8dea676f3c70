"""The page's tables of accuracies: one line per attack, noise or corruption, one column per run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

from surgeon.numerals import percent
from surgeon.report.reading import Run
from surgeon.report.words import access_words, size_words
from surgeon.results.rows import Row
from surgeon.results.statistics import Share
from surgeon.results.summary import Worst
from surgeon.results.threat import UNION


@dataclass(frozen=True)
class Cell:
    """An accuracy and the note below it."""

    share: Share
    note: str = ""


@dataclass
class Line:
    """One line of the table of attacks."""

    name: str
    kind: str
    """clean, attack, or worst: the worst case of the lines above it."""
    size: str = ""
    order: str | float = ""
    """Key that sizes are sorted by: norm, then ε; '' for a line without size."""
    access: str = ""
    counted: str = ""
    part: str = ""
    main: bool = False
    """Whether a run's headline belongs to this line."""
    cells: dict[int, Cell] = field(default_factory=dict)
    """Number of the run → its accuracy."""


def attack_lines(runs: Sequence[Run]) -> list[Line]:
    """Build the table of attacks.

    The first line is for clean images; attacks follow in the order of the suites, and after the attacks of a
    threat their worst case.

    Args:
        runs: The runs.

    Returns:
        The lines.
    """
    clean = Line("none (clean)", "clean", counted="alone")
    clean.cells = {k: Cell(r.found.summary.clean) for k, r in enumerate(runs)}
    by_attack: dict[Any, Line] = {}
    for k, run in enumerate(runs):
        for row in run.found.summary.rows:
            key = (row.group, row.norm, row.eps, row.attack, row.source, row.cascade)
            line = by_attack.setdefault(key, _line(row))
            line.cells[k] = Cell(row.shares[0], _note(row))
    lines = [clean]
    unions = [main[:3] for r in runs if (main := r.found.summary.main) and main.norm.startswith(UNION)]
    for threat in dict.fromkeys([*(key[:3] for key in by_attack), *unions]):
        own = [line for key, line in by_attack.items() if key[:3] == threat]
        worst = _worst(runs, threat)
        lines += own + ([worst] if worst.cells and (len(own) > 1 or worst.main) else [])
    return lines


def _line(row: Row) -> Line:
    return Line(
        row.attack,
        "attack",
        size_words(row.norm, row.eps),
        _order(row.norm, row.eps),
        access_words(row),
        "cumulative" if row.cascade else "alone",
        row.group,
    )


def _worst(runs: Sequence[Run], threat: tuple[str, str, float | None]) -> Line:
    """The line of the worst case, image by image, over the attacks of one part, norm and ε."""
    group, norm, eps = threat
    line = Line(
        "worst case", "worst", size_words(norm, eps), _order(norm, eps), counted="image by image", part=group
    )
    for k, run in enumerate(runs):
        summary = run.found.summary
        own = [w for w in summary.worsts if (w.group, w.norm, w.eps) == threat]
        if summary.main and summary.main[:3] == threat:
            line.main = True
            # `main` is not None here, which mypy does not see inside the lambda.
            own.sort(key=lambda w: w.seed != run.found.summary.main.seed)  # type: ignore[union-attr]
        if own:
            line.cells[k] = Cell(own[0].share, _over_seeds(own))
    return line


def _order(norm: str, eps: float | None) -> float:
    return 1e9 if eps is None else {"linf": 0.0, "l2": 1e6, "l1": 2e6}.get(norm, 1e7) + eps


def _note(row: Row) -> str:
    seeds = (
        f"mean of {len(row.shares)} seeds {100 * row.mean:.1f} ± {100 * row.std:.1f}"
        if row.std is not None
        else ""
    )
    names = {"mean": "mean draw", "majority": "majority of draws", "all": "every draw"}
    draws = ", ".join(f"{names.get(k, k)} {percent(v)}" for k, v in (row.draws or {}).items())
    right = (
        f"{percent(row.of_right)} of those right when clean"
        if row.group in ("paper", "beside") and row.of_right is not None
        else ""
    )
    return "; ".join(t for t in (seeds, right, draws) if t)


def _over_seeds(worsts: Sequence[Worst]) -> str:
    values = [100 * w.share.value for w in worsts]
    return f"mean of {len(values)} seeds {fmean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else ""


def noise_lines(runs: Sequence[Run]) -> list[tuple[str, str, dict[int, Cell]]]:
    """Build the table of noise at inference, on each run's own adversarial images.

    Args:
        runs: The runs.

    Returns:
        (noise on the input, noise on activations, number of the run → accuracy).
    """
    by_place: dict[tuple[str, str], dict[int, Cell]] = {}
    for k, run in enumerate(runs):
        for n in run.found.noise:
            key = (
                f"σ = {n.sigma:g}" if n.input_noise else "none",
                f"σ = {n.sigma:g}" if n.activation_noise else "none",
            )
            by_place.setdefault(key, {})[k] = Cell(n.share)
    return [(*key, cells) for key, cells in by_place.items()]


def corruption_lines(runs: Sequence[Run]) -> list[tuple[str, dict[int, tuple[float, str]]]]:
    """Build the table of corruptions; its last line is the mean over kinds.

    Args:
        runs: The runs.

    Returns:
        (kind, number of the run → (mean accuracy over severities, the accuracy at each severity as text)).
    """
    kinds = dict.fromkeys(c.kind for r in runs for c in r.found.corruptions)
    lines: list[tuple[str, dict[int, tuple[float, str]]]] = []
    for kind in kinds:
        cells = {}
        for k, run in enumerate(runs):
            own = sorted((c for c in run.found.corruptions if c.kind == kind), key=lambda c: c.severity)
            if own:
                each = " ".join(f"{100 * c.share.value:.0f}" for c in own)
                cells[k] = (fmean(c.share.value for c in own), each)
        lines.append((kind.replace("_", " "), cells))
    if len(lines) > 1:
        means = {k: _mean(cells[k][0] for _, cells in lines if k in cells) for k in range(len(runs))}
        lines.append((f"mean of {len(kinds)} kinds", {k: (m, "") for k, m in means.items() if m is not None}))
    return lines


def _mean(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return fmean(numbers) if numbers else None


def check_lines(runs: Sequence[Run]) -> list[tuple[str, str, dict[int, Any]]]:
    """Build the table of diagnostics.

    Args:
        runs: The runs.

    Returns:
        (code of the diagnostic, rule by which it fails, number of the run → its check).
    """
    by_check: dict[str, tuple[str, dict[int, Any]]] = {}
    for k, run in enumerate(runs):
        for check in run.found.checks:
            by_check.setdefault(check.code, (check.rule, {}))[1][k] = check
    return [(code, rule, cells) for code, (rule, cells) in by_check.items()]


def certified_lines(
    runs: Sequence[Run], count: int = 5
) -> tuple[list[float], list[tuple[str, Any, dict[float, Share]]]]:
    """Build the table of certified accuracy.

    Args:
        runs: The runs.
        count: The approximate number of radii.

    Returns:
        (radii, (name of the run, its certificates of one σ, radius → certified accuracy)).
    """
    lines = [(r.name, c, {p.level: p.share for p in c.points}) for r in runs for c in r.found.certified]
    radii = sorted({level for _, _, shares in lines for level in shares})
    every = -(-len(radii) // count) or 1
    return radii[::every], lines
