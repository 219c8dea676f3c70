"""Figures of README and docs against the commands that print them: `make claims`.

`claims.yaml` says of every line with a share to a tenth of a per cent which command prints it, and within what
interval another processor may give it, or why none does. Commands of less than three minutes are run again in a folder
of their own; the others are named. What differs is printed, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import Field, field_validator

from surgeon import strict_yaml
from surgeon.strict import Strict

ROOT = Path(__file__).parents[1]
CLAIMS = Path(__file__).with_suffix(".yaml")
MINUTES = 3.0
_MEASURED = re.compile(r"\d\.\d (?:points|%)")


class Figure(Strict):
    """A figure that stands in a page, and how it is found in what the commands print.

    Attributes:
        stands: The words of the page, with the figure; they lie in one line.
        stated: The figure.
        prints: A regular expression whose last match's only group is the figure.
        within: How far another processor's figure may lie from it.
    """

    stands: str
    stated: float
    prints: str
    within: float = Field(ge=0)

    @field_validator("prints")
    @classmethod
    def _one_group(cls, value: str) -> str:
        if re.compile(value).groups != 1:
            raise ValueError("it needs one group, the figure")
        return value


class Claim(Strict):
    """Commands, and the figures that they print.

    Attributes:
        page: The page's path.
        commands: Run one after the other in an empty folder; they stand in the page.
        minutes: What they take on two cores.
        figures: What they print.
    """

    page: str
    commands: tuple[str, ...]
    minutes: float = Field(gt=0)
    figures: tuple[Figure, ...]


class Left(Strict):
    """Lines with figures that no command here checks.

    Attributes:
        page: The page's path.
        begins: Words of the first line.
        ends: Words of the last line; that of `begins` by default.
        why: Why, or what makes them instead.
    """

    page: str
    begins: str
    ends: str = ""
    why: str


class Claims(Strict):
    """All of it.

    Attributes:
        claims: What is run.
        left: What is not.
        made: Pages that commands write whole, each with its command.
    """

    claims: tuple[Claim, ...]
    left: tuple[Left, ...] = ()
    made: dict[str, str] = {}


class Compared(NamedTuple):
    """A figure, and the one that was printed; None if nothing was."""

    figure: Figure
    printed: float | None

    @property
    def agrees(self) -> bool:
        return (
            self.printed is not None and abs(self.printed - self.figure.stated) <= self.figure.within + 1e-9
        )

    def __str__(self) -> str:
        said = "nothing like it was printed" if self.printed is None else f"{self.printed:g} was printed"
        return f"{self.figure.stands!r}: {said}, {self.figure.stated:g} ± {self.figure.within:g} is stated"


def read(path: Path = CLAIMS) -> Claims:
    return Claims.model_validate(strict_yaml.load(path.read_text(encoding="utf-8")))


def compared(figures: Sequence[Figure], printed: str) -> list[Compared]:
    """Look each figure up in what was printed; the last match counts."""
    comparisons = []
    for figure in figures:
        matches = re.findall(figure.prints, printed)
        value = float(matches[-1].replace(",", "").replace("−", "-")) if matches else None
        comparisons.append(Compared(figure, value))
    return comparisons


def covered(claims: Claims, page: str, text: str) -> list[str]:
    """The lines of a page whose measured shares no claim states and that are not left with a reason."""
    if page in claims.made:
        return []
    lines = text.splitlines()
    taken = {i for i, line in enumerate(lines) if not _MEASURED.search(line)}
    stands = [f.stands for c in claims.claims if c.page == page for f in c.figures]
    taken |= {i for i, line in enumerate(lines) if any(s in line for s in stands)}
    for left in (one for one in claims.left if one.page == page):
        first = next(i for i, line in enumerate(lines) if left.begins in line)
        last = next(i for i, line in enumerate(lines) if i >= first and (left.ends or left.begins) in line)
        taken |= set(range(first, last + 1))
    return [line for i, line in enumerate(lines) if i not in taken]


def printed_by(commands: Sequence[str]) -> str:
    """Run commands in an empty folder, and return what they print."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    printed = ""
    with tempfile.TemporaryDirectory() as folder:
        for command in commands:
            words = shlex.split(command)
            begin = {"surgeon": ["-m", "surgeon"], "python": []}[words[0]]
            done = subprocess.run(
                [sys.executable, *begin, *words[1:]],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            printed += done.stdout + done.stderr
            if done.returncode:
                return printed + f"\n{command} ended with {done.returncode}"
    return printed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="also the commands of more than three minutes")
    given = parser.parse_args()
    claims, differing = read(), 0
    for claim in claims.claims:
        if claim.minutes > MINUTES and not given.all:
            print(f"not run, {claim.minutes:g} minutes: {claim.page}: {claim.commands[-1]}")
            continue
        printed = printed_by(claim.commands)
        for one in compared(claim.figures, printed):
            differing += not one.agrees
            print(f"{'agrees' if one.agrees else 'DIFFERS'}: {claim.page}: {one}", flush=True)
        if all(f.printed is None for f in compared(claim.figures, printed)):
            print(printed[-2000:])
    for page, command in claims.made.items():
        print(f"not run: {page} is written by {command}")
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
