"""`make gpu-campaign`: a table of trainings and evaluations on a graphics card, in steps that continue each other.

A step ends before its minutes are over, keeps what it has, and the same command goes on, also where folder and file
were carried to another machine in between and lie at the same paths there. Images travel as one array file: those of a
source as they are encoded, one after the other and compressed together, which loses nothing and makes 18.4 MB of
CIFAR-10 as JPEG.

    python -m experiments.campaign pack SOURCE images.npz
    python -m experiments.campaign run images.npz -o FOLDER --minutes 9
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import numpy

from surgeon.disk.writing import written
from surgeon.errors import ArgumentError
from surgeon.interrupts import Stopped, handled
from surgeon.pipeline import reproduce
from surgeon.protocol import Reproduction
from surgeon.protocol.markdown import page

PROTOCOLS = ("all/cifar10",)
LARGEST = 45_000_000
"""Bytes of the array file."""
FINISHED, GOES_ON = 0, 3
"""Exit codes: all is there; the same command goes on."""
_MARGIN = 30.0
"""Seconds that are left to the end of a step, for writing."""


def pack(source: str | Path, file: str | Path) -> int:
    """Write the encoded images of a folder of parquet files (`train-*`, `test-*`) into one array file.

    Args:
        source: The folder, in the Hugging Face layout.
        file: The file, .npz.

    Returns:
        Its size in bytes.

    Raises:
        ArgumentError: A split is missing, or the file would be larger than 45 MB; nothing is then kept.
    """
    import pyarrow.parquet

    arrays: dict[str, Any] = {}
    for split in ("train", "test"):
        files = sorted(Path(source).glob(f"{split}*.parquet"))
        if not files:
            raise ArgumentError(f"{source} has no {split}*.parquet")
        images: list[bytes] = []
        labels: list[int] = []
        for one in files:
            table = pyarrow.parquet.read_table(one)
            images += [image["bytes"] for image in table["image"].to_pylist()]
            labels += table["label"].to_pylist()
            metadata = (table.schema.metadata or {}).get(b"huggingface", b"")
        arrays[f"{split}_bytes"] = numpy.frombuffer(b"".join(images), dtype=numpy.uint8)
        arrays[f"{split}_lengths"] = numpy.array([len(i) for i in images], dtype=numpy.int32)
        arrays[f"{split}_labels"] = numpy.array(labels, dtype=numpy.int32)
        arrays[f"{split}_told"] = numpy.frombuffer(metadata, dtype=numpy.uint8)
    numpy.savez_compressed(file, **arrays)
    size = Path(file).stat().st_size
    if size > LARGEST:
        Path(file).unlink()
        raise ArgumentError(
            f"{source} takes {size / 1e6:.1f} MB in one file; {LARGEST / 1e6:.0f} MB is the most"
        )
    return size


def unpack(file: str | Path, folder: str | Path) -> Path:
    """Write the parquet files of `pack` again; those that are there stay.

    Args:
        file: The array file.
        folder: Where they go.

    Returns:
        The folder.
    """
    import pyarrow
    import pyarrow.parquet

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with numpy.load(file, allow_pickle=False) as arrays:
        for split in ("train", "test"):
            target = folder / f"{split}-00000-of-00001.parquet"
            if target.is_file():
                continue
            ends = numpy.cumsum(arrays[f"{split}_lengths"], dtype=numpy.int64)
            whole = arrays[f"{split}_bytes"].tobytes()
            images = [
                {"bytes": whole[end - length : end], "path": None}
                for end, length in zip(ends.tolist(), arrays[f"{split}_lengths"].tolist(), strict=True)
            ]
            kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
            metadata = arrays[f"{split}_told"].tobytes()
            table = pyarrow.table(
                {"image": pyarrow.array(images, kind), "label": arrays[f"{split}_labels"].astype(numpy.int64)}
            ).replace_schema_metadata({b"huggingface": metadata} if metadata else None)
            with written(target) as beside:
                pyarrow.parquet.write_table(table, beside)
    return folder


def step(
    file: str | Path, folder: str | Path, *, minutes: float, budget: str = "gpu", **given: Any
) -> list[Reproduction] | None:
    """Go on with the campaign for some minutes.

    Args:
        file: The array file of the images.
        folder: Where the runs go.
        minutes: The step's length; what is being done is kept and ended half a minute before.
        budget: The budget of the protocols.
        given: Further arguments of `surgeon.pipeline.reproduce`.

    Returns:
        The tables; None where the step ended before they were finished.
    """
    folder = Path(folder)
    source = unpack(file, folder / "images")
    seconds = max(60 * minutes - _MARGIN, 0.5 * 60 * minutes)
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGTERM))
    timer.daemon = True
    try:
        with handled():
            timer.start()
            return [
                reproduce(name, folder / name.replace("/", "-"), budget=budget, data=str(source), **given)
                for name in PROTOCOLS
            ]
    except Stopped as stopped:
        print(stopped, flush=True)
        return None
    finally:
        timer.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack")
    packing.add_argument("source")
    packing.add_argument("file")
    running = commands.add_parser("run")
    running.add_argument("file")
    running.add_argument("-o", "--output", required=True)
    running.add_argument("--minutes", type=float, default=9.0)
    running.add_argument("--budget", default="gpu")
    running.add_argument("--device")
    running.add_argument("--workers", type=int, default=0)
    given = parser.parse_args()
    if given.command == "pack":
        print(f"{given.file}: {pack(given.source, given.file) / 1e6:.1f} MB")
        return
    results = step(
        given.file,
        given.output,
        minutes=given.minutes,
        budget=given.budget,
        device=given.device,
        workers=given.workers,
        tell=lambda text: print(text, flush=True),
    )
    for one in results or ():
        print(page(one))
    sys.exit(GOES_ON if results is None else FINISHED)


if __name__ == "__main__":
    main()
