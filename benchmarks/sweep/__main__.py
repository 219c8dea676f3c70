"""The command: `python -m benchmarks.sweep`."""

from __future__ import annotations

import argparse
import fnmatch
import gc
import importlib
import pkgutil
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track

from benchmarks.sweep.child import in_child, plans_of, rows_of
from benchmarks.sweep.kinds import VARIANTS, recipes
from benchmarks.sweep.order import all_models, broad_first, share_of
from benchmarks.sweep.rows import PAIRS, PLANS, SIZES, append, read
from benchmarks.sweep.sizes import UNKNOWN, counted, known
from surgeon.ownership import locked

SHARED = (
    "torch._dynamo",
    "torchvision",
    "timm",
    *(f"surgeon.{p}" for p in ("graph", "methods", "store.artifact", "surgery", "tensors", "training")),
)


def _import_all() -> None:
    """What children need, once and before the first fork: so that a sweep is of one state of the code."""
    for name in SHARED:
        module = importlib.import_module(name)
        if name.startswith("surgeon."):
            for module_info in pkgutil.walk_packages(getattr(module, "__path__", []), name + "."):
                importlib.import_module(module_info.name)
    gc.freeze()  # what is there now is no child's to collect


def main() -> None:
    """Sweep what is not there yet."""
    parser = argparse.ArgumentParser(description="Every model × every recipe; a killed sweep goes on.")
    parser.add_argument("--models", default="*", help="glob on model names")
    parser.add_argument("--recipes", default="all", help="'all', or names separated by commas")
    parser.add_argument(
        "--first", type=int, help="how many models, the smallest of each family first; default: all"
    )
    parser.add_argument(
        "--plans",
        action="store_true",
        help="plan alone, on tensors without data: by default ANL, with norms of any family too",
    )
    parser.add_argument("--output", type=Path, help="default: benchmarks/sweep/found")
    parser.add_argument("--memory", type=int, default=16_000, help="MiB of address space a model")
    parser.add_argument("--seconds", type=float, default=180, help="time a pair")
    parser.add_argument(
        "--again", default="", help="outcomes to run again, before all else, separated by commas: failed,died"
    )
    parser.add_argument("--share", default="1/1", help="2/3: the second of three sweeps that run at a time")
    given = parser.parse_args()
    try:
        mine = share_of(all_models(), given.share)
    except ValueError as error:
        parser.error(str(error))
    torch.set_num_threads(1)  # children are forked: no threads may run before
    _import_all()
    every = ("anl", *VARIANTS) if given.plans else (*recipes(), *VARIANTS)
    wanted = every if given.recipes == "all" else tuple(given.recipes.split(","))
    output = given.output or (PLANS if given.plans else PAIRS)
    again = tuple(given.again.split(","))
    rows = read(output)
    there = {(r["model"], r["recipe"]) for r in rows if r["outcome"] not in again}
    first = {r["model"] for r in rows if r["outcome"] in again}
    names = [n for n in mine if fnmatch.fnmatchcase(n, given.models)]
    file = output.with_name(SIZES.name)
    if given.plans:  # they cost as much whatever the size, and counting costs as much as a plan
        sizes: Mapping[str, int] = dict.fromkeys(names, UNKNOWN) | known(file)
    else:
        sizes = counted(names, file, given.memory)
    names = sorted(broad_first(names, sizes)[: given.first], key=lambda n: n not in first)
    counts: Counter[str] = Counter()
    share = output.with_name(f"{output.name} {given.share}".replace("/", " of "))
    work = plans_of if given.plans else rows_of
    with locked(share):  # the shares write into one file, each from one process
        for name in track(names, description="models", console=Console(stderr=True)):
            left = [r for r in wanted if (name, r) not in there]
            for row in in_child(name, left, memory=given.memory, seconds=given.seconds, work=work):
                append(output, [row])
                counts[row["outcome"]] += 1
    print(", ".join(f"{n} {o}" for o, n in counts.most_common()) or "nothing was left to do", file=sys.stderr)


if __name__ == "__main__":
    main()
