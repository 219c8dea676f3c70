"""Load a package's names on first use, so that importing the package does not import torch."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any


def lazily(
    package: str,
    homes: Mapping[str, str],
    rooms: Collection[str] = (),
    first: Callable[[], object] | None = None,
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make `__getattr__` and `__dir__` for a package.

    Args:
        package: the package's name.
        homes: public name → the module that defines it.
        rooms: modules of the package that are reached as its attributes.
        first: called before a name is loaded.

    Returns:
        The two functions.

    Examples:
        >>> get, names = lazily("surgeon", {"Rows": "surgeon.results.rows"}, rooms=["training"])
        >>> get("training").__name__, {"Rows", "training"} <= {*names()}
        ('surgeon.training', True)
    """

    def get(name: str) -> Any:
        if name not in rooms and name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if first is not None:
            first()
        if name in rooms:
            return importlib.import_module(f"{package}.{name}")
        value = getattr(importlib.import_module(homes[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes, *rooms})

    return get, names
