"""The only place that imports adv-lib: its minimum-norm attacks, and Auto-PGD in L1."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from surgeon.errors import MissingPackageError

_LOCK = threading.Lock()


def adv_lib(name: str) -> ModuleType:
    """Import a module of adv-lib's.

    Importing any of it imports visdom, which draws its progress in a browser where a caller asks for that, and
    distutils, which Python has not had since 3.12, to compare torch's version with 1.9. visdom's source does not
    build with today's setuptools. Neither is needed for attacks, so names stand in for what is missing.

    Args:
        name: The module below `adv_lib`, such as "attacks.auto_pgd".

    Returns:
        The module.

    Raises:
        MissingPackageError: It is not installed, or not this version's.
    """
    with _LOCK, _stood_in():
        try:
            return importlib.import_module(f"adv_lib.{name}")
        except ImportError as error:
            raise MissingPackageError(
                "minimum-norm attacks, and Auto-PGD in l1, need adv-lib: pip install --no-deps adv-lib==0.2.8 (one of "
                f"its own requirements does not build any more, and is not used) ({error})"
            ) from None


@contextmanager
def _stood_in() -> Iterator[None]:
    names = {"visdom": {}, "distutils": {}, "distutils.version": {"LooseVersion": _Newer}}
    put = []
    for name, content in names.items():
        try:
            importlib.import_module(name)
        except ImportError:
            module = ModuleType(name)
            module.__dict__.update(content)
            sys.modules[name] = module
            put.append(name)
    try:
        yield
    finally:
        for name in put:
            del sys.modules[name]


class _Newer:
    """A version of which all that is asked is whether it is new enough: surgeon's least torch is."""

    def __init__(self, version: str) -> None:
        self.version = version

    def __ge__(self, other: object) -> bool:
        return True
