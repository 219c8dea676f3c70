"""Code that asks whether it is traced or exported: `torch.jit.is_tracing()` and its kin.

A graph keeps the answer that it was made under, and `torch.jit.trace` and the exporters run the graph. So where code
asked, its graphs are made once more under the other answer. Where they are the same, as where the question guards a
message, nothing is lost; else the module whose code asks keeps its Python. Where no convolution could be cut then, the
graphs ask themselves: they compute what the code does outside of an export, and refuse to be exported. Libraries whose
code gives the same values either way are not listened to.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import fx

from surgeon.errors import SurgeryError, TraceError

_QUESTIONS = (
    (torch.jit, "is_tracing", "torch.jit.is_tracing()"),
    (torch.onnx, "is_in_onnx_export", "torch.onnx.is_in_onnx_export()"),
    (torch.compiler, "is_exporting", "torch.compiler.is_exporting()"),
)
_LIBRARIES = ("torch", "surgeon", "timm", "torchvision", "transformers")


class _Question(TraceError):
    """Code asks, and its graphs are others under the other answer."""


def of_a_question(error: BaseException | None) -> bool:
    """Whether an error of a trace comes of such a question."""
    return error is not None and (isinstance(error, _Question) or of_a_question(error.__cause__))


@dataclass
class Export:
    """How the questions are met: answered by no, answered by yes, or refused; and which were asked."""

    met: Literal["no", "yes", "refused"]
    asked: set[str] = field(default_factory=set)


_now: contextvars.ContextVar[Export | None] = contextvars.ContextVar("export", default=None)


@contextlib.contextmanager
def met_by(met: Literal["no", "yes", "refused"]) -> Iterator[Export]:
    """Answer the questions in this way in all traces of this block."""
    export = Export(met)
    token = _now.set(export)
    try:
        yield export
    finally:
        _now.reset(token)


@contextlib.contextmanager
def listening(by_the_network: Callable[[], bool]) -> Iterator[None]:
    """Hear the questions of code of a network until the end of the block, in a trace within `met_by`.

    by_the_network: whether a network's code runs now, in this thread.
    """
    export = _now.get()
    with contextlib.ExitStack() as stack:
        for owner, name, text in _QUESTIONS if export else ():
            if hasattr(owner, name):
                known = getattr(owner, name)
                setattr(owner, name, _heard(known, text, export, by_the_network))  # type: ignore[arg-type]
                stack.callback(setattr, owner, name, known)
        yield


def _heard(
    known: Callable[[], bool], text: str, export: Export, by_the_network: Callable[[], bool]
) -> Callable[[], bool]:
    @functools.wraps(known)
    def asked() -> bool:
        frame: Any = sys._getframe(1)
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package in _LIBRARIES or not by_the_network():
            return known()
        export.asked.add(text)
        if export.met == "refused":
            raise _Question(
                f"it asks {text} and computes otherwise then, and a graph would keep the answer: put what depends on "
                "it into a module of its own, which keeps its Python"
            )
        return export.met == "yes"

    return asked


@fx.node.has_side_effect
def demand_plain(name: str, questions: tuple[str, ...]) -> None:
    """Raise SurgeryError where the answer to one of the questions is yes: the graph holds what is computed at no."""
    for owner, asked, text in _QUESTIONS:
        if text in questions and getattr(owner, asked)():
            raise SurgeryError(
                f"the code of {name} asks {text}, which is true here, and its graphs hold what it computes elsewhere: "
                "before surgeon.apply, put what depends on the question into a module of its own, which keeps its "
                "Python, or take the question out; what folds is also exported as surgeon.fold gives it"
            )


def with_demand_plain(graph: fx.Graph, name: str, questions: tuple[str, ...]) -> None:
    """Have a graph ask first, wherever it runs: an exporter may call it and no `forward`."""
    inputs = [n for n in graph.nodes if n.op == "placeholder"]
    if questions and inputs:
        with graph.inserting_after(inputs[-1]):
            graph.call_function(demand_plain, (name, questions))
