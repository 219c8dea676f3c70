"""Which tests `make test` leaves to `make test-all`: `python -m tests.slow build/tests.xml` writes slow.txt anew.

It reads pytest's own file of results, which `make test-all` writes. A function's time is that of all its cases, with
what they wait for to be set up. The longest are left out until the others take no more than the seconds of `--keep`. A
file whose tests share a long set-up goes as a whole, since the next test would only inherit it.

Numeric tests stay where they are: `make portable` runs those that are not slow, so that the list decides there too.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

from tests.conftest import NUMERIC, SLOW

LIST = Path(__file__).with_name("slow.txt")


def functions(results: Path) -> dict[str, list[float]]:
    """The seconds of each case, by `file::function` seen from this folder."""
    found = defaultdict(list)
    for case in ElementTree.parse(results).iter("testcase"):
        parts = case.attrib["classname"].split(".")[1:]
        name = case.attrib["name"].partition("[")[0]
        found["/".join(parts) + f".py::{name}"].append(float(case.attrib["time"]))
    return found


def slow(times: dict[str, list[float]], keep: float, shared: float = 2.0) -> list[str]:
    """The functions that are left out, in order of their names. A first case that takes `shared` seconds more than the
    median of its function set up something for others: its file is taken as one."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name, cases in times.items():
        middle = sorted(cases)[len(cases) // 2]
        if max(cases) - middle > shared:
            groups[name.partition("::")[0]] = []
    for name in times:
        file = name.partition("::")[0]
        groups[file if file in groups else name].append(name)
    total = {group: sum(sum(times[name]) for name in names) for group, names in groups.items()}
    left, out = sum(total.values()), []
    for group in sorted(total, key=lambda g: total[g] / len(groups[g]), reverse=True):
        if left <= keep:
            break
        left -= total[group]
        out += groups[group]
    return sorted(out)


def main() -> None:
    """Write the list, and say how much is left out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="pytest's junit file of all tests")
    parser.add_argument("--keep", type=float, default=560, help="seconds, of all processes together")
    asked = parser.parse_args()
    times = functions(asked.results)
    numeric = {name: cases for name, cases in times.items() if name.startswith(NUMERIC)}
    others = {name: cases for name, cases in times.items() if name not in numeric}
    quick = sum(sum(cases) for name, cases in numeric.items() if name not in SLOW)
    names = sorted([*slow(others, asked.keep - quick), *(name for name in numeric if name in SLOW)])
    LIST.write_text("".join(f"{name}\n" for name in names))
    left = sum(sum(times[name]) for name in times if name not in set(names))
    cases = sum(len(times[name]) for name in names)
    print(
        f"{len(names)} functions with {cases} cases are left to `make test-all`; the others take {left:.0f} s"
    )


if __name__ == "__main__":
    main()
