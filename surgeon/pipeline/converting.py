"""`surgeon convert`: cut trained checkpoints by a recipe, one folder each, and measure the cost."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from surgeon.data import differing
from surgeon.disk.files import absolute, write_json
from surgeon.edits import Plan
from surgeon.effects import Accuracy, measured_effect
from surgeon.errors import ArtifactError, SurgeonError, either
from surgeon.execution import Execution
from surgeon.host import in_own_state
from surgeon.kept_modes import mode
from surgeon.models.calibration import MOST
from surgeon.models.logits import compare_logits
from surgeon.models.pixels import logits_of, normalized
from surgeon.models.weight_files import PICKLED
from surgeon.ownership import check_apart, locked, owned, read_manifest, reserved, take
from surgeon.pipeline.checkpoint import Held, differing_in, held
from surgeon.pipeline.conversion import Conversion, read_conversion
from surgeon.pipeline.demands import check_labels
from surgeon.pipeline.job import Job
from surgeon.pipeline.lineage import CONVERSION
from surgeon.pipeline.origin import written
from surgeon.pipeline.prepared import not_recorded
from surgeon.progress import step
from surgeon.recipe.retelling import without_prose
from surgeon.recipe.starts import with_starts
from surgeon.store.artifact import save
from surgeon.store.precision import types_of
from surgeon.surgery import apply
from surgeon.surgery.drift import layer_drifts
from surgeon.verification import demand, verify

CONVERSIONS, SETTINGS = "conversions.json", "settings.json"
_SUFFIXES = (".safetensors", *PICKLED)
_SHOWN_IMAGES = 256
"""The most images on which layers are compared."""


class Outcome(NamedTuple):
    """A checkpoint, its conversion or the error that prevented it, and whether the conversion existed."""

    checkpoint: Path
    found: Conversion | SurgeonError
    before: bool


def checkpoints_in(folder: Path) -> list[Path]:
    """List the checkpoint files of a folder, by name.

    Args:
        folder: the folder.

    Raises:
        ArtifactError: there is no checkpoint, or two would share a result's folder.
    """
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES and not p.is_dir())
    if not files:
        raise ArtifactError(f"{folder} holds no checkpoint ({', '.join(_SUFFIXES)})")
    stems = [p.stem for p in files]
    twice = next((s for s in stems if stems.count(s) > 1), None)
    if twice:
        raise ArtifactError(
            f"{folder} holds two checkpoints called {twice}: their results would share a folder"
        )
    return files


def convert_all(
    job: Job, checkpoints: Sequence[Path], folder: Path, *, overwrite: bool = False
) -> Iterator[Outcome]:
    """Convert each checkpoint into a folder of its name, and write conversions.json when all are done.

    A checkpoint that cannot be converted does not stop the others. Where its folder holds an earlier conversion, its
    row keeps that one beside the error.

    Args:
        job: what is the same for every checkpoint.
        checkpoints: the files.
        folder: the folder that holds all results.
        overwrite: replace conversions made with other settings.

    Yields:
        The outcome of each checkpoint.

    Raises:
        ArtifactError: the folder is in use, holds something else, or holds conversions with other settings or of other
            images.
        DataError: it holds conversions, and their images cannot be read. In all of these nothing is written.
    """
    rows = []
    check_apart(folder, [job.data, job.calibration])
    with owned(folder):
        known = read_manifest(folder)
        if overwrite and known is not None and known.what == "conversions":
            write_json(folder / SETTINGS, job.named)
        take(folder, SETTINGS, job.named, "conversions", compared=without_prose)
        for path in () if overwrite else checkpoints:
            if there := _readable(folder / path.stem):
                _refuse(folder / path.stem, _other_settings(there, job))
        for path in checkpoints:
            result: Conversion | SurgeonError
            try:
                result, before = convert(job, path, folder / path.stem, overwrite=overwrite)
            except SurgeonError as error:
                result, before = error, False
            kept = _readable(folder / path.stem) if isinstance(result, SurgeonError) else result
            row = kept.model_dump(mode="json") if kept else {}
            if isinstance(result, SurgeonError):
                row["error"] = str(result)
            rows.append({**row, "checkpoint": path.name})
            yield Outcome(path, result, before)
        write_json(folder / CONVERSIONS, rows)


@in_own_state()
def convert(job: Job, checkpoint: Path, folder: Path, *, overwrite: bool = False) -> tuple[Conversion, bool]:
    """Cut one trained network, measure the effect, and save it with conversion.json.

    Args:
        job: recipe, images and settings.
        checkpoint: the file of weights, or a network's folder.
        folder: the folder to write.
        overwrite: replace a conversion made with other settings.

    Returns:
        The conversion, and whether it existed before; the same conversion is not made twice.

    Raises:
        ArtifactError: the folder holds something else, or a conversion with other settings.
        SurgeonError: whatever `surgeon.apply` raises.
    """
    check_apart(folder, [job.data, job.calibration])
    with locked(folder):
        before = None if overwrite else read_conversion(folder)
        if before is not None:
            _demand_same(before, job, checkpoint, folder)
            return before, True
        with reserved(folder, overwrite=overwrite, inputs=[checkpoint, job.data, job.root, job.calibration]):
            conversion, rewritten = _converted(job, checkpoint)
            beside = {CONVERSION: conversion.model_dump_json(indent=2), **written(conversion.lineage)}
            save(rewritten, folder, overwrite=overwrite, beside=beside)
    return conversion, False


def _converted(job: Job, checkpoint: Path) -> tuple[Conversion, nn.Module]:
    began = time.perf_counter()
    with_starts(
        [o for r in job.recipes for o in r.surgery], job.warm_start
    )  # an invalid start is an error before the network is made
    stock = job.build(checkpoint).eval()
    holds = held(checkpoint, lambda: stock)
    with step("reading images") if job.data or job.calibration else contextlib.nullcontext():
        calibration, test, *_ = job.pictures
        job.check_classes(stock)
        shown = None if calibration is None else normalized(calibration, stock)
    rewritten = apply(
        stock,
        list(job.recipes),
        input_size=job.input_size,
        seed=job.seed,
        trained=True,
        calibration=shown,
        warm_start=job.warm_start,
    )
    with step("checking the cut"):
        demand(verify(stock, rewritten))
    record = rewritten.surgery
    carried_out = record.execution or Execution()
    measured = shown if test is None else normalized(test.x, stock)
    with step("measuring: logits"):
        # Without test images, that of the calibration images that were held out: to the others the start is fitted.
        drift = (
            carried_out.drift
            if measured is None or test is None and carried_out.drift is not None
            else compare_logits(stock, rewritten, measured, "calibration" if test is None else "test")
        )
    with step("measuring: accuracy"):
        accuracy = None if test is None or measured is None else _accuracy(stock, rewritten, measured, test.y)
    with step("measuring: layers"):
        layers = {} if measured is None else layer_drifts(stock, rewritten, measured[:_SHOWN_IMAGES])
    effects: dict[str, object] = {"drift": drift, "accuracy": accuracy}
    if accuracy is not None or drift is not None and drift.source == "test":
        effects["effect"] = measured_effect(record.planned, drift, accuracy)
    record = record.model_copy(update={"execution": carried_out.model_copy(update=effects)})
    rewritten.__dict__["surgery"] = record
    conversion = Conversion(
        checkpoint=str(absolute(str(checkpoint))),
        sha256=holds.weights,
        config=holds.config,
        settings=job.asked,
        effect=record.effect,
        folds=record.folds,
        calibration=_used(record, shown),
        refitted=() if shown is None else tuple(carried_out.residuals),
        choice=carried_out.choice,
        searches=dict(carried_out.searches),
        notes=(
            *(n.text for n in record.notes if n.code in ("start", "images")),
            *job.pictures.remarks,
            *_of_normalisation(stock, job, checkpoint),
            *_of_precision(stock, job.name),
        ),
        lineage=job.pictures.lineage,
        drift=drift,
        accuracy=accuracy,
        layers=layers,
        seconds=time.perf_counter() - began,
    )
    return conversion, rewritten


def _of_normalisation(stock: nn.Module, job: Job, checkpoint: str | Path) -> tuple[str, ...]:
    """A remark where images were given, and nothing says how they have to be normalised."""
    if job.pictures.calibration is None and job.pictures.test is None:
        return ()
    weights = str(checkpoint) if Path(checkpoint).is_file() else None
    return not_recorded(
        str(job.settings.get("model") or job.name),
        stock,
        lineage=job.lineage,
        weights=weights,
        normalised=job.settings.get("mean") is not None,
    )


def _of_precision(stock: nn.Module, name: str) -> tuple[str, ...]:
    """A remark on a network that is in another precision than trainings and evaluations, which it keeps."""
    types = types_of(stock)
    if types in ([], ["float32"]):
        return ()
    said = " and ".join(types)
    return (
        f"{name} is in {said}: it was cut, fitted and measured in that, and the result is in it too; trainings and "
        "evaluations are in float32, where its numbers may be others",
    )


def _used(record: Plan, images: Tensor | None) -> int:
    """The number of images that starts and statistics were computed from."""
    choice = record.execution.choice if record.execution else None
    if choice is not None:
        return choice.fitted
    return 0 if images is None else min(len(images), MOST)


def _readable(folder: Path) -> Conversion | None:
    """The conversion in a folder; None without one, or where its record is damaged."""
    try:
        return read_conversion(folder)
    except ArtifactError:
        return None


def _demand_same(before: Conversion, job: Job, checkpoint: Path, folder: Path) -> None:
    other = _other_settings(before, job)
    there = Held(before.sha256, before.config)
    if changed := differing_in(there, held(checkpoint, lambda: job.build(checkpoint))):
        other.append(changed)
    _refuse(folder, other)


def _other_settings(before: Conversion, job: Job) -> list[str]:
    """Name the settings and images in which a job differs from a conversion."""
    now: dict[str, Any] = job.asked
    other = sorted(k for k in {*now, *before.settings} - {"contents"} if now.get(k) != before.settings.get(k))
    contents = before.settings.get("contents", {})
    return other + [
        f"{k}: {differing(contents.get(k), v)}" for k, v in now["contents"].items() if contents.get(k) != v
    ]


def _refuse(folder: Path, other: Sequence[str]) -> None:
    if other:
        raise ArtifactError(
            f"{folder} holds a conversion with other settings ({', '.join(other)}); choose another folder, or "
            + either("pass overwrite=True", "--overwrite")
        )


def _accuracy(before: nn.Module, after: nn.Module, x: Tensor, y: Tensor) -> Accuracy:
    right = []
    for model in (before, after):
        like = next(p for p in model.parameters() if p.is_floating_point())
        with mode(model, False), torch.no_grad():
            logits = torch.cat([logits_of(model(part.to(like, copy=True))).cpu() for part in x.split(64)])
        check_labels(y, logits.shape[1])
        right.append(logits.argmax(1) == y)
    old, new = right
    return Accuracy(images=len(y), before=int(old.sum()), after=int(new.sum()), both=int((old & new).sum()))
