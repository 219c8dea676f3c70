"""Merge recipes as plain data."""

from __future__ import annotations

import copy
from typing import Any


def merge(base: Any, top: Any) -> Any:
    """Merge `top` over `base`.

    Mappings are merged key by key. Under the key `surgery`, the n-th operation of a name is merged over the
    n-th of the same name, and other operations are appended.

    Args:
        base: plain data.
        top: plain data, which takes precedence.

    Examples:
        >>> merge({"seed": 1, "training": {"lr": 0.1}}, {"training": {"epochs": 5}})
        {'seed': 1, 'training': {'lr': 0.1, 'epochs': 5}}
    """
    if isinstance(base, dict) and isinstance(top, dict):
        merged = dict(base)
        for key, value in top.items():
            same = key in base
            if key == "surgery" and same:
                merged[key] = _merge_operations(base[key], value)
            else:
                merged[key] = merge(base[key], value) if same else value
        return merged
    return top


def _merge_operations(base: Any, top: Any) -> Any:
    if not (isinstance(base, list) and isinstance(top, list)):
        return top
    merged = [copy.deepcopy(b) for b in base]
    used: dict[str, int] = {}
    for item in top:
        op = item.get("op") if isinstance(item, dict) else None
        places = [i for i, b in enumerate(merged[: len(base)]) if isinstance(b, dict) and b.get("op") == op]
        number = used.get(str(op), 0)
        used[str(op)] = number + 1
        if number < len(places):
            merged[places[number]] = merge(merged[places[number]], item)
        else:
            merged.append(item)
    return merged
