"""A start from data: layer by layer in execution order, each layer is fitted to undo the drift before it.

Stock and rewritten network run side by side on calibration images. When it is the turn of a convolution or a
weight map, its weights are set by least squares on the rewritten network's *own* inputs, so that the network
behind it receives what it received in the stock network (`targets.py`). A batch norm then re-estimates its
statistics before the next layer's turn. Edited layers are fitted as their operation says (`Operation.fit`);
the others behind the first edit are re-fitted too, with a ridge towards the weights that they have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from surgeon.edits import Edit, Plan
from surgeon.graph.rewritten.network import Rewritten
from surgeon.graph.rewritten.pairs import Call
from surgeon.graph.rewritten.shared_parameters import read_by_functions
from surgeon.graph.rewritten.targets import Target, target
from surgeon.graph.trees.paths import has
from surgeon.methods.base import LeastSquares, Operation, Unfitted
from surgeon.methods.own_fit import fit_of
from surgeon.progress import tell
from surgeon.selection import INPUT
from surgeon.tensors.convolution import laid_like
from surgeon.tensors.equations import equations
from surgeon.torch_private import BatchNorm

_MOST_IMAGES = 2048
_MOST_NUMBERS = 6e8
"""Largest number of activations held at once: activations of one image, times images."""
_MOST_WIDTH = 5000
"""A layer with more weights per output channel keeps the weights that it has."""
_RIDGE = 1e-4


@dataclass
class Refit:
    """The result of a pass.

    Attributes:
        errors: Relative errors of the fits, by name.
        unfitted: The edits that keep the start that they were built with, each with the reason.
        displaced: The stock weights of layers that no edit replaced, by tensor name.
    """

    errors: dict[str, float] = field(default_factory=dict)
    unfitted: list[tuple[Edit, str]] = field(default_factory=list)
    displaced: dict[str, Tensor] = field(default_factory=dict)


def images_at_once(network: nn.Module, record: Plan, operations: Mapping[str, Operation], number: int) -> int:
    """Return how many images layers are fitted to, all of them in one batch.

    Args:
        network: The network after the cut.
        record: The plan.
        operations: The operations by key.
        number: How many images there are.

    Returns:
        At most `number`, by memory; 0 if nothing is fitted.
    """
    if not _fitted(record, operations) or not isinstance(network, Rewritten):
        return 0
    return min(number, _MOST_IMAGES, max(16, int(_MOST_NUMBERS / max(record.before.activations, 1))))


def _fitted(record: Plan, operations: Mapping[str, Operation]) -> list[Edit]:
    """List the edits that are fitted while the networks run; those that observe were set up before."""
    asked = ((e, operations[e.operation]) for e in record.edits)
    return [e for e, operation in asked if operation.needs_images(e) and operation.observe(e) is None]


def left_out(
    record: Plan, operations: Mapping[str, Operation], reached: Collection[str] = ()
) -> list[tuple[Edit, str]]:
    """Say why edits were not fitted that no call of the pass reached: they are in sub-networks cut by themselves.

    Args:
        record: The plan.
        operations: The operations by key.
        reached: The sites that were.

    Returns:
        The edits, each with the reason.
    """
    why = "it lies where torch.fx cannot follow the network as a whole"
    return [(e, why) for e in _fitted(record, operations) if e.site not in reached]


class LayerByLayer:
    """What happens at each call while stock and rewritten network run side by side (`run_side_by_side`).

    Args:
        network: The network after the cut; its weights and batch-norm statistics are set.
        stock: The network before the cut.
        record: The plan.
        operations: The operations by key.

    Attributes:
        found: Errors, sites that were not fitted, and displaced weights.
        reached: The sites that were reached so far.
    """

    def __init__(
        self,
        network: Rewritten,
        stock: nn.Module,
        record: Plan,
        operations: Mapping[str, Operation],
    ) -> None:
        self.network, self.stock, self.operations, self.found = network, stock, operations, Refit()
        asked = _fitted(record, operations)
        self.edits = {e.site if e.replaces else e.layer: e for e in asked}
        refitting = [e for e in record.edits if operations[e.operation].refits(e)]
        # A norm behind cancels any factor: the largest that an operation asks for does for all.
        self.scale = max((operations[e.operation].headroom(e) for e in refitting), default=1.0)
        # Without an operation that has the others re-fitted nothing counts as drift, and all other layers are left
        # alone.
        changing = [e for e in record.edits if e.effect != "exact"] if refitting else []
        self.changing = {e.layer or e.site for e in changing} | {e.site for e in changing if e.replaces}
        self.inserted = {
            e.layer: partial(operations[e.operation].passes, e, network.get_submodule(e.layer))
            for e in record.edits
            if e.layer
        }
        self.calls = Counter(str(n.target) for n in network.eval_graph.nodes if n.op == "call_module")
        holders = Counter(id(p) for m in network.modules() for p in m.parameters(recurse=False))
        # A weight that two layers share would have to fit both of them.
        self.tied = {p for p, number in holders.items() if number > 1}
        self.beside = read_by_functions(network)
        self.reached: set[str] = set()
        self.drifted = False
        self.done = 0
        tell("fitting layer by layer", 0, self.calls.total())

    def __call__(self, call: Call) -> None:
        self._visit(call)
        self.done += 1
        tell("fitting layer by layer", self.done, self.calls.total())

    def _visit(self, call: Call) -> None:
        """Fit the layer, re-estimate its statistics, or leave it, depending on what it is."""
        module = self.network.get_submodule(call.name)
        edit = self.edits.get(call.name)
        changes = call.name in self.changing
        if isinstance(module, BatchNorm):
            # Now, since the layers behind are fitted to what this norm gives with its new statistics.
            if module.running_mean is not None and self.drifted:
                _take_statistics(module, call.inputs.new)
        elif edit is not None:
            self._edited(call, edit)
        elif self.drifted and not changes and self._can_fit(call, module) and _same_places(call, module):
            self._companion(call, module)
        elif not self.drifted and not changes and self.scale != 1 and self._can_fit(call, module):
            self._scaled(call, module)
        # Only now: layers up to the first change receive what they always did, and keep their weights.
        self.drifted = self.drifted or changes

    def _target(self, call: Call) -> Target:
        """Return what the called layer should give."""
        return target(call, self.network, self.stock, self.inserted)

    def _edited(self, call: Call, edit: Edit) -> None:
        """Let the operation fit an edited layer."""
        self.reached.add(edit.site)
        try:
            if not isinstance(call.old, Tensor) or (
                edit.replaces and not _same_places(call, self.network.get_submodule(call.name))
            ):
                raise Unfitted("the network before the surgery gives another size there")
            error = fit_of(self.operations[edit.operation], edit, _Seen(self, call, edit))
        except Unfitted as reason:
            self.found.unfitted.append((edit, str(reason)))
            return
        if error is not None:
            self.found.errors[edit.site] = error

    def _can_fit(self, call: Call, module: nn.Module) -> bool:
        """Say whether a layer that no edit touched can be re-fitted."""
        x = call.inputs.new
        # Called twice, one weight would have to fit two kinds of inputs; a subclass may compute something else.
        plain = type(module) is nn.Conv2d and self.calls[call.name] == 1 and call.name not in self.beside
        if not plain or not isinstance(call.old, Tensor) or not isinstance(x, Tensor):
            return False
        own: Any = module
        # A hook may make the weight anew at each call, as weight norm does, or change what the equations take for
        # granted.
        if own._forward_hooks or own._forward_pre_hooks or any(id(p) in self.tied for p in own.parameters()):
            return False
        return own.padding_mode == "zeros" and not _too_wide(own)

    def _companion(self, call: Call, module: Any) -> None:
        """Re-fit a layer that no edit touched, with a new weight: the stock network may share the old one."""
        aim = self._target(call)
        # A norm behind takes the mean away, and with it whatever the bias is.
        fit_bias = module.bias is not None and not aim.centred
        problem = equations(
            module, call.inputs.new, aim.wanted, mask=aim.mask, centred=aim.centred, fit_bias=fit_bias
        )
        problems, each, width = problem.cross.shape
        # In double precision: the normal equations have the square of the problem's condition number.
        start = module.weight.flatten(1).double()
        if fit_bias:
            start = torch.cat([start, module.bias.double().unsqueeze(1)], 1)
        solved = problem.solve(_RIDGE, start.view(problems, each, width))
        self.found.errors[call.name] = problem.error(solved)
        if aim.centred:
            # A norm behind cancels any scale. Keep the old one, times `scale`: training steps depend on it.
            # The lower bound avoids 0 / 0 for a solution of zeros, as where all inputs are 0.
            solved = solved * (self.scale * start.norm() / solved.norm().clamp_min(1e-30))
        solved = solved.reshape(-1, width)
        self._set(call.name, module, "weight", solved[:, : width - fit_bias].reshape(module.weight.shape))
        if fit_bias:
            self._set(call.name, module, "bias", solved[:, -1])

    def _scaled(self, call: Call, module: Any) -> None:
        """Multiply a layer before all drift, and undo that in the norm behind: the function stays."""
        norm = self._target(call).norm
        if norm is None:
            return
        for leaf in [k for k, p in module._parameters.items() if p is not None]:
            self._set(call.name, module, leaf, module._parameters[leaf] * self.scale)
        behind: Any = self.network.get_submodule(norm)
        behind.running_mean.mul_(self.scale)
        # The norm divides by the deviation, so that it takes the factor out again.
        behind.running_var.mul_(self.scale**2)

    def _set(self, name: str, module: nn.Module, leaf: str, value: Tensor) -> None:
        """Set a parameter, and keep the old one so that `revert` can restore it."""
        old = module._parameters[leaf]
        assert old is not None
        self.found.displaced[f"{name}.{leaf}"] = old.detach().clone()
        module._parameters[leaf] = nn.Parameter(
            laid_like(value.to(old), old), requires_grad=old.requires_grad
        )


class _Seen:
    """The images at one edit, for its operation (`surgeon.methods.base.Observed`)."""

    def __init__(self, visit: LayerByLayer, call: Call, edit: Edit) -> None:
        self.visit, self.call, self.edit = visit, call, edit
        self.inputs, self.stock = call.inputs.new, call.old

    @property
    def module(self) -> nn.Module:
        return self.visit.network.get_submodule("" if self.edit.site == INPUT else self.edit.site)

    @property
    def layer(self) -> nn.Module | None:
        return self.visit.network.get_submodule(self.edit.layer) if self.edit.layer else None

    @property
    def kept(self) -> tuple[nn.Module, ...]:
        there = {p.layer for p in self.visit.network.points if p.layer}
        below = ((f"{self.edit.site}.{name}", child) for name, child in self.module.named_children())
        return tuple(child for name, child in below if name in there and has(self.visit.stock, name))

    @property
    def wanted(self) -> Tensor:
        return self._target.wanted

    @property
    def centred(self) -> bool:
        return self._target.centred

    @cached_property
    def problem(self) -> LeastSquares:
        conv = self.module
        if not isinstance(conv, nn.Conv2d):
            raise Unfitted(f"least squares are for 2-D convolutions, not for a {type(conv).__name__}")
        if _too_wide(conv):
            width = conv.weight[0].numel()
            raise Unfitted(f"{width:,} weights a channel are too many to fit (at most {_MOST_WIDTH:,})")
        aim = self._target
        fit_bias = conv.bias is not None and not aim.centred
        least_squares = equations(conv, self.inputs, aim.wanted, centred=aim.centred, fit_bias=fit_bias)
        return LeastSquares(least_squares, aim.scale.double(), fit_bias)

    @cached_property
    def _target(self) -> Target:
        return self.visit._target(self.call)


def _same_places(call: Call, module: nn.Module) -> bool:
    """Say whether a module's output has the stock one's size, which a new stem changes."""
    return isinstance(call.old, Tensor) and call.old.shape[2:] == module(call.inputs.new[:1]).shape[2:]


def _too_wide(conv: nn.Conv2d) -> bool:
    """Say whether a convolution has too many weights per output channel to be fitted."""
    return conv.weight[0].numel() > _MOST_WIDTH


def _take_statistics(norm: Any, x: Tensor) -> None:
    """Set a norm's running statistics to those of its inputs."""
    axes = [0, *range(2, x.dim())]
    norm.running_mean.copy_(x.mean(axes))
    # Of a single value the unbiased variance is NaN.
    norm.running_var.copy_(x.var(axes, unbiased=x.numel() // x.shape[1] > 1))
