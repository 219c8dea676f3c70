"""The columns of a protocol that are measured at layers of a run's trained network, on its own test images."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from surgeon.disk.files import read_parquet
from surgeon.errors import ArgumentError, ArtifactError, nearest
from surgeon.evaluation.engine.fingerprints import image_hashes
from surgeon.evaluation.engine.subject import of_pixels
from surgeon.evaluation.finished import read_assessment
from surgeon.insight.moments import moments_by_layer
from surgeon.insight.similarity import gradient_similarity
from surgeon.models.pixels import Normalized
from surgeon.ownership.parts import EVALUATION
from surgeon.pipeline.evaluating import network_of, test_images
from surgeon.protocol import Column
from surgeon.results.files import VERDICTS

MOST, EACH = 1000, 100
"""Images that variances are taken over, and images of a class whose gradients are compared, at most."""


def at_layers(
    place: Path, columns: Iterable[Column], *, allow_code: tuple[str, ...] = ()
) -> dict[Column, float]:
    """Measure columns at layers of the trained network, on the test images of the run's evaluation.

    Args:
        place: The run's folder.
        columns: Columns of `surgeon.protocol.protocol.ON_LAYERS`.
        allow_code: Modules that the network's folder may import.

    Returns:
        Column → what was measured.

    Raises:
        ArgumentError: The network has no such layer, its input does not vary, or too few images are of a class.
        ArtifactError: The images are no longer those of the evaluation.
    """
    columns = tuple(columns)
    if not columns:
        return {}
    assessment, rows = read_assessment(place / EVALUATION), read_parquet(place / EVALUATION / VERDICTS)
    wanted = {r["example"]: r["image"] for r in rows}
    data, root = assessment.data["source"], assessment.data["root"]
    test = test_images(
        str(place), data, root, assessment.subject.input_size, len(wanted), weights=None
    ).images
    x = torch.as_tensor(test.x).float()
    if image_hashes(x) != [wanted.get(int(e)) for e in test.examples]:
        raise ArtifactError(f"{data} does not give the images that {place / EVALUATION} was made with")
    model = of_pixels(network_of(str(place), allow_code=allow_code))
    spread = any(c.of != "gradient-similarity" for c in columns)
    moments = moments_by_layer(model, x[:MOST]) if spread else {}
    alike = {
        layer: _alike(model, x, test.y, layer, assessment.subject.classes) for layer in _compared(columns)
    }

    def value(column: Column) -> float:
        layer = column.layer or ""
        if column.classes is not None:
            return _between(alike[layer], column)
        if layer not in moments:
            raise ArgumentError(f"{place.parent.name} has no layer {layer!r}; {nearest(layer, moments)}")
        seen = moments[layer]
        known = seen.deviation if column.of == "deviation" else seen.amplification
        if not math.isfinite(known):
            raise ArgumentError(
                f"the input of {layer} does not vary over the images, so nothing amplifies it"
            )
        return known

    return {column: value(column) for column in columns}


def _compared(columns: Iterable[Column]) -> tuple[str, ...]:
    """The layers whose gradients are compared."""
    return tuple(dict.fromkeys(c.layer for c in columns if c.classes is not None and c.layer))


def _alike(model: Normalized, x: Tensor, y: Tensor, layer: str, classes: int) -> Tensor:
    """The similarity between classes, of at most so many images of each."""
    few = torch.cat([(y == c).nonzero().flatten()[:EACH] for c in range(classes)])
    return gradient_similarity(model, x[few], y[few], layer=layer, classes=classes)


def _between(alike: Tensor, column: Column) -> float:
    """The mean over the classes that a column compares its first one with."""
    first, *others = column.classes or ()
    if max(first, *others) >= len(alike):
        raise ArgumentError(f"classes={list(column.classes or ())}, and the network has {len(alike)} classes")
    mean = float(alike[first, others].mean())
    if not math.isfinite(mean):
        raise ArgumentError(f"too few images of the classes {list(column.classes or ())} have a gradient")
    return mean
