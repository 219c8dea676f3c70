"""Shapes of what functions give, which no hook on a module hears: the graphs are run on tensors without numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import fx, nn

from surgeon.graph.measuring.calls import Given
from surgeon.graph.measuring.measure import BATCH, Measured, Pretence, Shape, on_fakes, on_meta, silent
from surgeon.graph.measuring.norm_shapes import NormsKeepShapes
from surgeon.graph.measuring.traced import Traced
from surgeon.graph.places.callees import Mode, Place
from surgeon.graph.trees.kept import keep, keep_in
from surgeon.graph.trees.streams import draws_again
from surgeon.kept_modes import mode
from surgeon.torch_private import NormBase


def add_shapes(
    model: nn.Module,
    regions: Iterable[tuple[str, Traced]],
    called: Mapping[str, Mapping[Mode, Sequence[Place]]],
    seen: Measured,
    input_size: Shape | None,
) -> None:
    """Note in `seen` the shapes at calls of functions, as those at modules are. Where a graph cannot be run so, the
    shapes stay unknown."""
    if input_size is None or seen.error:
        return
    for region, traced in regions:
        prefix = f"{region}." if region else ""
        known: set[str] = set()
        for at in ("eval", "train"):
            wanted: dict[fx.Node, list[Place]] = {}
            for place in called[region][at]:
                new = place.name not in known and f"{prefix}{place.name}" not in seen.outputs
                if new and (place.call or place.read or place.parts):
                    wanted.setdefault(place.node, []).append(place)
            if not wanted:
                continue
            known |= {p.name for here in wanted.values() for p in here}
            # Meta tensors are quicker; code that mixes in tensors of its own runs on fake ones alone.
            for pretended in (on_meta, on_fakes):
                run = _Shapes(model.get_submodule(region), traced, at, wanted, prefix, seen)
                if _ran(run, model, seen.arguments.get(region), pretended, input_size):
                    run.note()
                    break


def _ran(run: _Shapes, model: nn.Module, given: Given | None, pretended: Pretence, input_size: Shape) -> bool:
    """Whether a graph can be run to the last of its wanted calls."""
    state = torch.random.get_rng_state()
    try:
        with mode(model, run.at == "train"):
            for m in model.modules():
                if isinstance(m, NormBase):
                    # In training mode a norm would write into its statistics.
                    m.training = False
            with silent(), draws_again(), torch.no_grad(), pretended(model, input_size) as images:
                shapes = given.example(run.root) if run.prefix and given else ()
                inputs = [images.new_empty(s) if isinstance(s, tuple) else None for s in shapes]
                with NormsKeepShapes():
                    run.go([images] * run.inputs if not run.prefix else inputs)
        return True
    except Exception:  # the network's own code, on tensors without numbers
        return False
    finally:
        torch.random.set_rng_state(state)


class _Shapes(fx.Interpreter):
    def __init__(
        self,
        root: nn.Module,
        traced: Traced,
        at: Mode,
        wanted: Mapping[fx.Node, Sequence[Place]],
        prefix: str,
        seen: Measured,
    ) -> None:
        graph = traced.eval if at == "eval" else traced.train
        super().__init__(root, graph=graph)
        self.root, self.at, self.wanted, self.seen = root, at, wanted, seen
        self.prefix = prefix
        self.constants = traced.constants
        self.inputs = sum(n.op == "placeholder" for n in graph.nodes)
        self.left = len(wanted)
        self.found: dict[str, list[tuple[torch.Size | None, torch.Size]]] = {}

    def go(self, inputs: Sequence[Any]) -> None:
        self.meta = any(isinstance(i, torch.Tensor) and i.is_meta for i in inputs)
        with contextlib.suppress(_Done):
            self.run(*inputs)

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        here = self.wanted.get(n)
        if here is None:
            return value
        if isinstance(value, torch.Tensor):
            for place in here:
                self.found.setdefault(place.name, []).append((self._given(n, place), value.shape))
        self.left -= 1
        if not self.left:
            raise _Done
        return value

    def _given(self, n: fx.Node, place: Place) -> torch.Size | None:
        """The shape of what a function takes."""
        first = n.args[place.branch] if n.args else n.kwargs.get("input")
        given = self.env.get(first) if isinstance(first, fx.Node) else None
        return given.shape if isinstance(given, torch.Tensor) and not place.parts else None

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        constant = self.constants.get(str(target))
        if constant is not None:
            return constant.to("meta") if self.meta else constant
        return super().get_attr(target, args, kwargs)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        if target in (keep, keep_in):  # nothing is left on the network by this pass
            return None
        return super().call_function(target, args, kwargs)

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        """A module's output; it is not run if the shape is known already."""
        name, x = self.prefix + str(target), args[0] if args else None
        once = len(self.seen.each_output.get(name, ())) == 1 and name not in self.seen.folded
        if once and isinstance(x, torch.Tensor) and x.is_floating_point():
            return x.new_empty((BATCH, *self.seen.outputs[name]))
        return super().call_module(target, args, kwargs)

    def note(self) -> None:
        seen = self.seen
        for name, sizes in self.found.items():
            full = self.prefix + name
            seen.calls.setdefault(full, len(sizes))
            seen.each_output[full] = [tuple(out[1:]) for _, out in sizes]
            seen.outputs[full] = tuple(sizes[0][1][1:])
            if sizes[0][0] is not None:
                seen.inputs.setdefault(full, tuple(sizes[0][0][1:]))
            if any(out[:1] != (BATCH,) for _, out in sizes):
                seen.folded.add(full)


class _Done(Exception):
    """Everything wanted was seen."""
