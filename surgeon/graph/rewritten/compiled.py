"""Functions made of graphs: the Python that torch.fx writes of a graph, made into a function of its own."""

from __future__ import annotations

import itertools
import linecache
import weakref
from collections.abc import Callable
from typing import Any

from torch import fx

Code = tuple[Callable[..., Any], str]
"""A function that runs a graph, and its source."""

numbers = itertools.count()
"""Numbers for what must not be called the same twice in a process, such as the source of each function."""


def compiled(graph: fx.Graph) -> Code:
    """The function of a graph, which takes the network and the graph's inputs, and its source.

    Two graphs on one network make two functions, so that torch.fx's own way, which writes one `forward` into the class
    of a GraphModule, does not do.
    """
    code = graph.python_code(root_module="self")
    scope = dict(code.globals)
    name = f"<graph {next(numbers)}>"
    # tracebacks, and whoever asks for the source of the function, read the lines here
    linecache.cache[name] = (len(code.src), None, code.src.splitlines(keepends=True), name)
    exec(compile(code.src, name, "exec"), scope)  # torch.fx wrote this source from the graph
    # Taken out of its own globals: a function that holds itself is freed by the garbage collector alone.
    run = scope.pop("forward")
    # the lines go with the function: a network whose graphs are made anew leaves no lines behind
    weakref.finalize(run, linecache.cache.pop, name, None).atexit = False
    return run, code.src


def same_code(one: Code, other: Code) -> bool:
    """Whether two functions made of graphs are the same, by their source and the values that it names."""
    if one[1] != other[1]:
        return False
    here, there = ({k: v for k, v in f[0].__globals__.items() if k != "__builtins__"} for f in (one, other))
    return here.keys() == there.keys() and all(v is there[k] for k, v in here.items())
