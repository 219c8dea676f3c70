"""Activations that code calls as functions, such as `F.relu(x, inplace=True)`: which module does the same.

Each function has a class in torch.nn with the same settings. A call with other arguments than its value and plain
settings, or one that writes in place where the class does not, has no module.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

_CLASSES: dict[str, tuple[type[nn.Module], tuple[str, ...]]] = {
    "relu": (nn.ReLU, ("inplace",)),
    "relu6": (nn.ReLU6, ("inplace",)),
    "leaky_relu": (nn.LeakyReLU, ("negative_slope", "inplace")),
    "elu": (nn.ELU, ("alpha", "inplace")),
    "celu": (nn.CELU, ("alpha", "inplace")),
    "selu": (nn.SELU, ("inplace",)),
    "gelu": (nn.GELU, ()),
    "silu": (nn.SiLU, ("inplace",)),
    "mish": (nn.Mish, ("inplace",)),
    "hardswish": (nn.Hardswish, ("inplace",)),
    "hardsigmoid": (nn.Hardsigmoid, ("inplace",)),
    "hardtanh": (nn.Hardtanh, ("min_val", "max_val", "inplace")),
    "hardshrink": (nn.Hardshrink, ("lambd",)),
    "softshrink": (nn.Softshrink, ("lambd",)),
    "tanhshrink": (nn.Tanhshrink, ()),
    "softplus": (nn.Softplus, ("beta", "threshold")),
    "softsign": (nn.Softsign, ()),
    "sigmoid": (nn.Sigmoid, ()),
    "logsigmoid": (nn.LogSigmoid, ()),
    "tanh": (nn.Tanh, ()),
    "threshold": (nn.Threshold, ("threshold", "value", "inplace")),
    "glu": (nn.GLU, ("dim",)),
    "softmax": (nn.Softmax, ("dim",)),
    "log_softmax": (nn.LogSoftmax, ("dim",)),
}
"""By name: the class, and the arguments that may follow the value by their place."""
_METHODS = ("relu", "sigmoid", "tanh", "softmax", "log_softmax", "hardshrink")
_IGNORED = {"_stacklevel": (3, 5), "dtype": (None,)}
"""Arguments that the classes lack, with the values at which they change nothing."""


def _found() -> dict[Any, str]:
    homes = (torch, functional)
    return {
        function: name
        for name in _CLASSES
        for namespace in homes
        for key in (name, f"{name}_")
        if callable(function := getattr(namespace, key, None))
    }


_FUNCTIONS = _found()


def function_of(node: fx.Node) -> str:
    """The name of the activation that a node calls as a function or method, or ''; relu_ is relu."""
    if node.op == "call_function":
        return _FUNCTIONS.get(node.target, "")
    if node.op == "call_method":
        name = str(node.target).removesuffix("_")
        return name if name in _METHODS else ""
    return ""


def module_of(node: fx.Node) -> nn.Module | None:
    """A module that computes the same as the activation function that a node calls; None if no module does."""
    name = function_of(node)
    if not name or not node.args or not isinstance(node.args[0], fx.Node):
        return None
    kind, places = _CLASSES[name]
    if len(node.args) - 1 > len(places):
        return None
    given: dict[str, Any] = {**dict(zip(places, node.args[1:], strict=False)), **node.kwargs}
    if str(getattr(node.target, "__name__", node.target)).endswith("_"):
        given["inplace"] = True
    given = {k: v for k, v in given.items() if v not in _IGNORED.get(k, ())}
    taken = inspect.signature(kind).parameters
    plain = all(k in taken and isinstance(v, (bool, int, float, str)) for k, v in given.items())
    if not plain or (name in ("softmax", "log_softmax") and "dim" not in given):
        return None
    return kind(**given)
