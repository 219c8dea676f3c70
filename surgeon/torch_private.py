"""Every name of torch's that is private, in one place: what it is for, and what happens where a torch has it no more.

Tried on torch 2.9.1 and 2.14.1. The base classes fall back to what torch documents. Without one of the others
the import of this file fails, and its error names what is gone, before any network has been touched.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import torch
from torch import nn

# Whether a tensor stands for many, under vmap or another transform of torch.func: a cache must not keep such a one.
from torch._C._functorch import TransformType, is_functorch_wrapped_tensor, is_legacy_batchedtensor

# Graphs are made outside of transforms of torch.func, such as grad and vmap.
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack as without_transforms

# Tensors without values, for shapes and FLOPs without computing.
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

# Hooks on all modules, which a joined call must not pass by.
from torch.nn.modules import module as module_hooks
from torch.nn.modules.module import _EXTRA_STATE_KEY_SUFFIX as EXTRA_STATE_KEY

# Spectral norm writes its vectors while the network runs in training: the first round of ANL puts them back.
from torch.nn.utils.parametrizations import _SpectralNorm as SpectralNorm

# Parameters exchanged for the time of a call, by name.
from torch.nn.utils.stateless import _reparametrize_module as reparametrized

# Dispatch modes of the caller's, which surgeon's own work must not run under.
from torch.utils._python_dispatch import TorchDispatchMode, is_traceable_wrapper_subclass
from torch.utils._python_dispatch import _disable_current_modes as without_modes
from torch.utils._python_dispatch import _get_current_dispatch_mode as current_dispatch_mode

# Outputs of any shape as a list of their tensors, and where in them each is.
from torch.utils._pytree import tree_flatten_with_path, tree_leaves

# "Any convolution", "any batch norm", "any norm with statistics", "any dropout", "any pooling". Without the
# names: the classes' own bases.
try:
    from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm
    from torch.nn.modules.batchnorm import _NormBase as NormBase
    from torch.nn.modules.conv import _ConvNd as ConvNd
    from torch.nn.modules.conv import _ConvTransposeNd as ConvTransposeNd
    from torch.nn.modules.dropout import _DropoutNd as DropoutNd
    from torch.nn.modules.instancenorm import _InstanceNorm as InstanceNorm
    from torch.nn.modules.pooling import _AdaptiveAvgPoolNd as AdaptiveAvgPoolNd
    from torch.nn.modules.pooling import _AdaptiveMaxPoolNd as AdaptiveMaxPoolNd
    from torch.nn.modules.pooling import _AvgPoolNd as AvgPoolNd
    from torch.nn.modules.pooling import _MaxPoolNd as MaxPoolNd
except ImportError:  # pragma: no cover
    BatchNorm, NormBase = nn.BatchNorm2d.__mro__[1:3]  # type: ignore[assignment, misc]
    ConvNd, ConvTransposeNd = nn.Conv2d.__mro__[1], nn.ConvTranspose2d.__mro__[1]  # type: ignore[assignment, misc]
    AdaptiveAvgPoolNd = nn.AdaptiveAvgPool2d.__mro__[1]  # type: ignore[assignment, misc]
    AdaptiveMaxPoolNd = nn.AdaptiveMaxPool2d.__mro__[1]  # type: ignore[assignment, misc]
    AvgPoolNd, MaxPoolNd = nn.AvgPool2d.__mro__[1], nn.MaxPool2d.__mro__[1]  # type: ignore[assignment, misc]
    DropoutNd, InstanceNorm = nn.Dropout.__mro__[1], nn.InstanceNorm2d.__mro__[1]  # type: ignore[assignment, misc]


HOOKS_ON_ALL: tuple[dict[int, Any], ...] = tuple(
    getattr(module_hooks, f"_global_{kind}_hooks", {})
    for kind in ("forward_pre", "forward", "backward_pre", "backward")
)
"""Hooks on the calls of all modules and their gradients, which torch adds and takes off in place. Without the names no
warning tells what such hooks miss in a rewritten network."""


ATTENTION_ON_CPU = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
"""The attention that torch runs on a CPU, whose FLOPs torch's own counter leaves out."""
NUMBER_READ = torch.ops.aten._local_scalar_dense.default
"""What `tensor.item()` calls."""
OF_FAKE_TENSORS = "torch._subclasses.fake_tensor"
"""The log in which torch tells of fake tensors. Under another name it would be told on the terminal."""
CHECK_WITH = "_check_with"
"""What `torch._check` and its kin call with the class of their error. Without it modules that check sizes so are not
gone into, but called whole."""
CHECKS = {
    RuntimeError: "_check",
    IndexError: "_check_index",
    ValueError: "_check_value",
    TypeError: "_check_type",
    NotImplementedError: "_check_not_implemented",
}
"""Their names by that class. Without one of them the call of a graph that has it fails."""
EXPORTER = "torch.export._trace"
"""The module from which torch.export runs a graph. Under another name it runs a rewritten network node by node."""

