"""`surgeon convert`: cut trained checkpoints by a recipe, one folder each, and measure the cost."""

from __future__ import annotations

import contextlib
import functools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from surgeon.data import (
    Images,
    Sets,
    absolute_source,
    contents_of,
    differing,
    drawn,
    held_out_of,
    images,
)
from surgeon.disk.files import absolute, json_text, write_json
from surgeon.disk.hashes import sha256_of
from surgeon.edits import Plan
from surgeon.effects import Accuracy, measured_effect
from surgeon.errors import ArgumentError, ArtifactError, SurgeonError, either
from surgeon.execution import Execution
from surgeon.host import in_own_state
from surgeon.images import image_size
from surgeon.kept_modes import mode
from surgeon.models.calibration import MOST
from surgeon.models.checkpoints import PICKLED
from surgeon.models.facts import input_size_of, normalized
from surgeon.models.logits import compare_logits, first_tensor
from surgeon.ownership import check_apart, locked, owned, read_manifest, reserved, take
from surgeon.pipeline import shown_images
from surgeon.pipeline.contents import absolute_model
from surgeon.pipeline.conversion import Conversion, read_conversion
from surgeon.pipeline.demands import Source, check_names, in_order
from surgeon.pipeline.lineage import CONVERSION
from surgeon.pipeline.origin import Lineage, origin_of, written
from surgeon.pipeline.own_images import chosen
from surgeon.pipeline.tested import trained_on, validated_on
from surgeon.pipeline.training import part
from surgeon.progress import step
from surgeon.recipe import Recipe
from surgeon.recipe.retelling import without_prose
from surgeon.recipe.starts import WarmStart, with_starts
from surgeon.store.artifact import save
from surgeon.store.folder import WEIGHTS
from surgeon.surgery import apply
from surgeon.surgery.drift import layer_drifts
from surgeon.verification import demand, verify

CONVERSIONS, SETTINGS = "conversions.json", "settings.json"
_SUFFIXES = (".safetensors", *PICKLED)
_SHOWN_IMAGES = 256
"""The most images on which layers are compared."""


class Pictures(NamedTuple):
    """The images of a conversion, in [0, 1].

    Attributes:
        calibration: (N, C, H, W), unlabelled, from which starts are computed; None without images.
        test: labelled images on which accuracy is measured; None without images.
        lineage: what the converted network was calibrated and trained on.
        remarks: sentences on what is unknown about the images.
    """

    calibration: Tensor | None
    test: Images | None
    lineage: Lineage = ()
    remarks: tuple[str, ...] = ()


class Outcome(NamedTuple):
    """A checkpoint, its conversion or the error that prevented it, and whether the conversion existed."""

    checkpoint: Path
    found: Conversion | SurgeonError
    before: bool


