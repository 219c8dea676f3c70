"""Refuse networks that surgery would get wrong, before anything else is done, and say what works instead."""

from __future__ import annotations

import types
from typing import Any

from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

from surgeon.errors import SurgeryError
from surgeon.graph.trees.apart import demand_copies
from surgeon.wrappers import in_python, is_scripted, place_inside

_QUANTIZED = ("torch.ao.nn.quantized", "torch.nn.quantized", "torch.ao.nn.intrinsic.quantized")


def refuse_unfit(model: object) -> None:
    """Check that a network is in a state that can be copied, traced and restored.

    Args:
        model: The network.

    Raises:
        SurgeryError: It is not a module; it is wrapped (DDP, compiled), scripted or quantised; it has lazy
            modules without shapes or weights under the old weight_norm and spectral_norm; an object's
            `forward` was replaced; or a module's copy is not apart from it (`apart.py`).
    """
    if not isinstance(model, nn.Module):
        raise SurgeryError(f"surgery is for a torch.nn.Module, not for a {type(model).__name__}")
    for name, module in model.named_modules():
        problem = _problem(module, name)
        if problem:
            raise SurgeryError(f"{name or 'the model'}: {problem}")
    demand_copies(model)


def _problem(module: nn.Module, name: str) -> str:
    """Return why the module of a name is refused, or ""."""
    kind = type(module)
    if inner := place_inside(module):
        again = "compile" if kind.__name__ == "OptimizedModule" else "wrap"
        place = in_python(name)
        if name:
            return (
                f"it is wrapped in {kind.__name__}; put back what is inside, {place} = {place}.{inner}, cut the "
                f"network, and {again} that part again"
            )
        return (
            f"it is wrapped in {kind.__name__}; cut the network inside, surgeon.apply({place}.{inner}, …), and {again} "
            f"the result again"
        )
    if is_scripted(module):
        return "it is compiled by TorchScript, whose code torch.fx cannot follow; cut the network it was made from"
    if any(hasattr(p, "device_mesh") for p in module._parameters.values()):
        return "its weights are spread over devices (DTensor); cut the network first, then shard the result"
    if isinstance(module, LazyModuleMixin) and module.has_uninitialized_params():
        return f"{kind.__name__} has no shape yet; run the network once on an image, then cut it"
    if kind.__module__.startswith(_QUANTIZED) and kind.__name__ != "FloatFunctional":
        return f"{kind.__name__} is quantised, with packed weights; cut the network first, then quantise it"
    legacy = next((type(h).__name__ for h in module._forward_pre_hooks.values() if _is_legacy(h)), None)
    if legacy:
        undo = "remove_weight_norm" if legacy == "WeightNorm" else "remove_spectral_norm"
        return (
            f"its weight is made anew before each call by torch.nn.utils' old hook {legacy}; take it off "
            f"({undo}), or use torch.nn.utils.parametrizations"
        )
    if "forward" in module.__dict__ and (not name or not _is_own_method(module)):
        return (
            f"forward was exchanged on this object, so that the code of {kind.__name__} is not what runs; write a "
            f"subclass, or put the old forward back (del module.forward; accelerate's hooks come off by "
            f"remove_hook_from_module(model, recurse=True))"
        )
    return ""


def _is_legacy(hook: Any) -> bool:
    """Say whether a hook is of the old weight_norm or spectral_norm."""
    return type(hook).__module__ in ("torch.nn.utils.weight_norm", "torch.nn.utils.spectral_norm")


def _is_own_method(module: nn.Module) -> bool:
    """Say whether an object's `forward` is another method of its class, as in timm's FasterNet."""
    forward = module.__dict__["forward"]
    return (
        isinstance(forward, types.MethodType)
        and forward.__self__ is module
        and getattr(type(module), forward.__func__.__name__, None) is forward.__func__
    )
