"""Where channels lie: in the first axis of a map (C, H, W), or in the last one, as linear layers write them.

A module with weights or statistics by channel says it of its own output. Any other value has its channels where
the value has that it is made from, as long as what is between keeps the axes in their places or turns them in a known
way, or where the layers that take it have theirs. Beyond that it is unknown, and an operation must leave the site
alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from torch import fx, nn

from surgeon.graph.measuring.measure import Shape
from surgeon.graph.measuring.traced import Traced
from surgeon.graph.places.callees import MODES, Mode, Place
from surgeon.graph.places.read_weights import projection
from surgeon.graph.places.residual import is_sum
from surgeon.graph.trees.leaves import is_activation, is_convolution, is_norm, is_pool

Axis = Literal[0, -1]
_KEEPING = {
    *("add", "sub", "mul", "truediv", "div", "neg", "pow", "iadd", "isub", "imul", "add_", "mul_"),
    *(
        "relu",
        "relu_",
        "relu6",
        "celu",
        "selu",
        "mish",
        "hardsigmoid",
        "hardshrink",
        "softshrink",
        "tanhshrink",
        "softsign",
        "logsigmoid",
        "threshold",
        "gelu",
        "silu",
        "silu_",
        "hardswish",
        "hardtanh",
        "leaky_relu",
        "elu",
        "tanh",
    ),
    *(
        "sigmoid",
        "sigmoid_",
        "softplus",
        "dropout",
        "clone",
        "contiguous",
        "to",
        "float",
        "type_as",
        "detach",
    ),
    *("cat", "concat", "chunk", "split", "getitem", "roll", "pad", "flatten", "mean", "sum", "amax"),
    *("drop_path", "stochastic_depth", "keep", "keep_in"),
}
"""Functions and methods, by name, after which channels are where they were; a flattened map has its own before them."""
_MAPS = {
    "max_pool2d",
    "avg_pool2d",
    "adaptive_avg_pool2d",
    "adaptive_max_pool2d",
    "interpolate",
    "conv2d",
    "batch_norm",
}
"""Functions of maps."""
_LIKE = {"reshape_as", "view_as"}
"""Methods that give a value the axes of another one."""
_LAST = {"linear", "layer_norm", "rms_norm"}
_TURNS: dict[tuple[int, ...], dict[Axis, Axis]] = {
    (0, 2, 3, 1): {0: -1},
    (0, 2, 1): {0: -1, -1: 0},
    (0, 3, 1, 2): {-1: 0},
    (0, 2, 3, 4, 1): {0: -1},
    (0, 4, 1, 2, 3): {-1: 0},
}
"""Permutations of a batch's axes: where channels come to lie, from where they lay."""


def channel_axes(
    model: nn.Module,
    regions: Iterable[tuple[str, Traced]],
    called: Mapping[str, Mapping[Mode, Iterable[Place]]],
    outputs: Mapping[str, Shape],
) -> dict[str, Axis]:
    """Find the axis of the channels in what calls give.

    Args:
        model: The network.
        regions: Its graphs.
        called: What they call.
        outputs: The shapes of outputs, without the batch, by name, as far as known.

    Returns:
        0 or -1 by name; one is missing if it is not known, or not the same at each of its calls.
    """
    candidates: dict[str, set[Axis | None]] = {}
    for region, traced in regions:
        prefix = f"{region}." if region else ""
        for mode, graph in zip(MODES, (traced.train, traced.eval), strict=True):
            known: dict[fx.Node, Axis | None] = {}
            for node in graph.nodes:
                axis = _axis(model, node, known, prefix, outputs)
                known[node] = _wanted(model, node, prefix) if axis is None else axis
            for place in called[region][mode]:
                flat = len(outputs.get(prefix + place.name, ())) == 1  # (N, C): both axes are the same one
                candidates.setdefault(prefix + place.name, set()).add(0 if flat else known[place.node])
    return {
        name: axis for name, axes in candidates.items() if len(axes) == 1 and (axis := axes.pop()) is not None
    }


def _axis(
    model: nn.Module,
    node: fx.Node,
    known: Mapping[fx.Node, Axis | None],
    prefix: str,
    outputs: Mapping[str, Shape],
) -> Axis | None:
    """Return the axis of one value's channels, or None if it is unknown."""
    if node.op == "placeholder":
        return 0
    given = next((known.get(n) for n in node.all_input_nodes if n.op != "get_attr"), None)
    if is_sum(node):
        both = {axis for n in node.all_input_nodes if (axis := known.get(n)) is not None}
        return both.pop() if len(both) == 1 else None
    if node.op == "call_module":
        name = prefix + str(node.target)
        if len(outputs.get(name, ())) == 1:
            return 0  # (N, C): both axes are the same one
        return _of_module(model.get_submodule(name), given)
    if node.op not in ("call_function", "call_method"):
        return None
    name = _name(node)
    if name in _MAPS:
        return 0
    if name in _LAST or projection(node) is not None:
        return -1
    if name in _LIKE and len(node.args) > 1 and isinstance(node.args[1], fx.Node):
        return known.get(node.args[1])
    if name in ("permute", "transpose", "swapaxes"):
        return _turned(node, name, given)
    return given if name in _KEEPING else None


def _wanted(model: nn.Module, node: fx.Node, prefix: str) -> Axis | None:
    """Return the axis in which the layers that take a value have its channels, or None where they differ."""
    takers = [u for u in node.users if u.op == "call_module" and u.args[:1] == (node,)]
    modules = [model.get_submodule(prefix + str(u.target)) for u in takers]
    layers = [m for m in modules if is_convolution(m) or isinstance(m, nn.Linear) or is_norm(m)]
    axes = {_of_module(m, None) for m in layers}
    return axes.pop() if len(axes) == 1 else None


def _of_module(module: nn.Module, given: Axis | None) -> Axis | None:
    """Return the axis of a module's output; `given` is that of its input."""
    if is_convolution(module) or is_pool(module):
        return 0
    if isinstance(module, (nn.Linear, nn.MultiheadAttention, nn.Embedding)):
        return -1
    if is_norm(module):
        kind = type(module).__name__
        by_last = isinstance(module, (nn.LayerNorm, nn.RMSNorm)) or "LayerNorm" in kind or "RmsNorm" in kind
        return -1 if by_last and not kind.endswith("2d") else 0
    if (
        is_activation(module)
        or isinstance(module, (nn.Identity, nn.Flatten))
        or any(word in type(module).__name__ for word in ("Drop", "LayerScale"))
    ):
        return given
    return None


def _turned(node: fx.Node, name: str, given: Axis | None) -> Axis | None:
    """Return where a known permutation takes the channels."""
    axes = node.args[1:]
    if len(axes) == 1 and isinstance(axes[0], (tuple, list)):
        axes = tuple(axes[0])
    if name != "permute":
        # Of three axes; of four, as attention has them, 1 and 2 are heads and tokens.
        exchanged = {axes, axes[::-1]} & {(1, 2), (-1, -2), (1, -1)}
        axes = (0, 2, 1) if exchanged else ()
    if given is None or not all(isinstance(a, int) for a in axes):
        return None
    return _TURNS.get(tuple(int(str(a)) for a in axes), {}).get(given)


def _name(node: fx.Node) -> str:
    """The name of a function or method, without its module."""
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
