"""The tables of benchmarks/scale/measured.json, as they stand in docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.scale.model import Assumed, Fitted, bytes_of, calls_of, fitted, predicted

SCALE = Path("benchmarks/scale/measured.json")


def sections(record: dict[str, Any]) -> str:
    """Everything, in the order of the page."""
    trained, assumed = record["steps"]["rows"], Assumed(**record["assumed"])
    return "\n\n".join(
        (
            steps(trained),
            kinds_of_calls(trained),
            machine(record["steps"]["made"]),
            described(fitted(trained)),
            f"**Predicted, not measured**, for {assumptions(assumed)}:",
            predictions(
                [predicted(r, gpus, assumed) for gpus in (8, 64) for r in record["resnet50"]["rows"]]
            ),
            kinds_of_calls(record["resnet50"]["rows"]),
            evaluation(record["evaluation"]["rows"]),
            machine(record["evaluation"]["made"]),
        )
    )


def machine(made: dict[str, Any]) -> str:
    """What it was measured on."""
    return f"Measured on: {', '.join(f'{k} {v}' for k, v in made.items())}."


def steps(rows: Sequence[dict[str, Any]]) -> str:
    """A line for each kind and number of processes."""
    return _table(
        ("network", "exact", "processes", "s a step", "CPU s", "calls", "bytes", "numbers drawn"),
        (
            (
                r["kind"],
                "yes" if r["exact"] else "no",
                r["processes"],
                f"{r['seconds']:.3f}",
                f"{r['cpu']:.3f}",
                calls_of(r),
                f"{bytes_of(r):,}",
                f"{r['drawn']:,}",
            )
            for r in rows
        ),
    )


def kinds_of_calls(rows: Sequence[dict[str, Any]]) -> str:
    """Calls and bytes by kind, of the largest number of processes."""
    most = max(r["processes"] for r in rows)
    return _table(
        ("network", "exact", f"what a process of {most} hands over in a step: calls (bytes)"),
        (
            (
                r["kind"],
                "yes" if r["exact"] else "no",
                ", ".join(f"{kind} {calls} ({size:,})" for kind, (calls, size) in r["sent"].items()),
            )
            for r in rows
            if r["processes"] == most
        ),
    )


def described(fit: Fitted) -> str:
    """The fitted constants and what they leave over."""
    compute = ", ".join(f"{k} {1e3 * v:.1f}" for k, v in fit.compute.items())
    synced = ", ".join(f"{k} {1e3 * v:.1f}" for k, v in fit.synced.items())
    return (
        f"Fitted CPU time of a step: compute {compute} ms; shared batch norms of `exact` and what comes with them "
        f"{synced} ms; {1e9 * fit.number:.2f} ns a number drawn for others; {1e6 * fit.call:.0f} µs a call; "
        f"{1e9 * fit.byte:.2f} ns a byte sent. The model is off by {fit.median:.0%} in the rows' median, "
        f"from {min(fit.residuals):+.0%} to {max(fit.residuals):+.0%}."
    )


def assumptions(a: Assumed) -> str:
    """What the prediction rests on."""
    compute = ", ".join(f"{k} {1e3 * v:.0f}" for k, v in a.compute.items())
    return (
        f"ResNet-50 at 224 pixels with {a.images} images a GPU, assuming {1e6 * a.latency:g} µs a call × log2 of "
        f"the GPUs, {a.bandwidth / 1e9:g} GB/s that each sends, {a.draws / 1e9:g} billion normal numbers a "
        f"second, {a.overlap:.0%} of the gradients' exchange hidden, and steps on one GPU of {compute} ms"
    )


def predictions(rows: Sequence[dict[str, Any]]) -> str:
    """A line for each kind and number of GPUs; milliseconds."""
    return _table(
        (
            "network",
            "exact",
            "GPUs",
            "ms a step",
            "compute",
            "calls",
            "bytes",
            "whole-batch draws",
            "efficiency",
        ),
        (
            (
                r["kind"],
                "yes" if r["exact"] else "no",
                r["gpus"],
                *(f"{1e3 * r[part]:.1f}" for part in ("seconds", "compute", "calls", "bytes", "draws")),
                f"{r['efficiency']:.0%}",
            )
            for r in rows
        ),
    )


def evaluation(rows: Sequence[dict[str, Any]]) -> str:
    """A line for each number of blocks."""
    return _table(
        (
            "blocks",
            "attacks",
            "ranks",
            "store",
            "verdicts",
            "a rank sends",
            "each receives",
            "MiB in the end",
            "peak MiB",
        ),
        (
            (
                r["blocks"],
                r["attacks"],
                r["ranks"],
                "yes" if r["store"] else "no",
                f"{r['verdicts']:,}",
                f"{r['sent']:,} B",
                f"{r['received']:,} B",
                f"{r['held'] / 2**20:.1f}",
                f"{r['peak'] / 2**20:.1f}",
            )
            for r in rows
        ),
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])
