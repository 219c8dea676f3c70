"""`make performance`: the tables of docs/performance.md, from what was measured on each machine (benchmarks/measured/),
from what `make growth` left in runs/, and from what `make scale` measured."""

from __future__ import annotations

import argparse
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.machines import Machine, keep, lines_of, read
from benchmarks.scale.page import SCALE, sections
from benchmarks.timing import Row

RUNS, PAGE = Path("runs"), Path("docs/performance.md")
KEPT = {"cpu": RUNS / "bench.json", "cuda": RUNS / "bench-cuda.json"}
MARKS = {"cpu": "bench", "cuda": "bench-cuda"}


def main() -> None:
    """Put the tables between their marks, and the picture beside the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--keep",
        type=Path,
        nargs="*",
        metavar="RUN",
        help="first write these runs of `make bench` to the files of their machines; without a RUN, "
        "runs/bench.json and runs/bench-cuda.json where they are",
    )
    parser.add_argument("--scale", action="store_true", help="only the tables of `make scale`")
    given = parser.parse_args()
    if given.keep is not None:
        for run in given.keep or [path for path in KEPT.values() if path.is_file()]:
            record = json.loads(run.read_text(encoding="utf-8"))
            for path in keep(record, record.get("kind", "cuda" if "cuda" in run.stem else "cpu")):
                print(f"{run} → {path}")
    text = PAGE.read_text(encoding="utf-8")
    if SCALE.is_file():
        text = between(text, "scale", f"\n{sections(json.loads(SCALE.read_text()))}\n")
    if not given.scale:
        for kind, mark in MARKS.items():
            text = between(text, mark, bench_table([m for m in read() if m.kind == kind]))
        growth = RUNS / "growth.json"
        if growth.is_file():
            text = between(text, "growth", growth_table(json.loads(growth.read_text())))
            shutil.copy(RUNS / "growth.png", PAGE.with_name("growth.png"))
    PAGE.write_text(text, encoding="utf-8")


def between(text: str, mark: str, table: str) -> str:
    """The text with what stands between `<!-- mark -->` and `<!-- /mark -->` exchanged."""
    pattern = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", re.S)
    if not pattern.search(text):
        raise ValueError(f"{PAGE} has no marks for {mark}")
    return pattern.sub(lambda m: f"{m[1]}\n{table}\n{m[2]}", text)


def bench_table(measured: Sequence[Machine]) -> str:
    """One line a row, a column a machine, and on which of them the bar is missed; then what they are."""
    names = [m.name for m in measured]
    columns = ["what", "", "against", "bar", *names, "missed on", "note"]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    barred = missed = 0
    for (group, what, against), by in lines_of(measured).items():
        bars = {f"{'≥' if r.more else '≤'} {r.bar:g}" for r in by.values() if r.bar is not None}
        lost = [n for n in names if n in by and by[n].kept is False]
        barred, missed = barred + bool(bars), missed + bool(lost)
        cells = (
            group,
            what,
            against,
            "".join(bars),
            *(_ratio(by[n]) if n in by else "" for n in names),
            f"**{', '.join(lost)}**" if lost else "",
            _notes(by),
        )
        lines.append("| " + " | ".join(cells) + " |")
    summed = f"{missed} of {barred} lines with a bar miss it on a machine where they were measured."
    return "\n".join(lines) + f"\n\n{summed}\n\n{_told(measured)}\n"


def _ratio(row: Row) -> str:
    times = [_milliseconds(t) for t in (row.seconds, row.baseline) if t]
    took = f", {' by '.join(times)} ms" if len(times) == 2 else ""
    return f"{row.ratio:.2f} ({row.low:.2f}–{row.high:.2f}{took})"


def _milliseconds(seconds: float) -> str:
    """Three digits, and no powers of ten."""
    return f"{1e3 * seconds:.0f}" if seconds >= 1 else f"{1e3 * seconds:.3g}"


def _notes(by: dict[str, Row]) -> str:
    """Each note once; with the machine's name where there are several machines."""
    noted = {name: row.note for name, row in by.items() if row.note}
    if len(by) == 1 or len({*noted.values()}) == 1 and len(noted) == len(by):
        return next(iter(noted.values()), "")
    return "; ".join(f"{name}: {note}" for name, note in noted.items())


def _told(measured: Sequence[Machine]) -> str:
    lines = [f"- **{m.name}**: {machines(m.made)}{f' ({m.source})' if m.source else ''}" for m in measured]
    return "\n".join(["Measured on:", "", *lines])


def machines(made: Sequence[dict[str, Any]]) -> str:
    """Each device that groups were measured on, once: a range where numbers differ between its groups."""
    texts = []
    for device in dict.fromkeys(m["device"] for m in made):
        its = [m for m in made if m["device"] == device]
        parts = []
        for key in dict.fromkeys(key for m in its for key in m):
            values = list(dict.fromkeys(m[key] for m in its if key in m))
            if len(values) > 1 and all(isinstance(v, (int, float)) for v in values):
                values = [f"{min(values)} to {max(values)}"]
            parts.append(f"{key} {' and '.join(map(str, values))}")
        texts.append(", ".join(parts))
    return "; ".join(texts)


def growth_table(curves: list[dict[str, Any]]) -> str:
    """One line a curve."""
    lines = ["| what | against | sizes | seconds | exponent |", "|---|---|---|---|---|"]
    for c in curves:
        sizes, seconds = ", ".join(map(str, c["sizes"])), ", ".join(f"{s:.3g}" for s in c["seconds"])
        lines.append(f"| {c['what']} | {c['axis']} | {sizes} | {seconds} | {c['exponent']:.2f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
