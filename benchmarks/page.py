"""`make performance`: the tables of docs/performance.md, from what `make bench` and `make growth` left in runs/, and
from what `make scale` measured."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from benchmarks.scale.page import SCALE, sections
from benchmarks.timing import Row

RUNS, PAGE = Path("runs"), Path("docs/performance.md")


def main() -> None:
    """Put the tables between their marks, and the picture beside the page. With --scale, only those of `make scale`."""
    text = PAGE.read_text(encoding="utf-8")
    if SCALE.is_file():
        text = between(text, "scale", f"\n{sections(json.loads(SCALE.read_text()))}\n")
    if "--scale" in sys.argv[1:]:
        PAGE.write_text(text, encoding="utf-8")
        return
    bench = json.loads((RUNS / "bench.json").read_text())
    text = between(text, "bench", bench_table(bench["groups"]))
    on_gpu = RUNS / "bench-cuda.json"
    if on_gpu.is_file():
        text = between(text, "bench-cuda", bench_table(json.loads(on_gpu.read_text())["groups"], times=True))
    growth = json.loads((RUNS / "growth.json").read_text())
    text = between(text, "growth", growth_table(growth))
    shutil.copy(RUNS / "growth.png", PAGE.with_name("growth.png"))
    PAGE.write_text(text, encoding="utf-8")


def between(text: str, mark: str, table: str) -> str:
    """The text with what stands between `<!-- mark -->` and `<!-- /mark -->` exchanged."""
    found = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", re.S)
    if not found.search(text):
        raise ValueError(f"{PAGE} has no marks for {mark}")
    return found.sub(lambda m: f"{m[1]}\n{table}\n{m[2]}", text)


def bench_table(groups: dict[str, Any], times: bool = False) -> str:
    """One line a row, and what they were measured on. times: milliseconds of the task and of its baseline too."""
    columns = [
        "what",
        "",
        "against",
        "ratio",
        "quartiles",
        "bar",
        *(["ms", "of the baseline"] if times else []),
        "note",
    ]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for group in groups.values():
        for r in (Row(**row) for row in group["rows"]):
            bar = (
                ""
                if r.bar is None
                else f"{'≥' if r.more else '≤'} {r.bar:g}{'' if r.kept else ', **missed**'}"
            )
            took = [f"{1e3 * t:.3g}" for t in (r.seconds, r.baseline)] if times else []
            cells = (
                r.group,
                r.what,
                r.against,
                f"{r.ratio:.2f}",
                f"{r.low:.2f}–{r.high:.2f}",
                bar,
                *took,
                r.note,
            )
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + f"\n\nMeasured on: {machines([g['made'] for g in groups.values()])}.\n"


def machines(made: list[dict[str, Any]]) -> str:
    """Each device that groups were measured on, once: a range where numbers differ between its groups."""
    told = []
    for device in dict.fromkeys(m["device"] for m in made):
        its = [m for m in made if m["device"] == device]
        parts = []
        for key in dict.fromkeys(key for m in its for key in m):
            values = list(dict.fromkeys(m[key] for m in its if key in m))
            if len(values) > 1 and all(isinstance(v, (int, float)) for v in values):
                values = [f"{min(values)} to {max(values)}"]
            parts.append(f"{key} {' and '.join(map(str, values))}")
        told.append(", ".join(parts))
    return "; ".join(told)


def growth_table(curves: list[dict[str, Any]]) -> str:
    """One line a curve."""
    lines = ["| what | against | sizes | seconds | exponent |", "|---|---|---|---|---|"]
    for c in curves:
        sizes, seconds = ", ".join(map(str, c["sizes"])), ", ".join(f"{s:.3g}" for s in c["seconds"])
        lines.append(f"| {c['what']} | {c['axis']} | {sizes} | {seconds} | {c['exponent']:.2f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
