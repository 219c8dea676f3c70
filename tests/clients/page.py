"""The table of docs/interop.md from what tests/clients found: `python -m tests.clients.page RESULTS.xml`.

RESULTS.xml is pytest's `--junitxml`. A row is a test, told by the first line of its docstring; a cell says on
how many of the architectures it passed. What is expected to fail is told with its reason.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.page import between

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "interop.md"
COLUMNS = ("stock", "kap", "anl", "wm-unsharp", "defective")
PACKAGES = {
    "art": "adversarial-robustness-toolbox",
    "smp": "segmentation-models-pytorch",
    "torch_pruning": "torch-pruning",
}
"""File's name → the package's, where they differ."""


def main() -> None:
    found = ElementTree.parse(sys.argv[1]).getroot()
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(between(text, "clients", table(found)), encoding="utf-8")


def table(found: ElementTree.Element) -> str:
    """The table in Markdown."""
    cells: dict[tuple[str, str], dict[str, Counter[str]]] = {}
    remarks: dict[tuple[str, str], list[str]] = {}
    for case in found.iter("testcase"):
        row, recipe = _place(case)
        if recipe is None:
            continue
        outcome, reason = _outcome(case)
        cells.setdefault(row, {}).setdefault(recipe, Counter())[outcome] += 1
        if reason and reason not in remarks.setdefault(row, []):
            remarks[row].append(reason)
    lines = ["| library | what | " + " | ".join(COLUMNS) + " | remark |", "|---" * (len(COLUMNS) + 3) + "|"]
    for row in sorted(cells):
        library, test = row
        shown = [_cell(cells[row].get(column, Counter())) for column in COLUMNS]
        said = "; ".join(remarks.get(row, []))
        lines.append(f"| {_named(library)} | {_told(library, test)} | {' | '.join(shown)} | {said} |")
    return "\n".join(lines)


def _place(case: ElementTree.Element) -> tuple[tuple[str, str], str | None]:
    """The row of a test, (library, its function), and its recipe."""
    library = case.attrib["classname"].split(".")[-1].removeprefix("test_")
    test, _, given = case.attrib["name"].partition("[")
    recipe = re.search("|".join(COLUMNS), given)
    return (library, test), recipe[0] if recipe else None


def _outcome(case: ElementTree.Element) -> tuple[str, str]:
    """`passed`, `failed`, `expected` or `skipped`, and why it is not passed where that is told."""
    skipped = case.find("skipped")
    if skipped is not None:
        expected = skipped.attrib.get("type") == "pytest.xfail"
        return ("expected" if expected else "skipped"), skipped.attrib.get("message", "") if expected else ""
    return ("failed" if case.find("failure") is not None or case.find("error") is not None else "passed"), ""


def _cell(found: Counter[str]) -> str:
    tried = sum(found.values()) - found["skipped"]
    if not tried:
        return "–"
    return "✓" if found["passed"] == tried else f"{found['passed']} of {tried}" if found["passed"] else "no"


def _named(library: str) -> str:
    name = PACKAGES.get(library, library)
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return name


def _told(library: str, test: str) -> str:
    """The first line of a test's docstring."""
    tree = ast.parse((HERE / f"test_{library}.py").read_text(encoding="utf-8"))
    one = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == test)
    return (ast.get_docstring(one) or test).splitlines()[0].rstrip(".")


if __name__ == "__main__":
    main()
