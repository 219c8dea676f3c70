"""`make scale`: what steps and evaluations cost as processes grow in number; writes benchmarks/scale/measured.json.

Trains on 1, 2, 4 and 8 processes of one thread, with constant work a process, fits a model of a step to that, and says
what it predicts for GPUs under the assumptions given. Then counts what an evaluation's processes send and hold. Parts
that are not named stay as they are in the file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import surgeon
from benchmarks.scale.child import RECIPES, together
from benchmarks.scale.evaluation import account
from benchmarks.scale.model import Assumed
from benchmarks.scale.page import SCALE, sections
from surgeon.disk.files import write_json

PARTS = ("steps", "resnet50", "evaluation")
PREDICTED = ("plain", "kap", "anl")


def main() -> None:
    """Measure the parts, keep each as it comes, print the page's tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--small", action="store_true", help="sizes for a test")
    parser.add_argument("--steps", type=int, default=6, help="steps a training (default %(default)s)")
    parser.add_argument("--output", type=Path, default=SCALE)
    assumed = parser.add_argument_group("assumed of the GPUs that are predicted")
    assumed.add_argument("--latency", type=float, default=1e-5, help="seconds a call, × log2 of the GPUs")
    assumed.add_argument("--bandwidth", type=float, default=5e10, help="bytes a second that a GPU sends")
    assumed.add_argument("--draws", type=float, default=2e11, help="normal numbers a second")
    assumed.add_argument(
        "--overlap", type=float, default=0.0, help="share of the gradients' exchange that hides"
    )
    assumed.add_argument("--images", type=int, default=512, help="images a GPU and step")
    assumed.add_argument(
        "--compute",
        type=float,
        nargs=3,
        default=(0.105, 0.129, 0.212),
        metavar=tuple(k.upper() for k in PREDICTED),
        help="seconds of a step on one GPU (default: ResNet-50 at 224 in docs/performance.md)",
    )
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"{', '.join(sorted(unknown))} is no part; {', '.join(PARTS)} are")
    given.output.parent.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = json.loads(given.output.read_text()) if given.output.is_file() else {}
    record["assumed"] = asdict(
        Assumed(
            given.latency,
            given.bandwidth,
            given.draws,
            given.overlap,
            given.images,
            dict(zip(PREDICTED, given.compute, strict=True)),
        )
    )
    for part in given.parts or PARTS:
        record[part] = {"made": made(), "rows": measured(part, given.small, given.steps)}
        write_json(given.output, record)
    left = [part for part in PARTS if part not in record]
    print(f"still to be measured: {', '.join(left)}" if left else sections(record))


def measured(part: str, small: bool, steps: int) -> list[dict[str, Any]]:
    """The rows of one part."""
    if part == "steps":
        worlds, kinds = ((1, 2), ("plain", "kap")) if small else ((1, 2, 4, 8), tuple(RECIPES))
        return [row for world in worlds for row in together(world, "chain", kinds, 2 if small else steps)]
    if part == "resnet50":  # a test takes the chain's two processes in its place
        return together(2, *(("chain", ("plain",)) if small else ("resnet50", PREDICTED)), 1)
    sizes = ((2, 2), (4, 2)) if small else ((10, 2), (100, 2), (1000, 2), (100, 8))
    return account(sizes, 2 if small else 64)


def made() -> dict[str, Any]:
    """What it was measured on."""
    return {
        "processor": _processor(),
        "vector": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "surgeon": surgeon.__version__,
        "torch": str(torch.__version__),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.is_file() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
