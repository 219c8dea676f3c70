"""What of surgeon is public, in one place: the packages whose `__all__` the reference shows, and those that
are for surgeon alone."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

METHODS = Path(__file__).parents[2] / "surgeon" / "methods"
ROOMS = tuple(sorted(path.parent.name for path in METHODS.glob("*/__init__.py")))
"""The methods: each is a room."""
DOCUMENTED = (
    "surgeon",
    "surgeon.methods",
    "surgeon.methods.base",
    "surgeon.edits",
    "surgeon.effects",
    "surgeon.execution",
    "surgeon.selection",
    "surgeon.conditions",
    "surgeon.results.paper",
    "surgeon.tensors.channel_statistics",
    *(f"surgeon.methods.{room}" for room in ROOMS),
    "surgeon.training",
    "surgeon.evaluation",
    "surgeon.insight",
    "surgeon.testing",
    "surgeon.models",
    "surgeon.zoo",
    "surgeon.data",
    "surgeon.store.exporting",
    "surgeon.report",
    "surgeon.pipeline",
    "surgeon.protocol",
    "surgeon.surgery",
)
INTERNAL = (
    "surgeon.graph",
    "surgeon.ownership",
    "surgeon.torch_private",
    "surgeon.data.shifted",
    "surgeon.evaluation.beyond.corruptions",
)
"""With an `__all__` of their own, for the rooms of surgeon that use them."""


def names(package: str) -> list[str]:
    """The public names of a package: its `__all__`, or without one the functions and classes that it defines."""
    module = importlib.import_module(package)
    if hasattr(module, "__all__"):
        return [n for n in module.__all__ if not n.startswith("__")]
    own = (n for n, v in vars(module).items() if getattr(v, "__module__", None) == package)
    return [n for n in own if not n.startswith("_")]


def origin_of(package: str, name: str) -> str:
    """The dotted path at which the object is written down: `surgeon.surgery.applying.apply` of `surgeon.apply`."""
    value: Any = getattr(importlib.import_module(package), name)
    value = getattr(value, "__wrapped__", value)
    module, qualified = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if module and qualified and module.startswith("surgeon"):
        return f"{module}.{qualified}"
    return constant(package, name)


def constant(package: str, name: str) -> str:
    """The file that assigns a value which does not know where it is from: the one that the package imports it from."""
    import ast
    from pathlib import Path

    file = importlib.import_module(package).__file__
    for node in ast.walk(ast.parse(Path(str(file)).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and any(a.name == name for a in node.names):
            return f"{node.module}.{name}"
        if isinstance(node, ast.Dict):  # of names that are imported when they are asked for
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == name and isinstance(value, ast.Constant):
                    return f"{value.value}.{name}"
    return f"{package}.{name}"
