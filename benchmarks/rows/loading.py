"""Loading a rewritten folder of a gigabyte against reading its weights into memory."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import surgeon
from benchmarks.timing import Asked, Row, row
from surgeon.disk.hashes import own_hash
from surgeon.store.folder import WEIGHTS

_READ = """
import sys, time
import safetensors.torch, timm, torch
import surgeon
from pathlib import Path
from surgeon.store.rebuilding import rebuilt
from surgeon.store.folder import read_config, record_of

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) * 1024

folder = sys.argv[1]
surgeon.load(sys.argv[2])  # what is imported on first use
for how in sys.argv[3:]:
    before = anonymous()
    began = time.perf_counter()
    if how in ("own", "mapped"):
        found = surgeon.load(folder, mapped=how == "mapped").state_dict()
    elif how == "made":
        config = read_config(folder)
        rebuilt(Path(folder), config, record_of(config), None)
        found = {}
    else:
        found = {k: v.clone() for k, v in safetensors.torch.load_file(folder + "/model.safetensors").items()}
    taken = time.perf_counter() - began
    print(taken, (anonymous() - before) / max(sum(v.numel() * v.element_size() for v in found.values()), 1))
"""

_HOW = ("plain", "made", "own", "mapped")


def measure(asked: Asked) -> Iterator[Row]:
    """Each reading in a process of its own (small: all in one), the files in the page cache. Memory: what the
    process holds in
    the end beside the pages of the file."""
    with tempfile.TemporaryDirectory() as scratch:
        small, large = Path(scratch, "small"), Path(scratch, "large")
        _write("resnet18", small)
        if asked.small:
            large = small
        else:
            _write("wide_resnet101_2", large, num_classes=65_000)
        hashed: list[float] = []
        read: dict[str, list[tuple[float, float]]] = {how: [] for how in _HOW}
        for _ in range(1 if asked.small else min(asked.repeats, 5)):
            began = time.perf_counter()
            own_hash(large / WEIGHTS)
            hashed.append(time.perf_counter() - began)
            for some in (_HOW,) if asked.small else ((how,) for how in _HOW):
                for how, figures in zip(some, _read(large, small, some), strict=True):
                    read[how].append(figures)
        base, made, own, mapped = ([seconds for seconds, _ in read[how]] for how in _HOW)
        held, kept = (read[how][-1][1] for how in ("own", "mapped"))
        size = (large / WEIGHTS).stat().st_size / 1e9
        yield row(
            "surgeon.load",
            f"folder of {size:.2g} GB",
            "its weights read",
            own,
            base,
            note=f"holds {held:.2f}× the weights in the end",
        )
        yield row(
            "surgeon.load",
            f"folder of {size:.2g} GB, mapped=True",
            "its weights read",
            mapped,
            base,
            note=f"holds {kept:.2f}× the weights in the end, beside the pages of the file",
        )
        yield row("surgeon.load", "making its network, alone", "its weights read", made, base)
        yield row("surgeon.load", "hashing its weights, alone", "its weights read", hashed, base)


def _write(name: str, folder: Path, **more: int) -> None:
    model = surgeon.create_model(name, model_args=more or None)
    surgeon.save(surgeon.apply(model, "anl", input_size=(3, 64, 64)), folder)


def _read(folder: Path, small: Path, how: tuple[str, ...]) -> list[tuple[float, float]]:
    """Seconds, and what is held then by the weights' size, of each way one after the other in a process."""
    command = [sys.executable, "-c", _READ, str(folder), str(small), *how]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    return [(float(seconds), float(held)) for seconds, held in lines]
