"""Functions made of graphs: the Python that torch.fx writes of a graph, made into a function of its own."""

from __future__ import annotations

import contextlib
import itertools
import linecache
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from torch import fx

Code = tuple[Callable[..., Any], str]
"""A function that runs a graph, and its source."""

numbers = itertools.count()
"""Numbers for what must not be called the same twice in a process, such as the source of each function."""
_gone: deque[str] = deque()
"""The names of functions that are freed, whose lines are still kept."""


def compiled(graph: fx.Graph) -> Code:
    """The function of a graph, which takes the network and the graph's inputs, and its source.

    Two graphs on one network make two functions, so that torch.fx's own way, which writes one `forward` into the class
    of a GraphModule, does not do.
    """
    _forget()
    code = graph.python_code(root_module="self")
    scope = dict(code.globals)
    name = f"<graph {next(numbers)}>"
    # tracebacks, and whoever asks for the source of the function, read the lines here
    linecache.cache[name] = (len(code.src), None, code.src.splitlines(keepends=True), name)
    exec(compile(code.src, name, "exec"), scope)  # torch.fx wrote this source from the graph
    # Taken out of its own globals: a function that holds itself is freed by the garbage collector alone.
    run = scope.pop("forward")
    weakref.finalize(run, _gone.append, name).atexit = False
    return run, code.src


def _forget() -> None:
    """Take out the lines of functions that are gone: a network whose graphs are made anew leaves no lines behind.

    Not when a function goes, which may be in the middle of somebody's loop over the lines, as `linecache.checkcache`
    and with it tracebacks and debuggers have.
    """
    with contextlib.suppress(IndexError):
        while True:
            linecache.cache.pop(_gone.popleft(), None)


def same_code(one: Code, other: Code) -> bool:
    """Whether two functions made of graphs are the same, by their source and the values that it names."""
    if one[1] != other[1]:
        return False
    here, there = ({k: v for k, v in f[0].__globals__.items() if k != "__builtins__"} for f in (one, other))
    return here.keys() == there.keys() and all(v is there[k] for k, v in here.items())