@dataclass(frozen=True)
class Job:
    """What is the same for every checkpoint of a conversion.

    Attributes:
        build: makes a network with a checkpoint's weights, or with random ones for None.
        recipes: their surgery, applied in order.
        settings: what a second call must share to continue.
        input_size: (C, H, W) of one image; by default the network's own.
        data: a source of labelled images. Its training images calibrate, and accuracy is measured on
            `samples` of its test images.
        root: the folder that the source needs, if it needs one.
        samples: the most test images.
        calibration: a source without labels to calibrate on instead of `data`.
        calibration_count: the most calibration images.
        warm_start: how starts are computed; None for the recipe's own way.
        seed: seed of the surgery, of the split and of the calibration images.
        lineage: what the checkpoints were trained on. It decides the split of `data` and the order of
            classes.
        compare: check here that the images have not changed since the training; False if whoever reads
            `asked` does so.
    """

    build: Callable[[Path | None], nn.Module]
    recipes: Sequence[Recipe]
    settings: Mapping[str, Any]
    input_size: tuple[int, ...] | None = None
    data: str | None = None
    root: str | None = None
    samples: int = 1000
    calibration: str | None = None
    calibration_count: int = 1024
    warm_start: WarmStart | None = None
    seed: int = 0
    lineage: Lineage = ()
    compare: bool = True

    @functools.cached_property
    def asked(self) -> dict[str, Any]:
        """The settings with absolute paths, and the contents of the images."""
        images, test, *_ = self.pictures
        contents = {
            "calibration images": None if images is None else contents_of(Images(images, torch.zeros(0))),
            "test images": None if test is None else contents_of(test),
        }
        return {**self.named, "contents": contents}

    @property
    def named(self) -> dict[str, Any]:
        """The settings with absolute paths, without any contents."""
        plain = json.loads(json_text(self.settings))
        sources = {k: absolute_source(plain[k]) for k in ("data", "calibration") if plain.get(k)}
        model = {"model": absolute_model(plain["model"])} if plain.get("model") else {}
        return {**plain, **sources, **model, "root": absolute(plain.get("root"))}

    @functools.cached_property
    def pictures(self) -> Pictures:
        """The images, read once, when a checkpoint is to be converted.

        Raises:
            ArgumentError: the size of one image is not known.
            DataError: a source has no images that can be read.
        """
        if not self.data and not self.calibration:
            return Pictures(None, None, self.lineage)
        size = image_size(self.input_size) or input_size_of(self.build(None))
        if size is None or len(size) != 3:
            raise ArgumentError(
                "images need the size of one, (C, H, W): give "
                f"{either('input_size', '--input-size')}; the model tells {size}"
            )
        pixels, test, lineage, remarks = None, None, self.lineage, tuple[str, ...]()
        if self.data:
            how = chosen(
                lineage,
                self.name,
                self.data,
                self.root,
                data_settings=part(self.recipes, "data", None),
                seed=self.seed,
                compare=self.compare,
            )
            sets = how.load(self.data, self.root, size)
            taken = self._check_names(sets)
            shown = held_out_of(sets, self.samples)
            test, remarks = Images(shown.x, shown.y), (*how.remarks, *((taken,) if taken else ()))
            if how.origin is not None:
                remarks += (*trained_on(sets.train, shown.x), *validated_on(sets.val, shown.x))
            known = lineage[0].classes if lineage and lineage[0].classes else sets.classes
            if how.origin is None:
                own = origin_of(
                    self.data,
                    self.root,
                    how.settings,
                    how.split_seed,
                    size,
                    sets,
                    classes=known,
                    num_classes=self.settings.get("num_classes"),
                )
                lineage = (own, *lineage)
            pixels = None if self.calibration else drawn(sets.train, self.calibration_count, seed=self.seed)
        if self.calibration:
            pixels = images(self.calibration, self.calibration_count, size)
        tested = 0 if test is None else len(test.y)
        source = " and ".join(s for s in (self.data, self.calibration) if s)
        shown_images.of_conversion(Path(self.name).name, source, 0 if pixels is None else len(pixels), tested)
        return Pictures(pixels, test, lineage, remarks)

    @property
    def name(self) -> str:
        """What is converted, for a message."""
        return str(self.settings.get("checkpoint") or self.settings.get("model") or "the checkpoint")

    def _check_names(self, sets: Sets) -> str:
        """Call `check_names`, where the data settings of the recipe may state the meaning of the classes."""
        settings, source = part(self.recipes, "data", None), Source(str(self.data), self.root)
        said = settings is not None and settings.classes is not None
        return check_names(
            self.name, source, sets.classes, self.lineage, meant=said, how=in_order(sets.classes)
        )


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

    A checkpoint that cannot be converted does not stop the others.

    Args:
        job: what is the same for every checkpoint.
        checkpoints: the files.
        folder: the folder that holds all results.
        overwrite: replace conversions made with other settings.

    Yields:
        The outcome of each checkpoint.

    Raises:
        ArtifactError: the folder is in use, holds something else, or holds conversions with other settings.
    """
    rows = []
    check_apart(folder, [job.data, job.calibration])
    with owned(folder):
        known = read_manifest(folder)
        if overwrite and known is not None and known.what == "conversions":
            write_json(folder / SETTINGS, job.named)
        take(folder, SETTINGS, job.named, "conversions", compared=without_prose)
        for path in checkpoints:
            result: Conversion | SurgeonError
            try:
                result, before = convert(job, path, folder / path.stem, overwrite=overwrite)
            except SurgeonError as error:
                result, before = error, False
            row = (
                {"error": str(result)} if isinstance(result, SurgeonError) else result.model_dump(mode="json")
            )
            rows.append({"checkpoint": path.name, **row})
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
    with step("reading images") if job.data or job.calibration else contextlib.nullcontext():
        calibration, test, *_ = job.pictures
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
        drift = (
            carried_out.drift
            if measured is None
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
        sha256=_hash(checkpoint),
        settings=job.asked,
        effect=record.effect,
        folds=record.folds,
        calibration=_used(record, shown),
        refitted=() if shown is None else tuple(carried_out.residuals),
        choice=carried_out.choice,
        searches=dict(carried_out.searches),
        notes=(*(n.text for n in record.notes if n.code in ("start", "images")), *job.pictures.remarks),
        lineage=job.pictures.lineage,
        drift=drift,
        accuracy=accuracy,
        layers=layers,
        seconds=time.perf_counter() - began,
    )
    return conversion, rewritten


def _used(record: Plan, images: Tensor | None) -> int:
    """The number of images that starts and statistics were computed from."""
    choice = record.execution.choice if record.execution else None
    if choice is not None:
        return choice.fitted
    return 0 if images is None else min(len(images), MOST)


def _demand_same(before: Conversion, job: Job, checkpoint: Path, folder: Path) -> None:
    now = job.asked
    other = sorted(k for k in {*now, *before.settings} - {"contents"} if now.get(k) != before.settings.get(k))
    contents = before.settings.get("contents", {})
    other += [
        f"{k}: {differing(contents.get(k), v)}" for k, v in now["contents"].items() if contents.get(k) != v
    ]
    if before.sha256 != _hash(checkpoint):
        other.append("the checkpoint itself")
    if other:
        raise ArtifactError(
            f"{folder} holds a conversion with other settings ({', '.join(other)}); choose another folder, or "
            + either("pass overwrite=True", "--overwrite")
        )


def _hash(checkpoint: Path) -> str:
    file = checkpoint / WEIGHTS if checkpoint.is_dir() else checkpoint
    return sha256_of(file) if file.is_file() else ""


def _accuracy(before: nn.Module, after: nn.Module, x: Tensor, y: Tensor) -> Accuracy:
    right = []
    for model in (before, after):
        like = next(p for p in model.parameters() if p.is_floating_point())
        with mode(model, False), torch.no_grad():
            said = [first_tensor(model(part.to(like))) for part in x.split(64)]
        right.append(torch.cat([s.argmax(1).cpu() for s in said if s is not None]) == y)
    old, new = right
    return Accuracy(images=len(y), before=int(old.sum()), after=int(new.sum()), both=int((old & new).sum()))
