"""Running a network on tensors without numbers: shapes, operations and sizes, without computing anything."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from surgeon.edits import Edit
from surgeon.graph.measuring.calls import Given, given_to
from surgeon.graph.measuring.faults import one_line
from surgeon.graph.measuring.in_force import belonging, in_force
from surgeon.graph.measuring.norm_shapes import NormsKeepShapes
from surgeon.graph.measuring.signatures import needed_inputs
from surgeon.graph.places.functional import FunctionWatch
from surgeon.graph.trees.kept import Kept
from surgeon.graph.trees.leaves import is_leaf
from surgeon.graph.trees.streams import draws_again
from surgeon.kept_modes import mode
from surgeon.torch_private import (
    ATTENTION_ON_CPU,
    OF_FAKE_TENSORS,
    FakeTensorMode,
    NormBase,
    reparametrized,
)
from surgeon.values import has_values

Shape = tuple[int, ...]
Pretence = Callable[[nn.Module, Shape], contextlib.AbstractContextManager[torch.Tensor]]


@dataclass
class Measured:
    """What one forward pass on fake tensors showed; shapes without the batch dimension.

    inputs, outputs: of each module that was called, at its first call; each_output: at every call.
    calls: how often each was. folded: those whose
    output has another first dimension than the images. arguments: of each `extra` module, how it was called:
    by name the shapes of tensors, batch included, and the values of what is plain. flops, activations: of the
    whole network, for one image. functional: modules that call a convolution as a function → which, and
    where. read_beside: modules of which a function in other code reads a parameter → why they stay as they are.
    widened: sites whose module gives other channels than the layer of an edit behind it.
    error: why nothing was measured, or ''.
    """

    inputs: dict[str, Shape] = field(default_factory=dict)
    outputs: dict[str, Shape] = field(default_factory=dict)
    each_output: dict[str, list[Shape]] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    folded: set[str] = field(default_factory=set)
    arguments: dict[str, Given] = field(default_factory=dict)
    flops: int = 0
    activations: int = 0
    functional: dict[str, str] = field(default_factory=dict)
    read_beside: dict[str, str] = field(default_factory=dict)
    widened: list[str] = field(default_factory=list)
    error: str = ""


_BY_VALUES = ("DynamicOutputShapeException", "DataDependentOutputException")
"""How torch says that code wants to know values, of tensors without values."""


def _attention(query: Shape, key: Shape, value: Shape, *more: Any, **named: Any) -> int:
    return sdpa_flop_count(query, key, value)


_ATTENTION = {ATTENTION_ON_CPU: _attention}
"""What a CPU calls attention, which torch counts for GPUs alone."""
BATCH = 2  # a batch of one would let code branch on it, and batch norm refuse 1×1 maps


def measure(
    model: nn.Module,
    input_size: Shape,
    *,
    extra: Iterable[str] = (),
    training: bool = False,
    edits: Iterable[Edit] = (),
) -> Measured:
    """Run `model` on a fake batch of `input_size` (C, H, W, or C, T, H, W) and note every leaf and `extra` module.

    Nothing is computed, but for code whose shapes depend on values (`nonzero`, `x[x > 0]`), and nothing changes:
    buffers, modes and random state stay as they are. `training` runs the training branch of the code, with the norms
    still in evaluation mode. `edits`: those of a plain tree's record, whose layers are run where sizes depend on them:
    the outputs of such a site are those of its layer.
    """
    joined = belonging(model, edits)
    for pretended in (on_meta, on_fakes, on_values):
        seen = _measured(model, input_size, set(extra), training, pretended, joined)
        if not seen.error or (pretended is on_fakes and not seen.error.startswith(_BY_VALUES)):
            break
    return seen


def _measured(
    model: nn.Module,
    input_size: Shape,
    wanted: set[str],
    training: bool,
    pretended: Pretence,
    joined: Sequence[Edit] = (),
) -> Measured:
    seen = Measured()
    kept = Kept(model)
    leaves = {id(m) for m in model.modules() if is_leaf(m)}
    hooks = [
        module.register_forward_hook(_note(seen, name, id(module) in leaves), with_kwargs=True)
        for name, module in model.named_modules()
        if name and (id(module) in leaves or name in wanted)
    ]
    state = torch.random.get_rng_state()
    try:
        with mode(model, training):
            for m in model.modules():
                if isinstance(m, NormBase):
                    m.training = False
            with (
                in_force(model, joined),  # behind the hooks above, so that each module is seen by itself
                silent(),
                draws_again(),
                torch.no_grad(),
                pretended(model, input_size) as images,
            ):
                counter = FlopCounterMode(display=False, custom_mapping=_ATTENTION)
                setattr(counter, "mod_tracker", _Whole())
                with counter, NormsKeepShapes(), FunctionWatch(model) as watch:
                    model(*[images] * images_of(model))
            seen.functional, seen.read_beside = watch.found, watch.read
            seen.flops = counter.get_total_flops() // BATCH
    except Exception as error:  # the network's own code, on tensors without numbers
        seen.error = one_line(error)
    finally:
        torch.random.set_rng_state(state)
        for hook in hooks:
            hook.remove()
        kept.restore(whole=True)
    for edit in joined:
        if not edit.before and edit.layer in seen.outputs and edit.site in seen.outputs:
            if seen.outputs[edit.site][:1] != seen.outputs[edit.layer][:1]:
                seen.widened.append(edit.site)
            seen.outputs[edit.site] = seen.outputs[edit.layer]
            seen.each_output[edit.site] = seen.each_output[edit.layer]
    return seen


@contextlib.contextmanager
def on_meta(model: nn.Module, input_size: Shape) -> Iterator[torch.Tensor]:
    """On tensors without memory: the quicker way, but not for code that mixes them with tensors of its own."""
    like = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    tensors = {
        name: torch.empty_like(t, device="meta")
        for name, t in (
            *model.named_parameters(remove_duplicate=False),
            *model.named_buffers(remove_duplicate=False),
        )
    }
    with reparametrized(model, tensors):
        yield torch.empty((BATCH, *input_size), device="meta", dtype=like)


@contextlib.contextmanager
def on_fakes(model: nn.Module, input_size: Shape) -> Iterator[torch.Tensor]:
    """On tensors that also pretend to be on the model's device."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    like = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield torch.empty((BATCH, *input_size), device=device, dtype=like)


