"""Split by labels: into shares of a set, or with equal numbers of each class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from surgeon.errors import DataError
from surgeon.host import in_own_state


@in_own_state()
def split(labels: Tensor, shares: Sequence[float], *, stratified: bool = True, seed: int = 0) -> list[Tensor]:
    """Split indices into parts with given shares.

    Args:
        labels: (N,) int64.
        shares: the shares of all parts but the first, which gets the rest.
        stratified: split class by class; each class's part differs from its share by less than one image.
        seed: decides which image goes where.

    Returns:
        Indices (int64) of each part, the rest first. Each index is in exactly one part.

    Raises:
        DataError: a share is not positive, or nothing is left for the first part.

    Examples:
        >>> import torch
        >>> from surgeon.data import split
        >>> [len(part) for part in split(torch.arange(100) % 2, [0.2, 0.1])]
        [70, 20, 10]
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
    """Choose the same number of samples of each class.

    Args:
        labels: (N,) int64.
        per_class: number of samples of each class.
        names: the classes' names, for the message.
        seed: decides which are chosen.

    Returns:
        The indices, class by class.

    Raises:
        DataError: classes have fewer samples; the message names them.

    Examples:
        >>> import torch
        >>> from surgeon.data import balanced
        >>> labels = torch.tensor([0, 0, 0, 1, 1])
        >>> labels[balanced(labels, 2)].tolist()
        [0, 0, 1, 1]
    """
    generator = torch.Generator().manual_seed(seed)
    groups = {int(c): (labels == c).nonzero().flatten() for c in labels.unique()}
    few = {c: len(g) for c, g in groups.items() if len(g) < per_class}
    if few:
        shortfalls = ", ".join(
            f"{names[c] if c < len(names) else c} has {n}" for c, n in list(few.items())[:5]
        )
        raise DataError(f"per_class={per_class} is more than {len(few)} classes hold: {shortfalls}")
    return torch.cat([g[torch.randperm(len(g), generator=generator)[:per_class]] for g in groups.values()])
