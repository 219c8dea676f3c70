"""What is the same for every checkpoint of a conversion: recipes, settings, and the images, read once."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from surgeon.data import Images, Sets, absolute_source, contents_of, drawn, held_out_of, images
from surgeon.disk.files import absolute, json_text
from surgeon.errors import ArgumentError, either
from surgeon.images import image_size
from surgeon.models.calibration import MOST
from surgeon.models.facts import input_size_of, num_classes_of
from surgeon.pipeline import shown_images
from surgeon.pipeline.contents import absolute_model
from surgeon.pipeline.demands import Source, check_classes, check_labels, check_names, demand_root, in_order
from surgeon.pipeline.idle import CALIBRATION, of_calibration, tell
from surgeon.pipeline.origin import Lineage, origin_of
from surgeon.pipeline.own_images import chosen
from surgeon.pipeline.tested import calibrated_on, trained_on, validated_on
from surgeon.pipeline.training import part
from surgeon.recipe import Recipe
from surgeon.recipe.starts import WarmStart

SAMPLES = 1000
"""Test images where nobody says how many."""


class Pictures(NamedTuple):
    """The images of a conversion, in [0, 1].

    Attributes:
        calibration: (N, C, H, W), unlabelled, from which starts are computed; None without images.
        test: labelled images on which accuracy is measured; None without images.
        lineage: what the converted network was calibrated and trained on.
        remarks: sentences on what is unknown about the images.
        classes: the test images' classes, by name; empty where they have no names.
    """

    calibration: Tensor | None
    test: Images | None
    lineage: Lineage = ()
    remarks: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()


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
        source: what is converted, as the caller named it, for messages.
    """

    build: Callable[[Path | None], nn.Module]
    recipes: Sequence[Recipe]
    settings: Mapping[str, Any]
    input_size: tuple[int, ...] | None = None
    data: str | None = None
    root: str | None = None
    samples: int = SAMPLES
    calibration: str | None = None
    calibration_count: int = CALIBRATION
    warm_start: WarmStart | None = None
    seed: int = 0
    lineage: Lineage = ()
    compare: bool = True
    source: str = ""

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
            why = f"no images were given ({either('data or calibration', '--data or --calibration')})"
            self._tell(of_calibration(self.calibration_count, None, why))
            if self.samples != SAMPLES:
                said = either(f"samples={self.samples}", f"--samples {self.samples}")
                self._tell(
                    [f"{said} changes nothing: no labelled images were given ({either('data', '--data')})"]
                )
            return Pictures(None, None, self.lineage)
        size = image_size(self.input_size) or input_size_of(self.build(None))
        if size is None or len(size) != 3:
            raise ArgumentError(
                "images need the size of one, (C, H, W): give "
                f"{either('input_size', '--input-size')}; the model tells {size}"
            )
        pixels, test, lineage, remarks, classes = (
            None,
            None,
            self.lineage,
            tuple[str, ...](),
            tuple[str, ...](),
        )
        if self.data:
            demand_root(self.data, self.root)
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
            taken, classes = self._check_names(sets), sets.classes
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
                    trained=False,
                )
                lineage = (own, *lineage)
            pixels = None if self.calibration else drawn(sets.train, self.calibration_count, seed=self.seed)
            if pixels is not None:
                there = len(sets.train.x) if isinstance(sets.train, Images) else len(sets.train)
                self._tell(of_calibration(self.calibration_count, there))
            if self.samples != SAMPLES and self.samples > len(shown.y):
                said = either(f"samples={self.samples}", f"--samples {self.samples}")
                self._tell([f"{said}, and there are {len(shown.y):,} test images: all of them are used"])
        if self.calibration:
            pixels = images(self.calibration, self.calibration_count, size)
            if len(pixels) < self.calibration_count or len(pixels) > MOST:
                self._tell(of_calibration(self.calibration_count, len(pixels)))
            if test is not None:
                remarks += calibrated_on(pixels, test.x)
        tested = 0 if test is None else len(test.y)
        source = " and ".join(s for s in (self.data, self.calibration) if s)
        shown_images.of_conversion(Path(self.name).name, source, 0 if pixels is None else len(pixels), tested)
        return Pictures(pixels, test, lineage, remarks, classes)

    def _tell(self, sentences: Iterable[str]) -> None:
        tell(Path(self.name).name, sentences)

    def check_classes(self, network: nn.Module) -> None:
        """Check that a checkpoint's network has an output for each class, by name and by label.

        Args:
            network: the network.

        Raises:
            DataError: it has fewer, or more than nothing says are meant to be no class.
        """
        _, test, *_, classes = self.pictures
        if test is None:
            return
        outputs, source = num_classes_of(network), Source(str(self.data), self.root)
        check_classes(self.name, outputs, source, classes, self.settings.get("num_classes"), self.lineage)
        check_labels(test.y, outputs)

    @property
    def name(self) -> str:
        """What is converted, for a message."""
        return str(self.source or self.settings.get("model") or "the checkpoint")

    def _check_names(self, sets: Sets) -> str:
        """Call `check_names`, where the data settings of the recipe may state the meaning of the classes."""
        settings, source = part(self.recipes, "data", None), Source(str(self.data), self.root)
        said = settings is not None and settings.classes is not None
        return check_names(
            self.name, source, sets.classes, self.lineage, meant=said, how=in_order(sets.classes)
        )
