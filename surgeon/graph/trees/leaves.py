"""Which modules the tracer keeps whole.

A leaf is a module whose inside no edit needs: torch.nn modules, every convolution, norm and activation of
any library, and every module without children. The rest is traced through.
"""

from __future__ import annotations

import re

from torch import nn

from surgeon.graph.trees.made_weights import maker
from surgeon.torch_private import (
    AdaptiveAvgPoolNd,
    AdaptiveMaxPoolNd,
    AvgPoolNd,
    ConvNd,
    MaxPoolNd,
    NormBase,
)

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
POOLS = (AvgPoolNd, MaxPoolNd, AdaptiveAvgPoolNd, AdaptiveMaxPoolNd)
_NORM_NAME = re.compile(
    r"(Norm|NormAct)(1|1d|2d|3d)?(Act)?(2d)?(Fp32)?$|^(EvoNorm|FilterResponseNorm|InplaceAbn)"
)
_ACTIVATION_MODULES = (
    "torch.nn.modules.activation",
    "timm.layers.activations",
    "timm.layers.activations_me",
    "transformers.activations",
)
_NO_ACTIVATIONS = ("MultiheadAttention", "LinearActivation")
"""Classes of these files that are something else: attention, and transformers' name for the identity."""


def is_convolution(module: nn.Module) -> bool:
    """Any subclass of torch's convolutions: weight-standardised and same-padded ones too."""
    return isinstance(module, ConvNd)


def is_norm(module: nn.Module) -> bool:
    """Any normalisation layer, with or without an activation fused into it."""
    if isinstance(module, (NormBase, nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm)):
        return True
    return bool(_NORM_NAME.search(type(module).__name__)) and not any(
        is_convolution(m) or isinstance(m, nn.Linear) for m in module.modules()
    )


def is_activation(module: nn.Module) -> bool:
    """Any activation module of torch, timm or transformers."""
    kind = type(module)
    return kind.__module__ in _ACTIVATION_MODULES and kind.__name__ not in _NO_ACTIVATIONS


def is_pool(module: nn.Module) -> bool:
    """Any spatial pooling module of torch, or one of timm's by its name."""
    return isinstance(module, POOLS) or bool(
        re.search(r"(Max|Avg)Pool(1|2|3)d(Same)?$|^BlurPool2d$", type(module).__name__)
    )


def is_leaf(module: nn.Module) -> bool:
    """Whether the tracer keeps the module whole; a class says so of itself by `traced_whole`."""
    if getattr(module, "traced_whole", False):
        return True
    if is_convolution(module) or is_norm(module) or is_activation(module):
        return True
    if not module._modules:
        return not isinstance(module, CONTAINERS)
    module_name = type(module).__module__
    return module_name.startswith(("torch.nn.", "torch.ao.")) and not isinstance(module, CONTAINERS)


_KNOWN = ("torch.nn.modules.", "timm.", "torchvision.", "surgeon.")


def altered(module: nn.Module) -> str:
    """Why a convolution or norm may compute something else than torch's class does; '' if it computes the same.

    torch's own classes are known, and timm's and torchvision's. Another class with a forward of its own is not, nor is
    a module whose weight is parametrised or made by a hook: what folds or fits by their weights alone would be wrong.
    """
    made = maker(module)
    if made:
        return made
    for method in exchanged_methods(module):
        return f"its {method} was exchanged on the object"
    for method in _WEIGHTED:
        owner = next((c for c in type(module).__mro__ if method in vars(c)), nn.Module)
        if not owner.__module__.startswith(_KNOWN):
            return f"{owner.__name__} has a {method} of its own, which may do anything with its weights"
    return ""


_WEIGHTED = ("__call__", "forward", "_conv_forward")
"""Methods that a module's weights go through."""


def exchanged_methods(module: nn.Module) -> tuple[str, ...]:
    """The methods that a module's weights go through and that were replaced on the object itself."""
    own = {n: module.__dict__[n] for n in _WEIGHTED if n in module.__dict__}
    return tuple(n for n, f in own.items() if getattr(f, "__func__", f) is not getattr(type(module), n, None))


def is_hooked(module: nn.Module) -> bool:
    """Whether hooks of the user's hang on the module, which must be called once whenever it is called."""
    hooks = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    return any(not getattr(h, "of_surgeon", False) for registered in hooks for h in registered.values())


def runs_children(module: nn.Module) -> bool:
    """Whether a module's forward goes through its children, whatever they are, instead of calling each by its name."""
    if isinstance(module, CONTAINERS):
        return True
    code = getattr(type(module).forward, "__code__", None)
    return code is not None and bool(_GOES_THROUGH & {*code.co_names})


_GOES_THROUGH = {"children", "named_children", "_modules"}


def is_weighted(module: nn.Module) -> bool:
    """Whether the module is a convolution or a linear layer."""
    return is_convolution(module) or isinstance(module, nn.Linear)