@contextlib.contextmanager
def on_values(model: nn.Module, input_size: Shape) -> Iterator[torch.Tensor]:
    """On images drawn from a seed, and on copies of the model's tensors."""
    own = (
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    )
    if not all(has_values(t) for _, t in own):
        raise ValueError("its code asks for values, and its weights have no values")
    like = next((p for _, p in own if p.is_floating_point()), torch.empty(0))
    images = torch.randn((BATCH, *input_size), generator=torch.Generator().manual_seed(0))
    with reparametrized(model, {n: t.detach().clone() for n, t in own}):
        yield images.to(like)


def images_of(model: nn.Module) -> int:
    """How many images a pass takes: as many as there are inputs if their names differ in a number alone, else
    one."""
    names = needed_inputs(model)
    return len(names) if len({re.sub(r"\d+", "", n) for n in names}) == 1 else 1


class _Whole(contextlib.nullcontext):
    """Counts no module by itself. torch's own tracker hooks gradients, and fails where a model calls a module on a view
    of a parameter (CaiT's class token)."""

    parents = frozenset({"Global"})


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Silence torch's log of an operation that does not fit: here it is a finding, reported in one line."""
    log = logging.getLogger(OF_FAKE_TENSORS)
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def _note(seen: Measured, name: str, leaf: bool) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        given = [*args, *kwargs.values()]
        seen.calls[name] = seen.calls.get(name, 0) + 1
        if isinstance(output, torch.Tensor):
            seen.outputs.setdefault(name, tuple(output.shape[1:]))
            seen.each_output.setdefault(name, []).append(tuple(output.shape[1:]))
            if output.shape[:1] != (BATCH,):
                seen.folded.add(name)
            if leaf:
                seen.activations += output.numel() // BATCH
        if given and isinstance(given[0], torch.Tensor):
            seen.inputs.setdefault(name, tuple(given[0].shape[1:]))
        if not leaf and name not in seen.arguments:
            seen.arguments[name] = given_to(module, args, kwargs)

    return hook
