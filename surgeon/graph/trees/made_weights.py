"""Weights that are made anew at each call: by a parametrization, or by a forward pre-hook that writes them.

torch's pruning and its old weight and spectral norms are such hooks. They are known by what they do: the
tensor is no parameter any more though its class has it as one, or calling the hook changes it.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

_TENSORS = ("weight", "bias")
_SCATTER = 0.1
"""Size of the numbers that a hook is tried on: about that of trained weights, so that a threshold cuts some of them."""


def maker(module: nn.Module) -> str:
    """What computes the module's weight or bias at each call, in words and with the remedy; '' if both are
    parameters."""
    if parametrize.is_parametrized(module):
        every = ", ".join(module.parametrizations)  # type: ignore[arg-type]  # a ModuleDict
        return (
            f"its {every} is parametrised; torch.nn.utils.parametrize.remove_parametrizations makes it plain"
        )
    hooks = [h for h in module._forward_pre_hooks.values() if not _ours(h)]
    if not hooks or not any(isinstance(getattr(module, n, None), Tensor) for n in _TENSORS):
        return ""
    made = [n for n in _TENSORS if n not in module._parameters and isinstance(module.__dict__.get(n), Tensor)]
    names = made or list(dict.fromkeys(n for h in hooks for n in _written(module, h)))
    if not names:
        return ""
    return (
        f"its {' and '.join(names)} is made by a forward pre-hook "
        f"({type(hooks[0]).__name__}); what put the hook there makes it "
        f"plain again, as torch.nn.utils.prune.remove, remove_weight_norm or remove_spectral_norm"
    )


def makes(module: nn.Module, hook: object) -> bool:
    """Whether a forward pre-hook computes tensors of the module that are no longer its parameters."""
    made = {n for n in _TENSORS if n not in module._parameters and isinstance(module.__dict__.get(n), Tensor)}
    return bool(made and made & set(_written(module, hook)))


def writes(module: nn.Module, hook: object) -> bool:
    """Whether a forward pre-hook makes or changes the module's weights at each call, as `settled` takes them."""
    return bool(_written(module, hook))


def settled(module: nn.Module) -> nn.Module:
    """The module with the weights that it would use now as its own parameters, and without what makes them.

    A new module, which shares nothing that is written here; `module` itself where nothing makes its weights.
    """
    if not maker(module):
        return module
    alone = _alone(module)
    trained = any(p.requires_grad for p in module.parameters())
    for inner in alone.modules():
        inner.training = False  # a spectral norm would go on with its iteration
    if parametrize.is_parametrized(
        alone
    ):  # torch's own way to take them off changes the class, which copies share
        values = {n: getattr(alone, n).detach() for n in alone.parametrizations}  # type: ignore[union-attr]
        alone.__class__ = type(alone).__bases__[0]
        del alone._modules["parametrizations"]
        for name, value in values.items():
            alone.register_parameter(name, nn.Parameter(value, requires_grad=trained))
    for key, hook in list(alone._forward_pre_hooks.items()):
        if not _ours(hook) and _written(alone, hook):
            with torch.no_grad():
                _call(alone, hook)
            del alone._forward_pre_hooks[key]
            alone._forward_pre_hooks_with_kwargs.pop(key, None)
    own = {n: getattr(alone, n, None) for n in _TENSORS}
    for name, tensor in own.items():
        if isinstance(tensor, Tensor):
            alone.__dict__.pop(name, None)
            alone._parameters.pop(name, None)
            for beside in [n for n in (*alone._parameters, *alone._buffers) if n.startswith(f"{name}_")]:
                alone._parameters.pop(beside, None)
                alone._buffers.pop(beside, None)
            alone.register_parameter(name, nn.Parameter(tensor.detach().clone(), requires_grad=trained))
    alone.training = module.training
    return alone


def _ours(hook: object) -> bool:
    return bool(getattr(hook, "of_surgeon", False))


def _written(module: nn.Module, hook: object) -> list[str]:
    """Which of the module's tensors a call of its own pre-hook writes, tried on a copy with other numbers in them.

    With its own numbers a mask that has been laid on already would change nothing.
    """
    if any(t.is_meta for t in module.parameters()):
        return []
    alone = _alone(module)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in _held(alone).values():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * _SCATTER)
        before = {n: (t, t.detach().clone()) for n, t in _held(alone).items()}
        _call(alone, hook)
    now = _held(alone)
    return [n for n, (same, t) in before.items() if now.get(n) is not same or _differs(now[n], t)]


def _held(module: nn.Module) -> dict[str, Tensor]:
    tensors = {n: getattr(module, n, None) for n in _TENSORS}
    return {n: t for n, t in tensors.items() if isinstance(t, Tensor)}


def _call(module: nn.Module, hook: object) -> None:
    with torch.random.fork_rng(devices=[]):
        try:
            hook(module, ())  # type: ignore[operator]  # a hook; those that make weights read no input
        except Exception:  # a hook of somebody else's
            return  # it reads its inputs, and makes no weights of them


def _differs(now: object, before: Tensor | None) -> bool:
    if not isinstance(now, Tensor) or before is None:
        return (now is None) != (before is None)
    return now.shape != before.shape or not torch.equal(now.detach(), before)


def _alone(module: nn.Module) -> nn.Module:
    """A copy with tensors of its own, without a history."""
    memo: dict[int, object] = {}
    for inner in module.modules():
        memo |= {
            id(v): v.detach().clone()
            for v in inner.__dict__.values()
            if isinstance(v, Tensor) and v.grad_fn is not None
        }
    return copy.deepcopy(module, memo)
