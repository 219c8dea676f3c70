"""The evaluation that a method was published with, as data. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from surgeon.results.kinds import Norm
from surgeon.results.threat import Attack

Tables = Callable[[Sequence[str], int], list[Attack]]
"""Maps names of models to transfer from and a seed to the attacks of a paper's tables."""


@dataclass(frozen=True)
class Paper:
    """The attacks that the suite `paper` runs for a method.

    Args:
        name: Name in the settings.
        norm: Norm of the main threat.
        eps: ε of the main threat, in [0, 1] pixels.
        tables: Makes the attacks of the paper's tables.
        sizes: Further (norm, ε) at which the standard attacks run too.

    Examples:
        >>> paper = Paper("mine", "linf", 8 / 255, tables=lambda sources, seed: transfers(sources, "linf", 8 / 255))
        >>> paper.tables(["resnet18"], 0)[0].source
        'resnet18'
    """

    name: str
    norm: Norm
    eps: float
    tables: Tables
    sizes: tuple[tuple[Norm, float], ...] = ()


def transfers(sources: Sequence[str], norm: Norm, eps: float, **more: Any) -> list[Attack]:
    """Return APGD-CE on each source.

    The iterate with the largest loss is kept: one that stops at the source's decision boundary transfers
    less.

    Args:
        sources: Names of the models to transfer from.
        norm: "linf" or "l2".
        eps: Size in [0, 1] pixels.
        more: Further fields of `Attack`.

    Returns:
        One attack for each source.

    Examples:
        >>> [attack.label for attack in transfers(["resnet18", "vgg16"], "linf", 8 / 255)]
        ['transfer-apgd-ce linf 8/255 from resnet18', 'transfer-apgd-ce linf 8/255 from vgg16']
    """
    own = more | {"cascade": False, "early_stop": False, "group": "transfer"}
    return [
        Attack(name="transfer-apgd-ce", kind="apgd", norm=norm, eps=eps, steps=100, source=s, **own)
        for s in sources
    ]
