"""The processes that share a job: those that accelerate started, or this one alone."""

from __future__ import annotations

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


def own_device(wanted: str | torch.device | None = None) -> torch.device:
    """The device of this process.

    Args:
        wanted: a device. Without a number, processes on one machine each get their own. None for the best
            one.

    Raises:
        ArgumentError: it is not a device's name.
    """
    import torch

    state = _state()
    best = state.device if state is not None else torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = best if wanted is None else device_named(wanted)
    # "cuda" without a number would be the first GPU in every process.
    return best if device.type == best.type and device.index is None else device
