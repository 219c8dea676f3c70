"""What code does with a value while it is traced that torch.fx has no record of.

`x += y` writes into a tensor. torch.fx records `x + y`, which is the same only where nothing else has the tensor
under another name and reads it afterwards.
"""

from __future__ import annotations

import dis
import itertools
import linecache
import operator
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torch.fx.proxy import Attribute, ParameterProxy, TracerBase

from surgeon.errors import TraceError
from surgeon.graph.places.kinds import from_a_module

IN_PLACE = {
    getattr(operator, f"i{name}"): getattr(operator, f"{name}_" if name in ("and", "or") else name)
    for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "xor", "and", "or")
}
"""The operators that write into what stands before them, and those that do not."""
_VIEWS = frozenset(
    {
        "view",
        "view_as",
        "reshape",
        "reshape_as",
        "flatten",
        "unflatten",
        "permute",
        "transpose",
        "movedim",
        "swapaxes",
        "swapdims",
        "squeeze",
        "unsqueeze",
        "contiguous",
        "expand",
        "expand_as",
        "chunk",
        "split",
        "tensor_split",
        "unbind",
        "narrow",
        "select",
        "detach",
        "t",
        "unfold",
        "diagonal",
        "to",
        "type",
        "float",
        "double",
        "half",
        "bfloat16",
    }
)
_LIBRARIES = ("torch", "surgeon")
_OF_GRADIENTS = ("requires_grad", "is_leaf", "grad_fn", "grad")


def _class_of(self: fx.Proxy) -> type:
    frame = sys._getframe(1)
    while frame.f_globals.get("__name__") == "abc" or frame.f_code is torch.is_tensor.__code__:
        frame = frame.f_back or frame
    # torch's C code asks this of proxies among its arguments too, and must be told that they are not tensors
    if _asked_by_a_library(frame) or not _asks_for_a_type(frame):
        return type(self)
    kind: type | None = self.tracer.kind_of(self.node)  # type: ignore[attr-defined]  # a LeafTracer
    if kind is None and from_a_module(self.node):
        return torch.Tensor  # or a part of what a module gives whose code is not followed: most are tensors
    if kind is None:
        raise TraceError("it asks for the type of a value, which is not known before it is computed")
    return kind


def _asks_for_a_type(frame: Any) -> bool:
    """Whether a frame is at a call of `isinstance` or `torch.is_tensor`; no where its source is not there."""
    line, _, column, _ = next(itertools.islice(frame.f_code.co_positions(), frame.f_lasti // 2, None))
    if line is None or column is None:
        return False
    text = linecache.getline(frame.f_code.co_filename, line, frame.f_globals)
    return text.encode()[column:].startswith((b"isinstance(", b"torch.is_tensor(", b"is_tensor("))


class _Typed(fx.Proxy):
    """A proxy whose class, for the network's own code, is that of what it stands for."""

    __class__ = property(_class_of)  # what isinstance asks for


class RecordedAttribute(_Typed, Attribute):
    """An attribute of a recorded value."""


class Recorded(_Typed):
    """A proxy that records what is written into it, and does not say whether gradients are wanted.

    Raises TraceError where the network's own code asks for that: a graph would keep the answer of its trace.
    """

    def __getattr__(self, name: str) -> Any:
        if name in _OF_GRADIENTS and not _asked_by_a_library(sys._getframe(1)):
            raise TraceError(f"it asks for {name} of a tensor, whose answer a graph would keep")
        if name == "dtype" and _compared_as_an_object(sys._getframe(1)):
            raise TraceError("it compares a type by `is`, which cannot be recorded: compare it by `==`")
        if not hasattr(torch.Tensor, name) and not _asked_by_a_library(sys._getframe(1)):
            kind = self.tracer.kind_of(self.node)  # type: ignore[attr-defined]  # a LeafTracer
            if kind is torch.Tensor:
                raise AttributeError(f"'Tensor' object has no attribute {name!r}")
        return RecordedAttribute(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(torch.Tensor, name) and name != "name" and not _asked_by_a_library(sys._getframe(1)):
            raise TraceError(f"it sets {name} of a tensor, which a graph would not")
        super().__setattr__(name, value)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.tracer.create_proxy("call_function", operator.setitem, (self, key, value), {})


class RecordedParameter(Recorded, ParameterProxy):
    """The same of a parameter, whose sizes are numbers."""


def parameter(tracer: TracerBase, made: Callable[[fx.Node], fx.Proxy], node: fx.Node) -> RecordedParameter:
    """The proxy of a parameter that torch.fx would have `made`, as one that records."""
    plain = made(node)
    assert isinstance(plain, ParameterProxy)
    return RecordedParameter(tracer, node, plain.name, plain.param)


def _asked_by_a_library(frame: Any) -> bool:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] in _LIBRARIES


def _compared_as_an_object(frame: Any) -> bool:
    """Whether the value that a frame reads now is an operand of `is`, as in `x.dtype is torch.uint8`."""
    at = [i for i in dis.get_instructions(frame.f_code) if i.offset >= frame.f_lasti][1:5]
    names = itertools.takewhile(lambda i: i.opname.startswith("LOAD_"), at)
    behind = len(list(names))
    return behind < len(at) and at[behind].opname == "IS_OP"


def _recording(target: Any) -> Any:
    def record(self: fx.Proxy, other: Any) -> fx.Proxy:
        name = IN_PLACE[target].__name__.strip("_")
        return self.tracer.create_proxy("call_function", target, (self, other), {}, name=name)

    return record


for _target in IN_PLACE:
    setattr(Recorded, f"__{_target.__name__.strip('_')}__", _recording(_target))


def elsewhere_where_unseen(graph: fx.Graph) -> None:
    """Turn operators that write in place into plain ones where only their result is read."""
    nodes = [n for n in graph.nodes if n.op == "call_function" and n.target in IN_PLACE]
    if not nodes:
        return
    place = {n: i for i, n in enumerate(graph.nodes)}
    for node in nodes:
        memory = _same_memory(node.args[0])
        stays = any(n.op == "get_attr" for n in memory)
        if not stays and not any(place[u] > place[node] for n in memory for u in n.users):
            node.target = IN_PLACE[node.target]


def _same_memory(value: Any) -> set[fx.Node]:
    """A value, what it may be a view of, and the views of that."""
    nodes: set[fx.Node] = set()
    todo = [value]
    while todo:
        node = todo.pop()
        if not isinstance(node, fx.Node) or node in nodes:
            continue
        nodes.add(node)
        if _gives_its_input(node) and node.args:
            todo.append(node.args[0])
        todo += [u for u in node.users if u.args and u.args[0] is node and _gives_its_input(u)]
    return nodes


def _gives_its_input(node: fx.Node) -> bool:
    """Whether what a node gives may be the memory of its first argument."""
    if node.op == "call_method":
        name = str(node.target)
        return name in _VIEWS or (name.endswith("_") and not name.endswith("__"))
    if node.op == "call_function":
        inplace = node.kwargs.get("inplace") is True
        return (
            inplace
            or node.target in (operator.getitem, getattr)
            or getattr(node.target, "__name__", "") in _VIEWS
        )
    return False
