"""`surgeon convert`: trained checkpoints cut by a recipe, with what that cost them, one folder each; resumable."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from surgeon.artifact import CONFIG, file_hash, save
from surgeon.checkpoints import PICKLED
from surgeon.data import Images, pixels
from surgeon.edits import Drift, Effect
from surgeon.errors import ArtifactError, SurgeonError
from surgeon.files import write_json
from surgeon.graph.trace import mode
from surgeon.models import normalization_of
from surgeon.recipe import Recipe
from surgeon.surgery import apply
from surgeon.surgery.drift import compare_logits, first_tensor, layer_drifts
from surgeon.surgery.starts import WarmStart
from surgeon.verification import demand, verify

CONVERSION = "conversion.json"
_SUFFIXES = (".safetensors", *PICKLED)
_SHOWN_IMAGES = 256
"""Images that layers are compared on."""


class Accuracy(BaseModel):
    """Images right out of `images`, before and after the cut, and how many of them are right both times."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: int
    before: int
    after: int
    both: int


class Conversion(BaseModel):
    """What became of one checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoint: str
    sha256: str = Field(description="of the checkpoint file; empty where there is none")
    settings: dict[str, Any] = Field(
        description="recipe, starts, images and seeds: what a second call must share"
    )
    effect: Effect
    folds: bool
    calibration: int = Field(description="images that the starts and statistics were taken from")
    refitted: tuple[str, ...] = Field(description="layers whose weights were fitted to the images")
    drift: Drift | None = Field(
        description="of the logits, on test images where there are any, else on what there is"
    )
    accuracy: Accuracy | None = None
    layers: dict[str, float] = Field(
        default_factory=dict,
        description="layer → ‖after − before‖ / ‖before‖ of its output, in execution order",
    )
    seconds: float


@dataclass(frozen=True)
class Job:
    """What is the same for every checkpoint.

    build: a fresh network with the weights of a checkpoint (None: without). recipes: their surgery in order. calibration:
    images in [0, 1] that starts are taken from, or None. test: labelled images, or None. settings: what a second
    call must share to go on.
    """

    build: Callable[[Path | None], nn.Module]
    recipes: Sequence[Recipe]
    input_size: tuple[int, ...] | None
    calibration: Tensor | None
    test: Images | None
    settings: Mapping[str, Any]
    warm_start: WarmStart | None = None
    seed: int = 0


def checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoint files of a folder, by name. Raises ArtifactError where there is none."""
    found = sorted(p for p in folder.iterdir() if p.suffix in _SUFFIXES and p.is_file())
    if not found:
        raise ArtifactError(f"{folder} holds no checkpoint ({', '.join(_SUFFIXES)})")
    stems = [p.stem for p in found]
    twice = next((s for s in stems if stems.count(s) > 1), None)
    if twice:
        raise ArtifactError(
            f"{folder} holds two checkpoints called {twice}: their results would share a folder"
        )
    return found


def convert_all(
    job: Job, checkpoints: Sequence[Path], folder: Path
) -> Iterator[tuple[Path, Conversion | SurgeonError, bool]]:
    """Convert each checkpoint into `folder`/its name; yields (checkpoint, result or error, whether it was there before).

    A checkpoint that cannot be converted does not keep the others from it.
    """
    for path in checkpoints:
        try:
            before = read_conversion(folder / path.stem)
            found = before or convert(job, path, folder / path.stem)
            if before is not None:
                _same(before, job, path, folder / path.stem)
            yield path, found, before is not None
        except SurgeonError as error:
            yield path, error, False


def convert(job: Job, checkpoint: Path | None, folder: Path, *, overwrite: bool = False) -> Conversion:
    """Cut one trained network, measure what that did to it, and save it with conversion.json into `folder`.

    A folder that a kill left without conversion.json is written anew.

    Raises ArtifactError for a folder that holds something else, and what `surgeon.apply` raises.
    """
    unfinished = (folder / CONFIG).is_file() and not (folder / CONVERSION).is_file()
    stock = job.build(checkpoint).eval()
    began = time.perf_counter()
    inputs = _normalizer(stock)
    images = None if job.calibration is None else inputs(job.calibration)
    rewritten = apply(
        stock, list(job.recipes), input_size=job.input_size, seed=job.seed, trained=True, calibration=images,
        warm_start=job.warm_start,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    demand(verify(stock, rewritten))
    record = rewritten.surgery
    measured = job.test.x if job.test is not None else job.calibration
    found = Conversion(
        checkpoint=str(checkpoint or ""),
        sha256=file_hash(checkpoint) if checkpoint and checkpoint.is_file() else "",
        settings=dict(job.settings),
        effect=record.effect,
        folds=record.folds,
        calibration=0 if images is None else len(images),
        refitted=tuple(record.execution.residuals) if images is not None else (),
        drift=record.execution.drift if measured is None else _drift(stock, rewritten, measured, inputs, job.test is not None),
        accuracy=None if job.test is None else _accuracy(stock, rewritten, job.test, inputs),
        layers={} if measured is None else layer_drifts(stock, rewritten, inputs(pixels(measured[:_SHOWN_IMAGES]))),
        seconds=seconds,
    )  # fmt: skip
    save(rewritten, folder, overwrite=overwrite or unfinished)
    write_json(folder / CONVERSION, found.model_dump(mode="json"))
    return found


def read_conversion(folder: Path) -> Conversion | None:
    """The finished conversion in a folder; None where there is none."""
    path = folder / CONVERSION
    if not path.is_file():
        return None
    try:
        return Conversion.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, OSError) as error:
        raise ArtifactError(f"{path} cannot be read: {' '.join(str(error).split())[:160]}") from error


def _same(before: Conversion, job: Job, checkpoint: Path, folder: Path) -> None:
    now = dict(job.settings)
    other = sorted(k for k in {*now, *before.settings} if now.get(k) != before.settings.get(k))
    if before.sha256 != file_hash(checkpoint):
        other.append("the checkpoint itself")
    if other:
        raise ArtifactError(
            f"{folder} holds a conversion with other settings ({', '.join(other)}); choose another folder"
        )


def _normalizer(model: nn.Module) -> Callable[[Tensor], Tensor]:
    given = normalization_of(model)
    if given is None:
        return lambda x: x
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in given)
    return lambda x: (x - mean) / std


def _drift(
    before: nn.Module, after: nn.Module, images: Tensor, inputs: Callable[[Tensor], Tensor], test: bool
) -> Drift | None:
    return compare_logits(before, after, inputs(pixels(images)), "test" if test else "calibration")


def _accuracy(
    before: nn.Module, after: nn.Module, test: Images, inputs: Callable[[Tensor], Tensor]
) -> Accuracy:
    right = []
    for model in (before, after):
        like = next(p for p in model.parameters() if p.is_floating_point())
        with mode(model, False), torch.no_grad():
            said = [first_tensor(model(inputs(pixels(x)).to(like))) for x in test.x.split(64)]
        right.append(torch.cat([s.argmax(1).cpu() for s in said if s is not None]) == test.y)
    old, new = right
    return Accuracy(
        images=len(test.y), before=int(old.sum()), after=int(new.sum()), both=int((old & new).sum())
    )
