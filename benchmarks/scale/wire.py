"""What collectives send for the bytes that are put in. No torch here."""

from __future__ import annotations


def on_the_wire(kind: str, size: float, processes: int) -> float:
    """Bytes that a process sends for `size` bytes put in, where rings are used: the least that is possible.

    A reduction for all takes 2 (p − 1) / p times the bytes, a gathering p − 1 times, a broadcast or a reduction for one
    (p − 1) / p times.
    """
    p = processes
    if kind in ("gradients", "all_reduce"):
        return size * 2 * (p - 1) / p
    return size * (p - 1) if kind.startswith("all_gather") else size * (p - 1) / p
