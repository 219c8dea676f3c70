"""The checkpoint of a training, from which it continues at any step as if it had never been interrupted."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from surgeon.disk.sums import altered, with_sums
from surgeon.disk.writing import patient, written
from surgeon.errors import ArtifactError, ArtifactWarning, SurgeonError
from surgeon.extra_state import demand_plain
from surgeon.training.identity import hash_of, other
from surgeon.training.two_rounds import noise_by_name
from surgeon.warned import warn

CHECKPOINT = "checkpoint.pt"


_LEFT: weakref.WeakKeyDictionary[nn.Module, tuple[Path, str]] = weakref.WeakKeyDictionary()
"""The folder of a network's training that was broken off in this process, and the hash of its weights then."""


@dataclass
class Progress:
    """The position of a training: `step` steps into `epoch`.

    rows: Of the finished epochs. total: Loss summed over the `seen` images of this epoch so far. seconds:
    Time spent on them. best: The best validation figure so far and its epoch. began: Hash of the weights that the
    training began with; "" where that is not known.
    """

    epoch: int = 0
    step: int = 0
    rows: list = field(default_factory=list)
    total: float = 0.0
    seen: int = 0
    seconds: float = 0.0
    best: tuple[float, int] | None = None
    began: str = ""


@dataclass(frozen=True)
class Run:
    """The parts of a training that change, and `identity`: plain values that distinguish it from others."""

    model: nn.Module
    network: nn.Module
    optimizer: Any
    accelerator: Any
    average: Any
    identity: dict[str, Any]


