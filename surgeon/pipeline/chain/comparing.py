"""Two values that should be equal: where they differ first."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from surgeon.errors import ArtifactError
from surgeon.pipeline.chain.checking import Misfit, some
from surgeon.reading import parse_json

ROUNDING = 1e-9
"""How far, relative to its size, a computed number may be from one that another machine computed."""


def read_json(path: Path) -> Any:
    """What a file of JSON holds. Raises ArtifactError for one that is damaged, OSError for one that is not there."""
    return parse_json(path.read_bytes(), path.name)


def read_mapping(path: Path) -> dict[str, Any]:
    """A file of JSON that holds a mapping. Raises ArtifactError for another."""
    found = read_json(path)
    if not isinstance(found, dict):
        raise ArtifactError(f"{path.name} holds {type(found).__name__}, not a mapping")
    return found


def difference(written: Any, found: Any, where: str = "") -> str:
    """In words, the first place at which plain data differ from what they should be; empty where they are equal."""
    if isinstance(written, Mapping) and isinstance(found, Mapping):
        for key in {**written, **found}:
            place = f"{where}.{key}" if where else str(key)
            if key not in written or key not in found:
                return f"{place} is there in one alone"
            if told := difference(written[key], found[key], place):
                return told
        return ""
    if isinstance(written, (list, tuple)) and isinstance(found, (list, tuple)):
        if len(written) != len(found):
            return f"{where} has {len(written)} entries, not {len(found)}"
        return next(
            (t for i, pair in enumerate(zip(written, found, strict=True)) if (t := difference(*pair, f"{where}[{i}]"))),
            "",
        )  # fmt: skip
    return "" if _equal(written, found) else f"{where} is {_short(written)}, and should be {_short(found)}"


def demand_equal(written: Any, found: Any, what: str) -> None:
    """Raise Misfit where plain data are not what they should be; `what` begins the sentence."""
    if told := difference(written, found):
        raise Misfit(f"{what}: {told}")


def demand_tensors(one: Mapping[str, Tensor], other: Mapping[str, Tensor], what: str) -> None:
    """Raise Misfit, naming tensors, unless two state dicts are equal bit for bit."""
    alone = sorted({*one} ^ {*other})
    if alone:
        raise Misfit(f"{what}: {some(alone)} in one of them alone")
    changed = [k for k in sorted(one) if not _same_bits(one[k], other[k])]
    if changed:
        raise Misfit(f"{what}: {some(changed)} differ")


def _same_bits(a: Tensor, b: Tensor) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return torch.equal(*(t.detach().cpu().contiguous().flatten().view(torch.uint8) for t in (a, b)))


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, bool) or isinstance(b, bool) or not (_number(a) and _number(b)):
        return bool(a == b)
    return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=ROUNDING, abs_tol=1e-12)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float))


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "…"
