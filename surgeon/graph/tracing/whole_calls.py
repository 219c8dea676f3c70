"""Modules with a `__call__` of their own, around torch's: a graph that calls such a module whole calls all of it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

_LIBRARIES = ("torch.", "surgeon.")


@contextlib.contextmanager
def called_whole(root: nn.Module, whole: Callable[[nn.Module], bool]) -> Iterator[None]:
    """In this block of a trace, modules that are kept whole are recorded as one call, and what their class does around
    torch's `__call__` is not recorded a second time beside it.

    whole: whether a module of the root, called in the trace's thread, is kept whole.
    """
    kinds = {c for m in root.modules() for c in type(m).__mro__ if "__call__" in vars(c)}
    with contextlib.ExitStack() as stack:
        for kind in kinds:
            own = vars(kind)["__call__"]
            if kind is not nn.Module and not str(getattr(own, "__module__", "")).startswith(_LIBRARIES):
                kind.__call__ = _one_call(own, whole)  # type: ignore[method-assign]  # of a network's own class
                stack.callback(setattr, kind, "__call__", own)
        yield


def _one_call(own: Any, whole: Callable[[nn.Module], bool]) -> Callable[..., Any]:
    @functools.wraps(own)
    def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return (nn.Module.__call__ if whole(module) else own)(module, *args, **kwargs)

    return call
