"""The source code that a network is written in, where that is nobody's installed package.

The weights of two networks may be equal while a line of their `forward` is not.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from torch import nn

_INSTALLED = tuple(
    Path(sysconfig.get_paths()[name]).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")
)
_OURS = Path(__file__).resolve().parents[1]


def code_of(model: nn.Module) -> dict[str, str]:
    """Hash the source files that define the classes of a network's modules.

    Installed packages are left out: a record has the versions of those that matter. So is what has no file, such as
    a notebook's cell. Of a script that is run, the classes alone count.

    Args:
        model: The network, before or after a surgery.

    Returns:
        Hash by the name of the Python module, such as `mine.nets`. Comments and empty lines do not count.
    """
    kinds = {c for module in model.modules() for c in type(module).__mro__}
    by_name: dict[str, list[type]] = {}
    for kind in sorted(kinds, key=lambda c: c.__qualname__):
        by_name.setdefault(kind.__module__, []).append(kind)
    known = {}
    for name, there in sorted(by_name.items()):
        place = _own_file(name)
        if place is None:
            continue
        with contextlib.suppress(OSError, UnicodeDecodeError, TypeError):
            whole = name != "__main__"
            known[name] = _hash(
                place.read_text(encoding="utf-8") if whole else "\n".join(map(inspect.getsource, there))
            )
    return known


def changed_code(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """List the Python modules whose source is known at both times, and differs.

    Args:
        before: Hashes of `code_of`.
        now: Hashes of `code_of`.
    """
    return [name for name, digest in before.items() if now.get(name, digest) != digest]


def _own_file(name: str) -> Path | None:
    """The source file of a Python module, where that is of no installed package."""
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None or not file.endswith(".py"):
        return None
    place = Path(file).resolve()
    return None if any(place.is_relative_to(folder) for folder in (*_INSTALLED, _OURS)) else place


def _hash(text: str) -> str:
    lines = (line.rstrip() for line in text.splitlines())
    kept = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return hashlib.blake2b("\n".join(kept).encode(), digest_size=8).hexdigest()
