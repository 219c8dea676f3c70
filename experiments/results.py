"""docs/results.md from the runs of the protocols in results/: `make results`.

Runs of a version that made no digests get theirs by `python -m experiments.results seal`, after a look at `git log`:
from then on a change of a figure is noticed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.page import between
from experiments.quotable import quotable
from surgeon.disk.files import write_json
from surgeon.pipeline.runs_of_protocol import read_runs
from surgeon.protocol import Reproduction, Runs, load_protocol, tabulated
from surgeon.protocol.markdown import page, unsealed
from surgeon.reading import read_as

RESULTS, PAGE = Path("results"), Path("docs/results.md")


def main() -> None:
    if sys.argv[1:] == ["seal"]:
        for file in sorted(RESULTS.glob("*.json")):
            seal(file)
        return
    by_file = reproductions()
    text = PAGE.read_text(encoding="utf-8")
    text = between(text, "quotable", quotable(list(by_file.values())))
    pages = [
        "\n".join(filter(None, (page(o), unsealed(o.runs), f"{dated(f)}\n"))) for f, o in by_file.items()
    ]
    PAGE.write_text(between(text, "reproductions", "\n".join(pages)), encoding="utf-8")


def reproductions() -> dict[Path, Reproduction]:
    """Every reproduction that results/ has, by its file, in the order of the protocols' names."""
    by_file = {}
    for file in sorted(RESULTS.glob("*.json")):
        stored = read_as(file, Runs)
        known = load_protocol(stored.protocol)
        by_file[file] = tabulated(known, stored.budget, read_runs(file, known, stored.budget).runs)
    return by_file


def seal(file: Path) -> None:
    """Give each run of a file that has no digest its own.

    Raises:
        ArtifactError: The file is damaged, or a run is not of its protocol.
    """
    stored = read_as(file, Runs)
    checked = read_runs(file, load_protocol(stored.protocol), stored.budget)
    runs = tuple(r if r.digest else checked.sealed(r) for r in checked.runs)
    write_json(file, checked.model_copy(update={"runs": runs}).model_dump(mode="json"))


def dated(file: Path) -> str:
    """The commit and day that the figures of a file of runs are of; a digest that was added later is no figure.

    Where the file is not committed as it is, the commit that it is based on.
    """
    if _git("status", "--porcelain", "--", str(file)):
        commit, how = _git("log", "-1", "--format=%h, %cs"), "on top of commit"
    else:
        commit, how = _first_with(file, _figures(file.read_text(encoding="utf-8"))), "commit"
    return f"Runs: `{file.as_posix()}`, {how} {commit}." if commit else f"Runs: `{file.as_posix()}`."


def _first_with(file: Path, figures: Any) -> str:
    """The first of the latest commits in which a file has these figures."""
    commit = ""
    for line in _git("log", "--format=%h, %cs", "--", str(file)).splitlines():
        if _figures(_git("show", f"{line.partition(',')[0]}:./{file.as_posix()}")) != figures:
            break
        commit = line
    return commit


def _figures(text: str) -> Any:
    """What a file of runs says but for its digests; None where it cannot be read."""
    try:
        content = json.loads(text)
        runs = [{k: v for k, v in run.items() if k != "digest"} for run in content["runs"]]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return content | {"runs": runs}


def _git(*arguments: str) -> str:
    """What git prints; nothing where there is no git or no checkout."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


if __name__ == "__main__":
    main()
