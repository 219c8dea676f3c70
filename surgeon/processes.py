"""The processes that share a work: those that accelerate has started, or this one alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from surgeon.errors import ArgumentError

if TYPE_CHECKING:
    import torch


def _state() -> Any:
    """accelerate's state, if something has set it up; else None."""
    try:
        from accelerate import PartialState
    except ImportError:
        return None
    return PartialState() if PartialState._shared_state else None


def rank() -> int:
    """The number of this process."""
    state = _state()
    return 0 if state is None else int(state.process_index)


def world() -> int:
    """How many there are."""
    state = _state()
    return 1 if state is None else int(state.num_processes)


def first() -> bool:
    """Whether this is the one that writes what all share."""
    return rank() == 0


def everyone() -> None:
    """Wait until all are here."""
    if world() > 1:
        _state().wait_for_everyone()


def gathered(rows: list[Any]) -> list[Any]:
    """The rows of all processes, in every one of them."""
    if world() == 1:
        return rows
    from accelerate.utils import gather_object

    return gather_object(rows)


def device_named(name: str | int | torch.device) -> torch.device:
    """The device that a caller names; whether it is there is not asked. Raises ArgumentError for what is no name of one."""
    import torch

    try:
        return torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ArgumentError(
            f"device {name!r} cannot be used: it is no name of one; cpu, cuda and cuda:1 are, for instance"
        ) from error


def own_device(wanted: str | torch.device | None = None) -> torch.device:
    """The device of this process: `wanted`, its number where processes share a machine, or the best there is if None."""
    import torch

    state = _state()
    best = state.device if state is not None else torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = best if wanted is None else device_named(wanted)
    return best if found.type == best.type and found.index is None else found