def store(folder: Path, run: Run, progress: Progress, best: dict[str, Tensor] | None) -> None:
    """Write the checkpoint; all processes must call it, the first one writes.

    It is written to a temporary file and renamed, so that a crash leaves the old one. It contains only
    tensors and plain values, readable by torch.load with weights_only: weights, optimizer, loss scaler,
    moving average, best weights, each process's memory of the noise layers, and the progress. Random streams
    and learning rates are functions of the progress and need no state.

    Args:
        folder: The training's folder.
        run: The training.
        progress: Its position.
        best: The best weights so far; None before the first.
    """
    weights, optimizer = _states(run)
    # Collective calls come before the other processes leave: the first one would wait for them without end.
    noise = _gathered(run, {n: m.get_memory() for n, m in noise_by_name(run.model).items()})
    if not run.accelerator.is_main_process:
        return
    demand_plain(weights, str(folder / CHECKPOINT))
    scaler = run.accelerator.scaler
    state = {
        "model": weights,
        "optimizer": optimizer,
        "scaler": scaler.state_dict() if scaler is not None else {},
        "average": run.average.module.state_dict() if run.average is not None else {},
        "best_weights": best or {},
        "noise": noise,
        "progress": {**vars(progress), "rows": [list(r) for r in progress.rows]},
        "identity": run.identity,
    }
    with written(folder / CHECKPOINT) as beside, patient(beside) as file, with_sums():
        torch.save(state, file)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint on the CPU, without running anything in it.

    Args:
        path: The file.

    Returns:
        What `store` wrote.

    Raises:
        ValueError: A part of it has other bytes than were written.
        Exception: The file is damaged otherwise; torch, zip and pickle raise many kinds.
    """
    if record := altered(path):
        raise ValueError(f"{record} has other bytes than were written")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def resume(folder: Path, run: Run) -> tuple[Progress, dict[str, Tensor] | None]:
    """Load the checkpoint of a folder into a training.

    Args:
        folder: The training's folder.
        run: The training, whose parts are changed in place.

    Returns:
        (the position, the best weights or None); the start if there is no checkpoint.

    Raises:
        ArtifactError: The file cannot be read, or belongs to another training; the message names the
            difference.

    Warns:
        ArtifactWarning: The network has other weights than those that the training began with, that it has come to, or
            that it left this network with when it was broken off.
    """
    path = folder / CHECKPOINT
    # Under FSDP each process has a part of the weights alone.
    given = "" if _sharded(run) else hash_of(run.model.state_dict())
    if not path.is_file():
        return Progress(began=given), None
    try:
        # On the CPU, since the training may go on with another device; without code, since a file may come from
        # anywhere.
        state = read_checkpoint(path)
        identity, progress = state["identity"], Progress(**state["progress"])
        noise = state["noise"]
    except Exception as error:  # torch raises many errors for a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ArtifactError(
            f"{path} is not a checkpoint of a training, or is damaged ({reason}); delete it to start over"
        ) from error
    if differences := other(identity, run.identity):
        raise ArtifactError(
            f"{folder} holds another training ({'; '.join(differences)}); choose another folder"
        )
    if given != _left(run.model, folder):
        known = [state["model"], state["average"], state["best_weights"]]
        _tell_of_other_weights(folder, given, progress, known)
    layers = noise_by_name(run.model)
    # A training may go on with more processes than have written the checkpoint.
    memory = noise[run.accelerator.process_index % len(noise)]
    try:
        if {*layers} != {*memory}:
            raise RuntimeError("other noise layers")
        _load(run, state["model"], state["optimizer"])
        if run.average is not None:
            run.average.module.load_state_dict(state["average"])
    except (SurgeonError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ArtifactError(
            f"{folder} holds the training of another model ({reason}); choose another folder"
        ) from None
    for name, layer in layers.items():
        layer.set_memory(memory[name])
    if state["scaler"] and run.accelerator.scaler is not None:
        run.accelerator.scaler.load_state_dict(state["scaler"])
    return progress, state["best_weights"] or None


@contextlib.contextmanager
def remembered(folder: Path, run: Run) -> Iterator[None]:
    """Where a training is broken off, remember the weights that its network is left with, for `resume` of that object.

    Args:
        folder: The training's folder.
        run: The training.

    Yields:
        None.
    """
    try:
        yield
    except BaseException:
        if not _sharded(run):
            _LEFT[run.model] = (folder.resolve(), hash_of(run.model.state_dict()))
        raise


def _left(model: nn.Module, folder: Path) -> str:
    """The hash of the weights that a training in this folder, broken off, left a network with; "" without one."""
    place, reason = _LEFT.get(model, (None, ""))
    return reason if place == folder.resolve() else ""


def _tell_of_other_weights(
    folder: Path, given: str, progress: Progress, kept: list[dict[str, Tensor]]
) -> None:
    """Warn where a network has neither the weights that a training began with nor any that it has come to."""
    if progress.began and given and given != progress.began and given not in map(hash_of, filter(None, kept)):
        warn(
            f"{folder} holds a training that began with other weights than this network has: it goes on, or is given "
            "back, with those of the folder; for a training of this network's weights choose another folder",
            ArtifactWarning,
        )


def _sharded(run: Run) -> bool:
    return str(run.accelerator.distributed_type).endswith("FSDP")


def _states(run: Run) -> tuple[dict, dict]:
    if not _sharded(run):
        return run.model.state_dict(), run.optimizer.state_dict()
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return get_state_dict(run.network, run.optimizer.optimizer, options=options)


def _load(run: Run, weights: dict, optimizer: dict) -> None:
    if not _sharded(run):
        run.model.load_state_dict(weights)
        run.optimizer.load_state_dict(optimizer)
        return
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_state_dict

    options = StateDictOptions(full_state_dict=True)
    set_state_dict(
        run.network,
        run.optimizer.optimizer,
        model_state_dict=weights,
        optim_state_dict=optimizer,
        options=options,
    )


def _gathered(run: Run, memory: dict) -> list[dict]:
    """The noise layers' memories of all processes, by rank."""
    if run.accelerator.num_processes == 1:
        return [memory]
    memories: list[Any] = [None] * run.accelerator.num_processes
    torch.distributed.all_gather_object(memories, memory)
    return memories
