"""What the processes of an evaluation send each other, and what one of them then holds: the engine's own code, with
ranks that are played by one process."""

from __future__ import annotations

import gc
import pickle
import tempfile
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn

from surgeon.disk.files import write_parquet
from surgeon.evaluation import Attack, Outcome, Store, evaluate, summarize
from surgeon.evaluation.engine import blocks as engine
from surgeon.results.verdict import COLUMNS


def account(sizes: Sequence[tuple[int, int]], ranks: int) -> list[dict[str, Any]]:
    """Two rows for each size: all in memory, and with a store.

    In memory, the first rank's part is evaluated, and what the others would send is its rows, once for each rank. With
    a store the others' parts are evaluated then, and what the first one holds is measured while it evaluates,
    sums up and writes the table.

    Args:
        sizes: (number of blocks, attacks on each).
        ranks: Processes that are played.
    """
    for row in (_in_memory, _with_store):  # what is imported and cached on first use is nobody's
        row(1, ranks, 1)
    return [row(blocks, ranks, attacks) for blocks, attacks in sizes for row in (_in_memory, _with_store)]


def _in_memory(number: int, ranks: int, attacks: int) -> dict[str, Any]:
    given, sent = _given(number, attacks), 0

    def gathered(rows: list[Any]) -> list[Any]:
        nonlocal sent
        message = pickle.dumps(rows)
        sent = len(message)
        return [row for _ in range(ranks) for row in pickle.loads(message)]  # noqa: S301 (this process's own)

    with _played(0, ranks, gathered), _Measured() as memory:
        outcome = evaluate(*given)
        memory.look()
    return _row(number, ranks, attacks, False, len(outcome), sent, memory)


def _with_store(number: int, ranks: int, attacks: int) -> dict[str, Any]:
    given = _given(number, attacks)

    def gathered(rows: list[Any]) -> list[Any]:
        raise AssertionError("with a store nothing is gathered")

    with tempfile.TemporaryDirectory() as scratch:
        store = Store(Path(scratch) / "attacks")
        with _played(0, ranks, gathered), _Measured() as memory:
            outcome = evaluate(*given, store=store)
            memory.look()
        with _played(0, 1, gathered):  # what the others do, by one for all
            evaluate(*given, store=store)
        with memory:
            finished(outcome, Path(scratch))
        return _row(number, ranks, attacks, True, len(outcome), 0, memory)


def finished(outcome: Outcome, folder: Path) -> None:
    """What the first process does with an outcome."""
    summarize(outcome)
    write_parquet(folder / "verdicts.parquet", COLUMNS, outcome.rows())


def _given(number: int, attacks: int) -> tuple[Any, ...]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval()
    x = torch.rand(number * engine.BLOCK, 1, 2, 2)
    with torch.no_grad():
        y = model(x).argmax(1)
    many = [Attack(name=f"fgsm{k}", kind="own-pgd", eps=1e-6, steps=1, cascade=False) for k in range(attacks)]
    return model, x, y, many


def _played(rank: int, ranks: int, gathered: Any) -> Any:
    return mock.patch.multiple(
        engine,
        rank=lambda: rank,
        world=lambda: ranks,
        first=lambda: rank == 0,
        gathered=gathered,
        everyone=lambda: None,
    )


class _Measured:
    """Bytes of Python objects that come within the block: held in the end, and the peak; of several blocks the most."""

    def __init__(self) -> None:
        self.held = self.peak = 0

    def __enter__(self) -> _Measured:
        gc.collect()
        tracemalloc.start()
        return self

    def look(self) -> None:
        """Note what is held now."""
        gc.collect()
        self.held = tracemalloc.get_traced_memory()[0]

    def __exit__(self, *_: object) -> None:
        self.peak = max(self.peak, tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()


def _row(
    number: int, ranks: int, attacks: int, store: bool, verdicts: int, sent: int, memory: _Measured
) -> dict[str, Any]:
    return {
        "blocks": number,
        "ranks": ranks,
        "attacks": attacks,
        "store": store,
        "verdicts": verdicts,
        "sent": sent,
        "received": sent * ranks,
        "held": memory.held,
        "peak": memory.peak,
    }
