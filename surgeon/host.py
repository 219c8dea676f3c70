"""torch's global state: the caller's, and the one in which surgeon computes.

Autocast, grad mode, inference mode, default dtype and device, reduced precision of matrix products, anomaly
mode and dispatch modes belong to the caller's code; surgeon's measurements must not depend on them. Every
public function that measures, fits, attacks, folds, saves, loads or exports enters `own_state`. The forward
pass of a rewritten network is the caller's and keeps the caller's state.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from surgeon.errors import ModelError
from surgeon.torch_private import HOOKS_ON_ALL, current_dispatch_mode, private_backend_name, without_modes
from surgeon.tree import demand_modules
from surgeon.warned import warn

P = ParamSpec("P")
R = TypeVar("R")

_CPU = torch.device("cpu")
_DEVICES = ("cpu", "cuda", "xpu", "mps")
_REDUCED = ("tf32", "bf16")
_RUNNING: dict[int, str] = {}
"""The public function that each thread of the process is in."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_RUNNING.clear)


@contextlib.contextmanager
def own_state(*, training: bool = False) -> Iterator[None]:
    """Set torch's global state to the one in which surgeon computes.

    The caller's state returns at exit, also after an error.

    autocast        off, on every device
    gradients       recorded; inference mode off
    new tensors     float32 on the CPU by default: networks keep their own dtype and device
    products        of float32 in full precision: no TF32, no bfloat16
    anomaly mode    off: surgeon's own checks report gradients that are not finite
    modes, hooks    dispatch modes off, fake tensors among them, and hooks on all modules of the process
    random streams  restored at exit: what is drawn inside has its own seed

    Deterministic algorithms and the number of threads always stay the caller's. If the state is already this
    one, entering costs less than 0.1 ms.

    Args:
        training: Keep the caller's precision of products, anomaly mode and hooks: the speed of a training,
            and how it is watched, are the caller's choice.

    Yields:
        None.

    Examples:
        >>> import torch
        >>> from surgeon.host import own_state
        >>> with torch.no_grad(), own_state():
        ...     torch.is_grad_enabled()
        True
    """
    with contextlib.ExitStack() as stack:
        stack.callback(torch.random.default_generator.set_state, torch.random.default_generator.get_state())
        if torch.cuda.is_initialized():
            stack.callback(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all())
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        if not torch.is_grad_enabled():
            stack.enter_context(torch.enable_grad())
        if current_dispatch_mode() is not None:
            stack.enter_context(without_modes())
        if torch.get_default_dtype() != torch.float32:
            stack.callback(torch.set_default_dtype, torch.get_default_dtype())
            torch.set_default_dtype(torch.float32)
        if torch.empty(0).device != _CPU:
            stack.enter_context(_CPU)
        for device in _on_autocast():
            stack.enter_context(torch.autocast(device, enabled=False))
        if _in_autocast() and torch.is_autocast_cache_enabled():
            # autocast caches casts of weights until the outermost context ends. A cached cast would outlive
            # an optimizer step in here, and later forward passes would use the old weights.
            stack.callback(torch.set_autocast_cache_enabled, True)
            torch.set_autocast_cache_enabled(False)
        if not training:
            stack.enter_context(full_precision())
            for hooks in (h for h in HOOKS_ON_ALL if h):
                stack.callback(hooks.update, dict(hooks))
                hooks.clear()
            if torch.is_anomaly_enabled():
                stack.callback(torch.set_anomaly_enabled, True, torch.is_anomaly_check_nan_enabled())
                torch.set_anomaly_enabled(False)
        yield


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Compute float32 products in float32: TF32 and bfloat16 off on every kind of device.

    torch has two sets of switches for this, and refuses to read the older ones if both disagree. So each
    setting is restored by the set of switches that it was made with.

    Yields:
        None.
    """
    backends: Any = torch.backends
    with contextlib.ExitStack() as stack:
        for switch in _switches():
            stack.callback(setattr, switch, "fp32_precision", switch.fp32_precision)
        product = torch.get_float32_matmul_precision()
        if product != "highest":
            stack.callback(torch.set_float32_matmul_precision, product)
            torch.set_float32_matmul_precision("highest")
        if _allows_tf32():
            stack.callback(setattr, backends.cudnn, "allow_tf32", True)
            backends.cudnn.allow_tf32 = False
        for switch in _switches():
            if switch.fp32_precision in _REDUCED:
                switch.fp32_precision = "ieee"
        yield


def _allows_tf32() -> bool:
    """Whether cuDNN's older switch allows TF32; False if torch refuses to read it beside newer ones."""
    try:
        return bool(torch.backends.cudnn.allow_tf32)
    except RuntimeError:
        return False


