"""The `forward` of a rewritten network: which of its functions runs for the arguments of a call.

It is written as Python source for each network, since it must have the stock network's own arguments: callers name
them, torch.compile and torch.export read them, and a general `*args, **kwargs` with a look-up would cost time at each
call. For a network with `forward(self, x, mask=None)` it reads

    def forward(self, x, mask=_held['mask']):
        if not _is_compiling():
            self.anchor()
            if any(_on_all):
                _tell_of_all(self)
        if not _same(mask, _held['mask']):
            return self._otherwise(('x',), {'x': x, 'mask': mask})
        if not (isinstance(x, _Tensor)):
            return self._unlike({'x': x})
        if self.training:
            return self._forward_train(x)
        return self._forward_eval(x)
"""

from __future__ import annotations

import inspect
import typing
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx, nn

from surgeon.graph.changes.unheard import tell_of_all
from surgeon.graph.changes.variants import same_argument
from surgeon.graph.measuring.signatures import held_arguments, takes_more
from surgeon.torch_private import HOOKS_ON_ALL

dispatchers: weakref.WeakSet[Callable[..., Any]] = weakref.WeakSet()
"""The `forward` of every class of a rewritten network."""


def dispatcher(
    stock: Callable[..., Any], inputs: list[str], constants: Mapping[str, Any], sized: bool
) -> Callable[..., Any]:
    """The `forward` of a rewritten network: the stock network's arguments, and the graph of the mode for
    those that it was made for."""
    held = {**held_arguments(stock, ()), **constants}
    tests: list[str] = []
    arguments: list[str] = []
    named: list[str] = []
    by_name = optional = rest = False
    for p in list(inspect.signature(stock).parameters.values())[1:]:
        if p.kind is p.VAR_POSITIONAL:
            arguments.append("*_rest")
            by_name = rest = True
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            continue
        if p.kind is p.KEYWORD_ONLY and not by_name:
            arguments.append("*")
            by_name = True
        named.append(p.name)
        optional = optional or p.name in held
        if p.name in inputs and p.default is p.empty:
            # Python refuses a required argument behind an optional one. Left out it is None, which `_unlike` refuses.
            arguments.append(f"{p.name}=_absent" if optional and not by_name else p.name)
            continue
        arguments.append(f"{p.name}=_held[{p.name!r}]")
        value = f"_held[{p.name!r}]"
        # An optional input at its default was not given: that needs graphs without this input. Of an input only
        # identity is asked, since `==` of tensors gives a tensor.
        tests.append(f"{p.name} is {value}" if p.name in inputs else f"not _same({p.name}, {value})")
    also = [n for n in inputs if n not in named]
    arguments += (["*"] if also and not by_name else []) + also
    more = {n: v for n, v in constants.items() if n not in named}
    if takes_more(stock):
        arguments.append("**_more")
        tests.append("_more.keys() != _also.keys() or not all(_same(v, _also[n]) for n, v in _more.items())")
        if not more:
            # The usual case: any further argument is one too many, and no keys are compared at each call.
            tests[-1] = "_more"
    given = ", ".join(inputs)
    # Asked last: a call with other constants needs other graphs, whatever its sizes are.
    tests += [f"not self._fits({given})"] if sized else []
    everything = ", ".join(
        [f"{n!r}: {n}" for n in (*named, *also)] + (["**_more"] if takes_more(stock) else [])
    )
    check = (
        f"    if {' or '.join(tests)}:\n        return self._otherwise({tuple(inputs)!r}, {{{everything}}})\n"
        if tests
        else ""
    )
    needed = [n for n in inputs if n not in held and n not in also]
    tensors = " and ".join(f"isinstance({n}, _Tensor)" for n in needed)
    # What is optional was tested above; a required input that is not a tensor gets the longer look of `_unlike`.
    if needed:
        check += (
            f"    if not ({tensors}):\n        return "
            f"self._unlike({{{', '.join(f'{n!r}: {n}' for n in inputs)}}})\n"
        )
    refusal = (
        "    if not isinstance(_rest, _Proxy) and _rest:\n        self._more_than_traced(_rest)\n"
        if rest
        else ""
    )
    scope: dict[str, Any] = {
        "_Tensor": torch.Tensor,
        "_Proxy": fx.Proxy,  # what another tracer of torch.fx has for `*args`
        "_held": held,
        "_same": same_argument,
        "_also": more,
        "_absent": None,
        "_is_compiling": torch.compiler.is_compiling,
        "_on_all": HOOKS_ON_ALL,
        "_tell_of_all": tell_of_all,
    }
    exec(  # the names come from a traced signature
        f"def forward(self, {', '.join(arguments)}):\n{refusal}"
        f"    if not _is_compiling():\n        self.anchor()\n"
        f"        if any(_on_all):\n            _tell_of_all(self)\n{check}"
        f"    if self.training:\n        return self._forward_train({given})\n"
        f"    return self._forward_eval({given})\n",
        scope,
    )
    forward: Callable[..., Any] = scope["forward"]
    forward.__annotations__ = {n: t for n, t in _types(stock).items() if n in (*named, *also, "return")}
    dispatchers.add(forward)
    return forward


def _types(stock: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function, as types: their names mean something in its own file alone."""
    try:
        return typing.get_type_hints(stock, include_extras=True)
    except Exception:  # a name that is there for type checkers alone
        return dict(getattr(stock, "__annotations__", {}))


def later(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """The `forward` of a network that is being read: whatever is bound to it then runs what the class has
    when it is called."""
    return type(self).forward(self, *args, **kwargs)


dispatchers.add(later)
