"""Check a run's training/: the checkpoint belongs to the run, and metrics and weights to the checkpoint."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from torch import Tensor

from surgeon.errors import ArtifactError
from surgeon.models.checkpoints import read_weights
from surgeon.pipeline.chain.checking import Misfit, Unknown, checked, unknown
from surgeon.pipeline.chain.comparing import demand_equal, demand_tensors
from surgeon.pipeline.ended import TRAINED, TRAINING, ended_with
from surgeon.store.folder import WEIGHTS
from surgeon.training.checkpoint import CHECKPOINT, read_checkpoint
from surgeon.training.run_files import BEST, LAST, METRICS
from surgeon.training.validation import Epoch
from surgeon.verification import Check


def training_checks(run: Path, settings: dict[str, Any]) -> list[Check]:
    """The checks of a training: how far it is, and whether its files match each other and the settings.

    Args:
        run: the run's folder.
        settings: the run's settings.
    """
    epochs = int(settings["training"]["epochs"])
    finished = (run / TRAINED).is_dir()
    if epochs == 0:
        return [_whole(run, finished, "nothing was to be trained")]
    folder, states = run / TRAINING, list[dict[str, Any]]()
    if not (folder / CHECKPOINT).is_file():
        if not finished:
            return [unknown(TRAINING, f"not finished: up to epoch 0 of {epochs}; the same command goes on")]
        return [Check(name=TRAINING, ok=False, detail=f"{CHECKPOINT} is missing")]
    checks = [checked(f"{TRAINING}/{CHECKPOINT}", lambda: _checkpoint(folder, settings, states))]
    if not states:
        return checks
    (state,) = states
    checks += [
        checked(TRAINING, lambda: _progress(state, epochs, finished)),
        checked(f"{TRAINING}/{METRICS}", lambda: _metrics(folder, state, finished)),
    ]
    if finished:
        checks.append(checked(f"{TRAINING}/{LAST}", lambda: _last(folder, state)))
        if state["best_weights"]:
            checks.append(checked(f"{TRAINING}/{BEST}", lambda: _equal(folder / BEST, state["best_weights"])))
    return checks


def result_check(run: Path, settings: dict[str, Any]) -> Check:
    """Check that the trained network has, bit for bit, the weights that the training ended with.

    Args:
        run: the run's folder.
        settings: the run's settings.
    """
    source = ended_with(run, settings)
    shown = source.relative_to(run).as_posix()

    def look() -> str:
        demand_tensors(
            read_weights(run / TRAINED / WEIGHTS),
            read_weights(source),
            f"the tensors are not those of {shown}",
        )
        return f"the tensors of {shown}"

    return checked("trained/weights", look)


def _whole(run: Path, finished: bool, said: str) -> Check:
    return (
        Check(name=TRAINING, ok=True, detail=said)
        if finished
        else unknown(TRAINING, "not finished: the same command goes on")
    )


def _checkpoint(folder: Path, settings: dict[str, Any], states: list[dict[str, Any]]) -> str:
    try:
        state = read_checkpoint(folder / CHECKPOINT)
    except Exception as error:  # torch, zip and pickle raise many errors for a damaged file
        raise ArtifactError(
            f"cannot be read: {(str(error).splitlines() or [type(error).__name__])[0]}"
        ) from None
    states.append(state)
    identity, images = state["identity"], settings["contents"]["training images"]
    asked = {**settings["training"], **{k: settings[k] for k in ("seed", "mixed_precision")}}
    other = sorted(k for k, v in asked.items() if identity.get(k) != v)
    other += sorted(f"images ({k})" for k, v in images.items() if k in identity and identity[k] != v)
    if other:
        raise Misfit(f"is of another training than settings.json says: {', '.join(other)}")
    return "of these settings and images"


def _progress(state: dict[str, Any], epochs: int, finished: bool) -> str:
    at = state["progress"]
    if at["epoch"] >= epochs and finished:
        return f"{epochs} of {epochs} epochs"
    where = f"up to epoch {at['epoch']} of {epochs}"
    if finished:
        raise Misfit(f"{where} alone, and there is a trained network")
    raise Unknown(f"not finished: {where}; the same command goes on")


def _metrics(folder: Path, state: dict[str, Any], finished: bool) -> str:
    rows = [list(r) for r in state["progress"]["rows"]]
    path = folder / METRICS
    if not path.is_file() and not rows:
        return "no epoch has ended yet"
    with path.open(newline="", encoding="utf-8") as file:
        header, *lines = csv.reader(file)
    if tuple(header) != Epoch._fields:
        raise Misfit(f"has the columns {', '.join(header)}")
    numbers = [[float(v) for v in line] for line in lines]
    if not finished:  # a kill may have come between the metrics and the checkpoint
        numbers = numbers[: len(rows)]
    named = [[dict(zip(header, row, strict=True)) for row in part] for part in (numbers, rows)]
    demand_equal(named[0], named[1], "other figures than the checkpoint's: epoch")
    return f"{len(rows)} epochs, as in the checkpoint"


def _last(folder: Path, state: dict[str, Any]) -> str:
    return _equal(folder / LAST, state["average"] or state["model"])


def _equal(path: Path, wanted: dict[str, Tensor]) -> str:
    weights = read_weights(path, names=wanted)
    if {*weights} != {*wanted}:  # sharded trainings use other names
        raise Unknown("the checkpoint names its tensors otherwise")
    demand_tensors(weights, wanted, "not the checkpoint's weights")
    return "the checkpoint's weights"
