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
from surgeon.folder import WEIGHTS
from surgeon.hashes import own_hash

_READ = """
import sys, time
import safetensors.torch, timm, torch
import surgeon
from pathlib import Path
from surgeon.artifact import rebuilt
from surgeon.folder import read_config, read_surgery

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) * 1024

folder = sys.argv[2]
surgeon.load(sys.argv[3])  # what is imported on first use
before = anonymous()
began = time.perf_counter()
if sys.argv[1] in ("own", "mapped"):
    found = surgeon.load(folder, mapped=sys.argv[1] == "mapped").state_dict()
elif sys.argv[1] == "made":
    config = read_config(folder)
    rebuilt(Path(folder), config, read_surgery(config, Path(folder))[0], None)
    found = {}
else:
    found = {k: v.clone() for k, v in safetensors.torch.load_file(folder + "/model.safetensors").items()}
taken = time.perf_counter() - began
print(taken, anonymous() - before, sum(v.numel() * v.element_size() for v in found.values()))
"""


def measure(asked: Asked) -> Iterator[Row]:
    """Each reading in a process of its own, the files in the page cache. Memory: what the process holds in the end beside the
    pages of the file."""
    with tempfile.TemporaryDirectory() as scratch:
        small, large = Path(scratch, "small"), Path(scratch, "large")
        _write("resnet18", small)
        if asked.small:
            large = small
        else:
            _write("wide_resnet101_2", large, num_classes=65_000)
        own, mapped, base, hashed, made = [], [], [], [], []
        held = kept = 0.0
        for _ in range(1 if asked.small else min(asked.repeats, 5)):
            seconds, _, _ = _read("plain", large, small)
            base.append(seconds)
            began = time.perf_counter()
            own_hash(large / WEIGHTS)
            hashed.append(time.perf_counter() - began)
            made.append(_read("made", large, small)[0])
            seconds, anonymous, total = _read("own", large, small)
            own.append(seconds)
            held = anonymous / total
            seconds, anonymous, total = _read("mapped", large, small)
            mapped.append(seconds)
            kept = anonymous / total
        size = (large / WEIGHTS).stat().st_size / 1e9
        yield row(
            "surgeon.load", f"folder of {size:.2g} GB", "its weights read", own, base, bar=1.3,
            note=f"holds {held:.2f}× the weights in the end",
        )  # fmt: skip
        yield row(
            "surgeon.load", f"folder of {size:.2g} GB, mapped=True", "its weights read", mapped, base, bar=1.3,
            note=f"holds {kept:.2f}× the weights in the end, beside the pages of the file",
        )  # fmt: skip
        yield row("surgeon.load", "making its network, alone", "its weights read", made, base)
        yield row("surgeon.load", "hashing its weights, alone", "its weights read", hashed, base)


def _write(name: str, folder: Path, **more: int) -> None:
    model = surgeon.create_model(name, model_args=more or None)
    surgeon.save(surgeon.apply(model, "anl", input_size=(3, 64, 64)), folder)


def _read(how: str, folder: Path, small: Path) -> tuple[float, float, float]:
    command = [sys.executable, "-c", _READ, how, str(folder), str(small)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, anonymous, total = map(float, done.stdout.split())
    return seconds, anonymous, total
