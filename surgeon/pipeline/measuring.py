"""The columns of a protocol, read off the folder of a run or measured at the layers of its network."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from surgeon.disk.files import json_text, read_parquet
from surgeon.errors import ArtifactError
from surgeon.evaluation.finished import CERTIFICATES, read_assessment
from surgeon.evaluation.untouched import check_untouched
from surgeon.ownership.parts import EVALUATION, TRAINING
from surgeon.pipeline.at_layers import at_layers
from surgeon.protocol import Column, Measured, Ran, measured
from surgeon.protocol.column import ON_LAYERS
from surgeon.reading import read_mapping
from surgeon.results.files import RESULT, VERDICTS
from surgeon.training.run_files import METRICS

SETTINGS = "settings.json"


def columns_of_run(
    place: Path, row: str, columns: Mapping[str, Column], *, allow_code: tuple[str, ...] = ()
) -> dict[str, Measured | None]:
    """Measure the columns of a run.

    Args:
        place: The run's folder.
        row: Its row.
        columns: What is asked, by name.
        allow_code: Modules that the trained network's folder may import, for columns at its layers.

    Returns:
        What was measured, by name.

    Raises:
        ArtifactError: The run is not evaluated, or a file of it is damaged.
        ArgumentError: A column asks for what the evaluation did not make, or for a layer that the network lacks.
    """
    assessment, verdicts = read_assessment(place / EVALUATION), read_parquet(place / EVALUATION / VERDICTS)
    file = place / EVALUATION / CERTIFICATES
    certificates = read_parquet(file) if file.is_file() else []
    timed = seconds_an_epoch(place) if any(c.of == "epoch" for c in columns.values()) else None
    layers = at_layers(place, [c for c in columns.values() if c.of in ON_LAYERS], allow_code=allow_code)
    return {
        n: measured(c, assessment, verdicts, row=row, certificates=certificates, epoch=timed, layers=layers)
        for n, c in columns.items()
    }


def check_untouched_figures(place: Path, run: Ran, columns: Mapping[str, Column], file: str | Path) -> None:
    """Check what a file of runs says of a run by the run's evaluation, where that lies in its folder.

    Times, and columns at layers of the network, are left to `surgeon verify`.

    Args:
        place: The run's folder.
        run: What the file says of it.
        columns: What is asked, by name.
        file: The file.

    Raises:
        ArtifactError: The evaluation was changed, or gives another figure.
    """
    folder = place / EVALUATION
    if not (folder / RESULT).is_file():
        return
    result = read_assessment(folder)
    check_untouched(folder, result)
    asked = {n: c for n, c in columns.items() if c.of not in ON_LAYERS and c.of != "epoch"}
    columns_there = columns_of_run(place, run.row, asked)
    other = [n for n in columns_there if _counted(run.columns.get(n)) != _counted(columns_there[n])]
    said, now = (run.reliable, run.headline), (result.reliable, result.summary.headline is not None)
    if other or said != now:
        raise ArtifactError(
            f"{file} says of {run.row}, seed {run.seed}, what {folder} does not "
            f"({', '.join(other) or 'whether its number may be quoted'}): put back what was changed, or take this "
            "run out of the file, and it is read off its folder again"
        )


def _counted(figure: Measured | None) -> tuple[object, ...] | None:
    """What a measurement says, without what another version computes of it with another last bit."""
    if figure is None:
        return None
    share = figure.share and (figure.share.k, figure.share.n)
    return share, figure.right, *(v is not None and f"{v:.9g}" for v in (figure.time, figure.value))


def tested_in(place: Path) -> str:
    """Return the hash of the test images of a run's evaluation, in their order.

    Args:
        place: The run's folder.
    """
    images = {v["example"]: v["image"] for v in read_parquet(place / EVALUATION / VERDICTS)}
    return hash_of("".join(images[e] for e in sorted(images)))


def labelled_in(place: Path) -> str:
    """Return the hash of the labels of a run's test images, in their order, with the names of the classes.

    Args:
        place: The run's folder.
    """
    labels = {v["example"]: v["label"] for v in read_parquet(place / EVALUATION / VERDICTS)}
    names = read_assessment(place / EVALUATION).data.get("classes", ())
    return hash_of(json_text([*names, *(labels[e] for e in sorted(labels))]))


def seconds_an_epoch(place: Path) -> float | None:
    """Return how long an epoch of a run's training took: the median, without its validation.

    Args:
        place: The run's folder.

    Returns:
        Seconds; None for a training of no epoch.

    Raises:
        ArtifactError: The metrics of the training are not there or damaged.
    """
    epochs = _epochs(place)
    return median(epochs) if epochs else None


def recorded_seconds(place: Path) -> float:
    """Return how long the epochs and attacks of a run took by its records, whichever processes made them.

    Args:
        place: The run's folder.

    Returns:
        Seconds, without validation and without what an evaluation does beside its attacks.

    Raises:
        ArtifactError: The metrics of the training are not there or damaged.
    """
    attacks = (float(v["seconds"]) for v in read_parquet(place / EVALUATION / VERDICTS))
    return sum(_epochs(place)) + sum(s for s in attacks if math.isfinite(s))


def _epochs(place: Path) -> list[float]:
    """Return how many seconds each epoch of a training took."""
    images = read_mapping(place / SETTINGS)["contents"]["training images"]["images"]
    file = place / TRAINING / METRICS
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            return [images / float(row["images_per_second"]) for row in csv.DictReader(lines)]
    except (OSError, KeyError, ValueError, TypeError, ZeroDivisionError) as error:
        raise ArtifactError(f"{file} cannot be read: {' '.join(str(error).split())}") from None


def hash_of(text: str) -> str:
    """Return the SHA-256 of a text.

    Args:
        text: The text.
    """
    return hashlib.sha256(text.encode()).hexdigest()