def in_own_state(*, training: bool = False) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function to run in `own_state`.

    Not for generators, whose body runs later, in the state of the code that iterates over them.

    A warning says so where another thread is in such a function: the state and torch's random stream are the
    process's.

    Tensors and networks among the arguments that were made in inference mode cannot take part in gradients;
    they are replaced by copies. For a function that changes its network (training) this is an error.

    Args:
        training: As for `own_state`.

    Returns:
        The decorator.

    Raises:
        ModelError: When the function is called: a network to train was made in inference mode, or a function stands
            among a network's modules.

    Examples:
        >>> import torch
        >>> from surgeon.host import in_own_state
        >>> @in_own_state()
        ... def gradients_recorded():
        ...     return torch.is_grad_enabled()
        >>> with torch.no_grad():
        ...     gradients_recorded()
        True
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def inside(*args: P.args, **kwargs: P.kwargs) -> R:
            with _noted(function.__name__), own_state(training=training):
                usable_args = [_usable(a, not training) for a in args]
                named = {k: _usable(v, not training) for k, v in kwargs.items()}
                return function(*usable_args, **named)

        return inside

    return decorate


@contextlib.contextmanager
def _noted(name: str) -> Iterator[None]:
    """Note that this thread is in a function, and warn if another thread is in one."""
    thread = threading.get_ident()
    if thread in _RUNNING:
        yield
        return
    if other := next(iter(list(_RUNNING.values())), ""):
        warn(
            f"another thread of this process is in surgeon's {other} while this one enters {name}: torch has one "
            "random stream a process, so that what either draws depends on how they take turns; run one after the "
            "other, or each in a process of its own"
        )
    _RUNNING[thread] = name
    try:
        yield
    finally:
        _RUNNING.pop(thread, None)


def _switches() -> tuple[Any, ...]:
    backends: Any = torch.backends
    return (
        backends.cuda.matmul,
        backends.cudnn.conv,
        backends.cudnn.rnn,
        backends.mkldnn.matmul,
        backends.mkldnn.conv,
        backends.mkldnn.rnn,
    )


def _on_autocast() -> list[str]:
    """The device types for which autocast is on."""
    own = private_backend_name()
    return [
        d for d in (*_DEVICES, own) if torch.amp.is_autocast_available(d) and torch.is_autocast_enabled(d)
    ]


def _in_autocast() -> bool:
    """Whether the caller is inside an autocast context, even a disabled one."""
    torch.autocast_increment_nesting()
    return torch.autocast_decrement_nesting() > 0


def _usable(value: Any, copied: bool) -> Any:
    """The value, or a copy of it if it was made in inference mode."""
    if isinstance(value, Tensor):
        return value.clone() if _is_inference(value) else value
    if isinstance(value, nn.Module):
        demand_modules(value)
        if not any(_is_inference(t) for t in (*value.parameters(), *value.buffers())):
            return value
        if copied:
            return copy.deepcopy(value)
        raise ModelError(
            f"this {type(value).__name__} was made in torch.inference_mode, so that its "
            "tensors cannot be changed; give "
            f"copy.deepcopy(model), copied outside of it"
        )
    if type(value) in (list, tuple):
        return type(value)(_usable(v, copied) for v in value)
    if isinstance(value, Mapping) and any(isinstance(v, (Tensor, nn.Module)) for v in value.values()):
        return {k: _usable(v, copied) for k, v in value.items()}
    return value


def _is_inference(tensor: Tensor) -> bool:
    return not is_lazy(tensor) and tensor.is_inference()
