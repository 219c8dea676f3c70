"""The processes that share a job: those that accelerate started, or this one alone."""

from __future__ import annotations

import atexit
import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from surgeon.errors import ArgumentError

if TYPE_CHECKING:
    import torch


def _state() -> Any:
    """accelerate's state if something has initialised it; else None."""
    try:
        from accelerate import PartialState
    except ImportError:
        return None
    # Creating a PartialState initialises it and would wait for other processes: use only an existing one.
    return PartialState() if PartialState._shared_state else None


def rank() -> int:
    """The number of this process, from 0."""
    state = _state()
    return 0 if state is None else int(state.process_index)


def world() -> int:
    """The number of processes."""
    state = _state()
    return 1 if state is None else int(state.num_processes)


def first() -> bool:
    """Whether this process writes what all processes share."""
    return rank() == 0


def everyone() -> None:
    """Wait until all processes have arrived here."""
    if world() > 1:
        _state().wait_for_everyone()


@contextlib.contextmanager
def left_at_exit() -> Iterator[None]:
    """Within, something may join a group of processes: the program's end leaves it then.

    Threads of gloo that still run while the interpreter is taken down may abort the process after all its work. A group
    that was there before is for its maker to leave, and one of another backend is torch's: leaving NCCL's waits for the
    other processes, which may never come after an error.
    """
    import torch

    before = _grouped()
    yield
    if _grouped() and not before and torch.distributed.get_backend() == "gloo":
        atexit.register(_leave)


def _leave() -> None:
    import torch

    if _grouped():
        torch.distributed.destroy_process_group()


def _grouped() -> bool:
    import torch

    return torch.distributed.is_available() and torch.distributed.is_initialized()


def gathered(rows: list[Any]) -> list[Any]:
    """Collect the rows of all processes, in each of them.

    Args:
        rows: this process's rows.
    """
    if world() == 1:
        return rows
    from accelerate.utils import gather_object

    return gather_object(rows)


def device_named(name: str | int | torch.device) -> torch.device:
    """Convert a caller's name of a device. Whether the device exists is not checked.

    Args:
        name: such as "cpu" or "cuda:1".

    Raises:
        ArgumentError: it is not a device's name.

    Examples:
        >>> device_named("cpu")
        device(type='cpu')
    """
    import torch

    try:
        return torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ArgumentError(
            f"device {name!r} cannot be used: it is not a name of one; cpu, cuda and cuda:1 are, for instance"
        ) from error


def usable_device(name: str | int | torch.device, *, values: bool = True) -> torch.device:
    """Convert a caller's name of a device that this machine has to have.

    Args:
        name: such as "cpu" or "cuda:1".
        values: whether tensors there have to have values, which they have not on the device meta.

    Raises:
        ArgumentError: it is not a device's name, or this machine does not have it.

    Examples:
        >>> usable_device("cpu")
        device(type='cpu')
    """
    import torch

    device = device_named(name)
    try:
        one = torch.empty(1, device=device)
        if values:
            one.cpu()
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise ArgumentError(f"device {str(name)!r} cannot be used: {reason}") from error
    return device


def own_device(wanted: str | torch.device | None = None) -> torch.device:
    """The device of this process.

    Args:
        wanted: a device. Without a number, processes on one machine each get their own. None for the best
            one.

    Raises:
        ArgumentError: it is not a device's name, or this machine does not have it.
    """
    import torch

    state = _state()
    best = state.device if state is not None else torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = best if wanted is None else usable_device(wanted)
    # "cuda" without a number would be the first GPU in every process.
    return best if device.type == best.type and device.index is None else device