P = ParamSpec("P")
R = TypeVar("R")


def recorded_by_export() -> bool:
    """Whether code is recorded by torch.export. torch 2.11's own `is_exporting` is true inside torch.compile as well;
    its flag is not."""
    return bool(torch.compiler._is_exporting_flag)


def copy_all(into: list[torch.Tensor], values: list[torch.Tensor]) -> None:
    """Copy tensors into others of the same kinds and shapes, by one call of a GPU's kernel for many."""
    torch._foreach_copy_(into, values)


def compiler_is_loaded() -> bool:
    """Whether torch.compile was used: setting its stance would load it, which takes seconds."""
    return "torch._dynamo" in sys.modules


def uncompiled() -> contextlib.AbstractContextManager[Any]:
    """In this block what torch.compile was put on runs as it was written, where it else refuses to be traced."""
    dynamo = sys.modules.get("torch._dynamo")
    return contextlib.nullcontext() if dynamo is None else dynamo.config.patch(error_on_nested_fx_trace=False)


@contextlib.contextmanager
def without_tracing() -> Iterator[None]:
    """In this block torch.jit.trace records nothing, where one is under way."""
    inner: Any = torch._C  # whose stubs lack the second of these
    state = inner._get_tracing_state()
    inner._set_tracing_state(None)
    try:
        yield
    finally:
        inner._set_tracing_state(state)


def never_compiled(reason: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark a function that torch.compile does not look into, nor into what it calls.

    `torch.compiler.disable` does so too, and loads the compiler, which takes seconds: here that happens in a call, and
    only where the compiler is loaded.

    Args:
        reason: What torch shows where a whole graph was asked for.
    """

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            if not compiler_is_loaded():
                return function(*args, **kwargs)
            return torch.compiler.disable(function)(*args, **kwargs)

        marked: Any = called
        marked._torchdynamo_disable, marked._torchdynamo_disable_msg = True, reason
        return called

    return decorated


def private_backend_name() -> str:
    """What the kind of device is called that another package has registered; `privateuseone` where no package has."""
    return str(torch._C._get_privateuse1_backend_name())


def transforms_are_active() -> bool:
    """Whether a transform of torch.func, such as vmap or grad, is under way."""
    return bool(torch._C._are_functorch_transforms_active())


def is_functionalised() -> bool:
    """Whether a call goes through torch.func.functionalize, alone or with other transforms: it has no rule for an
    autograd.Function."""
    if not torch._C._are_functorch_transforms_active():
        return False
    stack = torch._C._functorch.get_interpreter_stack() or ()
    return any(level.key() == TransformType.Functionalize for level in stack)


def dispatch_modes() -> int:
    """How many dispatch modes are on, such as that of fake tensors."""
    return int(torch._C._len_torch_dispatch_stack())


__all__ = [
    "CHECKS",
    "CHECK_WITH",
    "ATTENTION_ON_CPU",
    "AdaptiveAvgPoolNd",
    "AdaptiveMaxPoolNd",
    "AvgPoolNd",
    "BatchNorm",
    "ConvNd",
    "ConvTransposeNd",
    "DropoutNd",
    "EXPORTER",
    "EXTRA_STATE_KEY",
    "FakeTensor",
    "FakeTensorMode",
    "HOOKS_ON_ALL",
    "InstanceNorm",
    "MaxPoolNd",
    "NUMBER_READ",
    "NormBase",
    "OF_FAKE_TENSORS",
    "SpectralNorm",
    "TorchDispatchMode",
    "compiler_is_loaded",
    "copy_all",
    "current_dispatch_mode",
    "dispatch_modes",
    "is_functionalised",
    "is_functorch_wrapped_tensor",
    "is_legacy_batchedtensor",
    "is_traceable_wrapper_subclass",
    "never_compiled",
    "private_backend_name",
    "recorded_by_export",
    "reparametrized",
    "transforms_are_active",
    "tree_flatten_with_path",
    "tree_leaves",
    "without_modes",
    "without_tracing",
    "without_transforms",
]
