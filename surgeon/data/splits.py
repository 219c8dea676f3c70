"""Splitting by labels: shares of a set, and as many of each class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from surgeon.errors import DataError
from surgeon.host import in_own_state


@in_own_state()
def split(labels: Tensor, shares: Sequence[float], *, stratified: bool = True, seed: int = 0) -> list[Tensor]:
    """Indices (int64) of parts of `labels` (N,) with these shares; what they leave of 1 is the first part, in front.

    Every index once. stratified: class by class, each class's part within one of its share. Fixed by `seed`.

    Raises DataError for shares that are not positive or leave nothing.
    """
    if any(s <= 0 for s in shares) or sum(shares) >= 1:
        raise DataError(
            f"shares of {list(shares)} leave nothing for the first part; their sum must be below 1"
        )
    generator = torch.Generator().manual_seed(seed)
    groups = (
        [(labels == c).nonzero().flatten() for c in labels.unique()]
        if stratified
        else [torch.arange(len(labels))]
    )
    parts: list[list[Tensor]] = [[] for _ in range(len(shares) + 1)]
    for group in groups:
        order = group[torch.randperm(len(group), generator=generator)]
        begin = 0
        for part, share in zip(parts[1:], shares, strict=True):
            end = begin + round(share * len(group))
            part.append(order[begin:end])
            begin = end
        parts[0].append(order[begin:])
    whole = [torch.cat(p) for p in parts]
    return [p[torch.randperm(len(p), generator=generator)] for p in whole]


@in_own_state()
def balanced(labels: Tensor, per_class: int, *, names: Sequence[str] = (), seed: int = 0) -> Tensor:
    """Indices of exactly `per_class` samples of each class, chosen by `seed`.

    Raises DataError naming the classes that have fewer.
    """
    generator = torch.Generator().manual_seed(seed)
    groups = {int(c): (labels == c).nonzero().flatten() for c in labels.unique()}
    few = {c: len(g) for c, g in groups.items() if len(g) < per_class}
    if few:
        told = ", ".join(f"{names[c] if c < len(names) else c} has {n}" for c, n in list(few.items())[:5])
        raise DataError(f"per_class={per_class} is more than {len(few)} classes hold: {told}")
    return torch.cat([g[torch.randperm(len(g), generator=generator)[:per_class]] for g in groups.values()])
