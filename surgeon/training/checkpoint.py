"""What a training keeps after each epoch, so that it can go on as if it had never been stopped."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from surgeon.errors import ArtifactError
from surgeon.layers import AdversarialNoise

CHECKPOINT = "checkpoint.pt"


class Run(NamedTuple):
    """The parts of a training that change, and `identity`: the plain values that tell it from another."""

    model: nn.Module
    optimizer: Any
    accelerator: Any
    identity: dict[str, Any]


def store(folder: Path, run: Run, rows: Sequence[tuple]) -> None:
    """Write the checkpoint beside its place and rename it there.

    It holds tensors and plain values alone, readable by torch.load with weights_only: weights, optimizer and
    loss scaler, the noise layers' memory, the random streams, the rows so far and the identity. Learning
    rates are functions of the epoch and the rows, so that schedules have no state.
    """
    cuda = run.accelerator.device.type == "cuda"
    scaler = run.accelerator.scaler
    state = {
        "model": run.model.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "scaler": scaler.state_dict() if scaler is not None else {},
        "noise": {n: m.get_memory() for n, m in _noise(run.model).items()},
        "random": torch.get_rng_state(),
        "cuda_random": [torch.cuda.get_rng_state(run.accelerator.device)] if cuda else [],
        "rows": [list(r) for r in rows],
        "identity": run.identity,
    }
    beside = folder / f".{CHECKPOINT}.{os.getpid()}"
    try:
        torch.save(state, beside)
        os.replace(beside, folder / CHECKPOINT)
    finally:
        beside.unlink(missing_ok=True)


def resume(folder: Path, run: Run) -> list[list]:
    """Take back the checkpoint of a folder and return its rows; an empty list where there is none.

    Raises ArtifactError for a file that cannot be read, or one of another training, naming what differs.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        return []
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        identity, rows, random = state["identity"], state["rows"], state["random"]
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ArtifactError(
            f"{path} is not a checkpoint of a training, or is damaged ({reason}); delete it to start over"
        ) from error
    other = sorted(
        f"{k}: {identity.get(k)} there, {run.identity.get(k)} here"
        for k in {*identity, *run.identity}
        if identity.get(k) != run.identity.get(k)
    )
    if other:
        raise ArtifactError(f"{folder} holds another training ({'; '.join(other)}); choose another folder")
    layers = _noise(run.model)
    try:
        if {*layers} != {*state["noise"]}:
            raise RuntimeError("other noise layers")
        run.model.load_state_dict(state["model"])
        run.optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ArtifactError(
            f"{folder} holds the training of another model ({reason}); choose another folder"
        ) from None
    for name, layer in layers.items():
        layer.set_memory(state["noise"][name])
    if state["scaler"] and run.accelerator.scaler is not None:
        run.accelerator.scaler.load_state_dict(state["scaler"])
    torch.set_rng_state(random)
    if state["cuda_random"] and run.accelerator.device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda_random"][0], run.accelerator.device)
    return rows


def _noise(model: nn.Module) -> dict[str, AdversarialNoise]:
    return {n: m for n, m in model.named_modules() if isinstance(m, AdversarialNoise)}
