"""Compare values that should be equal, and describe where they first differ."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TypeGuard

from torch import Tensor

from surgeon.pipeline.chain.checking import Misfit, some
from surgeon.values import raw

ROUNDING = 1e-9
"""Relative tolerance for a number that another machine computed."""


def difference(written: object, computed: object, where: str = "") -> str:
    """Describe the first place at which plain data differ; empty where they are equal.

    Args:
        written: the data as written.
        computed: the data as they should be.
        where: the place of both, for the text.
    """
    if isinstance(written, Mapping) and isinstance(computed, Mapping):
        for key in {**written, **computed}:
            place = f"{where}.{key}" if where else str(key)
            if key not in written or key not in computed:
                return f"{place} is in only one of the two"
            if reason := difference(written[key], computed[key], place):
                return reason
        return ""
    if isinstance(written, (list, tuple)) and isinstance(computed, (list, tuple)):
        if len(written) != len(computed):
            return f"{where} has {len(written)} entries, not {len(computed)}"
        return next(
            (
                t
                for i, pair in enumerate(zip(written, computed, strict=True))
                if (t := difference(*pair, f"{where}[{i}]"))
            ),
            "",
        )
    return (
        "" if _equal(written, computed) else f"{where} is {_short(written)}, and should be {_short(computed)}"
    )


def demand_equal(written: object, computed: object, what: str) -> None:
    """Check that plain data are equal.

    Args:
        written: the data as written.
        computed: the data as they should be.
        what: begins the message.

    Raises:
        Misfit: they differ.
    """
    if reason := difference(written, computed):
        raise Misfit(f"{what}: {reason}")


def demand_tensors(one: Mapping[str, Tensor], other: Mapping[str, Tensor], what: str) -> None:
    """Check that two state dicts are equal bit for bit.

    Args:
        one: name → tensor.
        other: name → tensor.
        what: begins the message.

    Raises:
        Misfit: they differ; the message names tensors.
    """
    alone = sorted({*one} ^ {*other})
    if alone:
        raise Misfit(f"{what}: {some(alone)} in one of them alone")
    changed = [k for k in sorted(one) if not _same_bits(one[k], other[k])]
    if changed:
        raise Misfit(f"{what}: {some(changed)} differ")


def _same_bits(a: Tensor, b: Tensor) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return bool((raw(a) == raw(b)).all())


def _equal(a: object, b: object) -> bool:
    if isinstance(a, bool) or isinstance(b, bool) or not (_number(a) and _number(b)):
        return bool(a == b)
    return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=ROUNDING, abs_tol=1e-12)


def _number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float))


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "…"
