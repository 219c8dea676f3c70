"""What the processes of an evaluation send each other, and what each then holds: the engine's own code, with ranks that
are played by one process."""

from __future__ import annotations

import gc
import pickle
import tracemalloc
from collections.abc import Sequence
from typing import Any
from unittest import mock

import torch
from torch import nn

from surgeon.evaluation import Attack, evaluate
from surgeon.evaluation.engine import blocks as engine


def account(numbers: Sequence[int], ranks: int, attacks: int) -> list[dict[str, Any]]:
    """A row for each number of blocks.

    The first rank's part is evaluated; what the others would send is its rows, once for each rank.

    Args:
        numbers: Numbers of blocks.
        ranks: Processes that are played.
        attacks: Attacks on each block.
    """
    return [_row(n, ranks, attacks) for n in numbers]


def _row(number: int, ranks: int, attacks: int) -> dict[str, Any]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval()
    x = torch.rand(number * engine.BLOCK, 1, 2, 2)
    with torch.no_grad():
        y = model(x).argmax(1)
    many = [Attack(name=f"fgsm{k}", kind="own-pgd", eps=1e-6, steps=1) for k in range(attacks)]
    sent = 0

    def gathered(rows: list[Any]) -> list[Any]:
        nonlocal sent
        message = pickle.dumps(rows)
        sent = len(message)
        return [row for _ in range(ranks) for row in pickle.loads(message)]  # noqa: S301 (this process's own)

    with mock.patch.multiple(
        engine, rank=lambda: 0, world=lambda: ranks, gathered=gathered, everyone=lambda: None
    ):
        gc.collect()
        tracemalloc.start()
        outcome = evaluate(model, x, y, many)
        gc.collect()
        held, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return {
        "blocks": number,
        "ranks": ranks,
        "attacks": attacks,
        "verdicts": len(outcome),
        "sent": sent,
        "received": sent * ranks,
        "held": held,
        "peak": peak,
    }
