"""docs/results.md from the runs of the protocols in results/: `make results`."""

from __future__ import annotations

from pathlib import Path

from benchmarks.page import between
from surgeon.pipeline.reproducing import read_runs
from surgeon.protocol import Runs, load_protocol, tabulated
from surgeon.protocol.markdown import page
from surgeon.reading import read_as

RESULTS, PAGE = Path("results"), Path("docs/results.md")


def main() -> None:
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(between(text, "reproductions", pages()), encoding="utf-8")


def pages() -> str:
    """Every reproduction that results/ has, in the order of the protocols' names."""
    written = []
    for file in sorted(RESULTS.glob("*.json")):
        told = read_as(file, Runs)
        known = load_protocol(told.protocol)
        written.append(page(tabulated(known, told.budget, read_runs(file, known, told.budget).runs)))
    return "\n".join(written)


if __name__ == "__main__":
    main()
