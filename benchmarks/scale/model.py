"""A model of a step's time, fitted to measured rows, and what it predicts where nobody measured. No torch here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy
from scipy.optimize import nnls

from benchmarks.scale.wire import on_the_wire


@dataclass(frozen=True)
class Fitted:
    """cpu = compute + synced (with shared batch norms) + drawn more × number + calls × call + bytes on the wire × byte.

    compute, synced: CPU seconds of a step by kind of network. number, call, byte: CPU seconds each. residuals: what
    the model says by what was measured, less 1, of each row.
    """

    compute: dict[str, float]
    synced: dict[str, float]
    number: float
    call: float
    byte: float
    residuals: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median of the residuals' sizes."""
        return float(numpy.median(numpy.abs(self.residuals)))


@dataclass(frozen=True)
class Assumed:
    """What is assumed of GPUs, and measured nowhere here.

    latency: Seconds a call and a doubling of the processes. bandwidth: Bytes a second that a GPU sends. draws: Normal
    numbers a second that a GPU draws. overlap: Share of the gradients' exchange that hides behind the backward pass.
    compute: Seconds of a step on one GPU, by kind.
    """

    latency: float
    bandwidth: float
    draws: float
    overlap: float
    images: int
    compute: dict[str, float]


def fitted(rows: Sequence[dict[str, Any]]) -> Fitted:
    """The model with the constants ≥ 0 that make the sum of squared relative residuals least.

    Args:
        rows: With kind, exact, processes, cpu, drawn, sent.
    """
    kinds = list(dict.fromkeys(r["kind"] for r in rows))
    own = {r["kind"]: r["drawn"] for r in rows if r["processes"] == 1}
    k = len(kinds)
    left = numpy.zeros((len(rows), 2 * k + 3))
    for line, r in zip(left, rows, strict=True):
        line[kinds.index(r["kind"])] = 1
        if r["exact"] and r["processes"] > 1:
            line[k + kinds.index(r["kind"])] = 1
        line[2 * k :] = r["drawn"] - own[r["kind"]], calls_of(r), wire_of(r, r["processes"])
    cpu = numpy.array([r["cpu"] for r in rows])
    weighted = left / cpu[:, None]
    scale = numpy.abs(weighted).max(0)
    scale[scale == 0] = 1
    solution = nnls(weighted / scale, numpy.ones(len(rows)))[0] / scale
    return Fitted(
        dict(zip(kinds, map(float, solution[:k]), strict=True)),
        dict(zip(kinds, map(float, solution[k : 2 * k]), strict=True)),
        *map(float, solution[2 * k :]),
        tuple(map(float, weighted @ solution - 1)),
    )


def calls_of(row: dict[str, Any]) -> int:
    """Calls of collectives in a step."""
    return sum(calls for calls, _ in row["sent"].values()) if row["processes"] > 1 else 0


def bytes_of(row: dict[str, Any]) -> int:
    """Bytes that a process puts into collectives in a step."""
    return sum(size for _, size in row["sent"].values()) if row["processes"] > 1 else 0


def wire_of(row: dict[str, Any], processes: int) -> float:
    """Bytes that a process sends in a step, by rings of so many processes."""
    if row["processes"] == 1:
        return 0.0
    return sum(on_the_wire(kind, size, processes) for kind, (_, size) in row["sent"].items())


def predicted(row: dict[str, Any], gpus: int, assumed: Assumed, larger: int = 49) -> dict[str, Any]:
    """Seconds of a step, by parts; a prediction.

    Args:
        row: What a process of two sends in a step of the network; calls and bytes do not depend on its images.
        gpus: Number of GPUs.
        assumed: What is assumed.
        larger: Numbers that an image draws, by those of one in `row`: 49 from 32 pixels to 224.
    """
    wire = {kind: on_the_wire(kind, size, gpus) for kind, (_, size) in row["sent"].items()}
    seconds = {kind: sent / assumed.bandwidth for kind, sent in wire.items()}
    hidden = assumed.overlap * seconds.get("gradients", 0.0)
    # With `exact` each process draws the noise of the whole batch; its own part is in `compute`.
    numbers = larger * row["drawn"] / row["images"] / row["processes"] if row["exact"] else 0
    parts = {
        "compute": assumed.compute[row["kind"]],
        "calls": calls_of(row) * assumed.latency * math.log2(gpus),
        "bytes": sum(seconds.values()) - hidden,
        "draws": assumed.images * numbers * (gpus - 1) / assumed.draws,
    }
    return {
        "kind": row["kind"],
        "exact": row["exact"],
        "gpus": gpus,
        **parts,
        "seconds": sum(parts.values()),
        "efficiency": parts["compute"] / sum(parts.values()),
    }
