"""The states of torch that a caller may be in, and what can be asked of one."""

import contextlib

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode


@contextlib.contextmanager
def _set(getter, setter, value):
    before = getter()
    setter(value)
    try:
        yield
    finally:
        setter(before)


class _Heard(TorchFunctionMode):
    """Changes nothing, as a profiler of the caller's."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


class _Halved(TorchDispatchMode):
    """A dispatch mode that would be seen in every product: it halves what addmm and convolution give."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        return found / 2 if function.overloadpacket.__name__ in ("addmm", "convolution") else found


@contextlib.contextmanager
def _hook():
    """A hook on every module, which would be seen in what it gives."""
    handle = torch.nn.modules.module.register_module_forward_hook(
        lambda module, args, output: output * 2 if isinstance(output, torch.Tensor) else None
    )
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def _default_device():
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


SINGLE = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "float64": lambda: _set(torch.get_default_dtype, torch.set_default_dtype, torch.float64),
    "device": lambda: torch.device("meta"),
    "default device": _default_device,
    "deterministic": lambda: _set(
        torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms, True
    ),
    "precision": lambda: _set(
        torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "medium"
    ),
    "anomaly": lambda: torch.autograd.set_detect_anomaly(True),
    "function mode": _Heard,
    "dispatch mode": _Halved,
    "hook": _hook,
}


@contextlib.contextmanager
def _together(*names):
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(SINGLE[name]())
        yield


_CHOSEN = ("precision", "anomaly", "hook")
"""What a training keeps as its caller has it."""
STATES = {
    **SINGLE,
    "all, no_grad": lambda: _together(*(n for n in SINGLE if n != "inference_mode")),
    "all, inference_mode": lambda: _together(*(n for n in SINGLE if n != "no_grad")),
}
FOR_TRAINING = {
    **{k: v for k, v in SINGLE.items() if k not in _CHOSEN},
    "all, no_grad": lambda: _together(*(n for n in SINGLE if n not in ("inference_mode", *_CHOSEN))),
    "all, inference_mode": lambda: _together(*(n for n in SINGLE if n not in ("no_grad", *_CHOSEN))),
}
TOGETHER = ("all, no_grad", "all, inference_mode")


def asked():
    """What torch says of its state, as far as it can be asked."""
    backends = torch.backends
    switches = (
        backends.cuda.matmul,
        backends.cudnn.conv,
        backends.cudnn.rnn,
        backends.mkldnn.matmul,
        backends.mkldnn.conv,
        backends.mkldnn.rnn,
    )
    return {
        "autocast": (
            torch.is_autocast_enabled("cpu"),
            torch.get_autocast_dtype("cpu"),
            torch.is_autocast_cache_enabled(),
        ),
        "grad": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "dtype": torch.get_default_dtype(),
        "device": torch.empty(0).device,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "precision": (torch.get_float32_matmul_precision(), [s.fp32_precision for s in switches]),
        "anomaly": (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        "hooks": list(torch.nn.modules.module._global_forward_hooks),
        "modes": (torch._C._len_torch_function_stack(), torch._C._len_torch_dispatch_stack()),
        "random": torch.random.default_generator.get_state().tolist(),
    }
