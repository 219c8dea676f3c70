"""Hooks that change what a network computes, which no file of weights holds: known by running it with and without."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from surgeon.graph.measuring.measure import Shape, images_of
from surgeon.graph.trees.left_alone import left_alone
from surgeon.graph.trees.made_weights import makes
from surgeon.kept_modes import mode
from surgeon.models.facts import input_size_of
from surgeon.surgery.door import surgery_of
from surgeon.torch_private import tree_leaves
from surgeon.verification import relative, tolerance_of

_KINDS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


def told_of_hooks(model: nn.Module) -> str:
    """Say what the hooks on a network's modules change, as something that its weights do not hold.

    The network is run on two seeded images in evaluation mode, with its hooks and without them, forward and backward;
    it is left as it was. Hooks that make a module's weights, as torch's pruning, are left in place: the network is
    then not what its name makes, which is told apart. Without hooks nothing is run.

    Args:
        model: the network.

    Returns:
        A sentence; "" where there are no hooks, or the hooks change nothing.

    Examples:
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 3))
        >>> told_of_hooks(network)
        ''
    """
    hooked = list(_hooked(model))
    if not hooked:
        return ""
    whose = f"hooks on {', '.join(hooked[:3])}{', …' if len(hooked) > 3 else ''}"
    record = surgery_of(model)
    size = (record.input_size if record else None) or input_size_of(model)
    if size is None:
        return (
            f"{whose} are not written, and may change its outputs: its input size, to try it at, is not known"
        )
    try:
        with left_alone(model), mode(model, False):
            without = _run(model, size, hooks=False)
            outputs = _run(model, size, hooks=True)
    except Exception as error:  # the network's own code, and the hooks'
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        return f"{whose} are not written, and may change its outputs: on images of {tuple(size)} it fails: {reason}"
    for what, one, other, allowed in zip(
        ("outputs", "gradients"), outputs, without, _allowed(model), strict=True
    ):
        far = _farthest(one, other)
        if far > allowed:
            by = "" if far == math.inf else f" (relative difference {far:.1e})"
            return f"{whose} change its {what}{by}, and are not written: put them on what surgeon.load gives"
    return ""


def _allowed(model: nn.Module) -> tuple[float, float]:
    """Relative differences of outputs and gradients up to which two runs count as one.

    A hook that only looks at a layer may keep it from being computed together with the next, which rounds otherwise;
    a rounded sum may fall on the other side of an activation's kink, which the gradient shows at once.
    """
    outputs = tolerance_of(model)
    return outputs, max(1e-3, 10 * outputs)


def _hooked(model: nn.Module) -> Iterator[str]:
    for name, module in model.named_modules():
        if any(_removable(module, kind) for kind in _KINDS):
            yield name or "the network"


def _removable(module: nn.Module, kind: str) -> dict[Any, Any]:
    """A module's hooks of a kind, without surgeon's own and those that make its weights."""
    hooks = {k: h for k, h in getattr(module, kind).items() if not getattr(h, "of_surgeon", False)}
    if hooks and kind == "_forward_pre_hooks":
        hooks = {k: h for k, h in hooks.items() if not makes(module, h)}
    return hooks


def _run(model: nn.Module, size: Shape, *, hooks: bool) -> tuple[list[Tensor], list[Tensor]]:
    """A network's outputs on two images, and the gradients of their sum with seeded factors by the images."""
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    devices = [like.device.index or 0] if like.device.type == "cuda" else []
    generator = torch.Generator().manual_seed(0)
    images = [
        torch.randn(2, *size, generator=generator).to(like).requires_grad_() for _ in range(images_of(model))
    ]
    with torch.random.fork_rng(devices=devices), torch.enable_grad():
        with contextlib.nullcontext() if hooks else _unhooked(model):
            torch.manual_seed(0)
            given = [t for t in tree_leaves(model(*images)) if isinstance(t, Tensor)]
            total = [_weighted(t) for t in given if t.requires_grad and t.is_floating_point()]
            loss: Any = sum(total)
            back = torch.autograd.grad(loss, images, allow_unused=True) if total else ()
    return [t.detach() for t in given], [
        torch.zeros_like(x) if g is None else g for g, x in _pairs(back, images)
    ]


def _pairs(back: Sequence[Tensor | None] | None, images: list[Tensor]) -> list[tuple[Tensor | None, Tensor]]:
    return list(zip(back or [None] * len(images), images, strict=True))


def _weighted(output: Tensor) -> Tensor:
    factors = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    return (output.float() * factors.to(output.device)).sum()


@contextlib.contextmanager
def _unhooked(model: nn.Module) -> Iterator[None]:
    """The network's modules without their hooks; what was compiled in place may have hooks in it, and is not used."""
    places = [(m.__dict__[kind], _removable(m, kind)) for m in model.modules() for kind in _KINDS]
    before = [(hooks, dict(hooks)) for hooks, gone in places if gone]
    compiled = [m for m in model.modules() if getattr(m, "_compiled_call_impl", None) is not None]
    calls = [m.__dict__.pop("_compiled_call_impl") for m in compiled]
    try:
        for hooks, gone in places:
            for key in gone:
                del hooks[key]
        yield
    finally:
        for hooks, all_of_them in before:
            hooks.clear()
            hooks.update(all_of_them)
        for module, call in zip(compiled, calls, strict=True):
            module.__dict__["_compiled_call_impl"] = call


def _farthest(outputs: list[Tensor], wanted: list[Tensor]) -> float:
    """The largest relative difference of two lists of tensors; infinite where their forms differ."""
    if [t.shape for t in outputs] != [t.shape for t in wanted]:
        return math.inf
    far = 0.0
    for one, other in zip(outputs, wanted, strict=True):
        difference = 0.0 if torch.equal(one, other) else relative(one, other)
        far = max(far, difference if math.isfinite(difference) else math.inf)
    return far
