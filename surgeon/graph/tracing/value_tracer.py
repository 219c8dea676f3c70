"""A tracer for code that branches on sizes: its proxies know the values that an example has there.

Tracing without values comes first, since its graphs hold for every size; these hold for the example's alone.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch import fx, nn

from surgeon.errors import TraceError
from surgeon.graph.changes.asked_of_tensors import LAYOUT, asks_a_type, comes_of
from surgeon.graph.measuring.traced import Behind, Example
from surgeon.graph.places.recorded import Recorded
from surgeon.graph.tracing.image_counts import counts_images
from surgeon.graph.tracing.limits_asked import limits_answered
from surgeon.graph.tracing.sizes_given import sizes_recorded
from surgeon.graph.tracing.tracer import LeafTracer
from surgeon.torch_private import FakeTensorMode, reparametrized


class Sized(Recorded):
    """A proxy that knows its value: where code asks for a number, such as `int(x.shape[-1])`, that is the example's."""

    def __int__(self) -> int:
        return int(self._number())

    def __index__(self) -> int:
        return operator.index(self._number())

    def __float__(self) -> float:
        return float(self._number())

    def __len__(self) -> int:
        return len(self._number())

    def _number(self) -> Any:
        value = self.node.meta.get("value")
        if value is None or (isinstance(value, torch.Tensor) and not value.dim()):
            raise TraceError("a number is made of a tensor's values")
        self.tracer.fixed = True  # type: ignore[attr-defined]  # a ValueTracer
        self.tracer.decided_by(self.node)  # type: ignore[attr-defined]
        return value


class ValueTracer(LeafTracer):
    """A LeafTracer whose proxies carry fake tensors, so that code may branch on sizes.

    The graph then holds for the example's sizes alone. `behind` names the layers that will be called after
    a module once the graph is cut: the values that the code sees are theirs.
    """

    def __init__(self, example: Example, behind: Behind, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = tuple(example)
        self.behind = behind
        self.evaluating = self.fixed = False
        self.decides = False  # by how many images there may be
        # Tensors that the code makes itself are real, and meet the example's fake ones.
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)

    def trace(  # type: ignore[override]  # of modules alone
        self, root: nn.Module, concrete_args: dict[str, Any] | None = None
    ) -> fx.Graph:
        with sizes_recorded(self), limits_answered(self):
            return super().trace(root, concrete_args)

    def create_args_for_root(self, *args: Any, **kwargs: Any) -> tuple[Any, list[Any]]:
        self._given = iter(self.example)
        return super().create_args_for_root(*args, **kwargs)

    def runs_code(self) -> bool:
        return not self.evaluating

    def decided_by(self, node: fx.Node) -> None:
        """Called where code decides by a value, or makes a number of it."""
        layout = comes_of(node, LAYOUT)
        if layout:
            raise TraceError(f"it decides by {layout} of a tensor, whose answer a graph would keep")
        if not self.asked.by_type:
            self.asked.by_type = asks_a_type(node)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return Sized(node, self)

    def create_node(self, kind: str, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(kind, *args, **kwargs)
        if kind == "output":
            return node
        self.evaluating = True  # modules that run on values now must not come into the graph
        try:
            with self.watch.off(), self.fake, torch.no_grad():
                node.meta["value"] = self._evaluate(node)
        finally:
            self.evaluating = False
        return node

    def _evaluate(self, node: fx.Node) -> Any:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: n.meta["value"])
        if node.op == "placeholder":
            given = next(self._given, None)
            return None if given is None else self._stand_in(given)
        if node.op == "get_attr":
            owner, _, leaf = str(node.target).rpartition(".")
            value = getattr(self.root.get_submodule(owner), leaf)
            return self.fake.from_tensor(value) if isinstance(value, torch.Tensor) else value
        if node.op == "call_module":
            value = self._called(str(node.target), *args, **kwargs)
            for layer in self.behind.get(str(node.target), ()):
                value = self._called(layer, value)
            return value
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        return node.target(*args, **kwargs)  # type: ignore[operator]  # a call_function's target is one

    def _called(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """What a module gives, on stand-ins of its own tensors too: it may write into its buffers."""
        module = self.root.get_submodule(name)
        own = (
            *module.named_parameters(remove_duplicate=False),
            *module.named_buffers(remove_duplicate=False),
        )
        before = [(m, m.__dict__.copy()) for m in module.modules()]
        try:
            with reparametrized(module, {n: self.fake.from_tensor(t) for n, t in own}):
                return module.forward(*args, **kwargs)
        finally:  # what its code leaves on it is of no call
            for part, held in before:
                part.__dict__.clear()
                part.__dict__.update(held)

    def _stand_in(self, given: tuple[int, ...] | torch.Tensor) -> torch.Tensor:
        like = next((p for p in self.root.parameters() if p.is_floating_point()), torch.empty(0))
        if isinstance(given, torch.Tensor):
            return torch.empty(given.shape, dtype=given.dtype, device=like.device)
        return torch.empty(given, dtype=like.dtype, device=like.device)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        return forward(*args, **kwargs) if self.evaluating else super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if self.evaluating:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def to_bool(self, obj: fx.Proxy) -> bool:
        value = obj.node.meta["value"]
        if isinstance(value, torch.Tensor):
            return super().to_bool(obj)
        self.decides |= counts_images(obj.node)
        self.decided_by(obj.node)
        return bool(value)

    def iter(self, obj: Any) -> Iterator[Any]:
        value = obj.node.meta["value"]
        self.fixed |= isinstance(value, torch.Tensor)
        return iter([obj[i] for i in range(len(value))])
