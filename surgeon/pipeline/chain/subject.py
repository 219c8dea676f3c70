"""Check an evaluation's subject: its weights, its images, and predictions that match its verdicts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from surgeon.data import HeldOut
from surgeon.disk.files import read_parquet, read_rows
from surgeon.errors import ArtifactError
from surgeon.evaluation.attacks.preconditions import SAID, check_said
from surgeon.evaluation.engine.fingerprints import image_hashes, joined, weights_hash
from surgeon.evaluation.engine.subject import prepare
from surgeon.evaluation.suites import keeps, samples_of
from surgeon.pipeline.chain import kept
from surgeon.pipeline.chain.checking import Misfit, Unknown, checked
from surgeon.pipeline.chain.comparing import demand_equal
from surgeon.recipe import Evaluation
from surgeon.results.assessment import Assessment, Subject
from surgeon.results.counts import DRAWS
from surgeon.results.files import VERDICTS
from surgeon.results.verdict import Verdict
from surgeon.surgery.door import surgery_of
from surgeon.verification import Check

_MEASURED = {"name", "fold_error", "images_per_second", "stock_images_per_second", "speed_factor"}
"""Fields of a subject that differ between machines, or are names."""


def subject_checks(
    folder: Path,
    assessment: Assessment,
    network: Callable[[], nn.Module],
    images: Callable[[int | None], HeldOut],
) -> list[Check]:
    """The checks of an evaluation's network and images by their hashes, and of the network's predictions.

    Args:
        folder: the evaluation's folder.
        assessment: its results.
        network: gives the network.
        images: gives a number of the test images.
    """
    models, shown = list[nn.Module](), list[HeldOut]()
    checks = [
        checked("network", lambda: _network(assessment, network, models)),
        checked("images", lambda: _images(folder, assessment, images, shown)),
    ]
    checks.append(checked("predictions", lambda: _said(folder, assessment, models, shown)))
    if keeps(Evaluation.model_validate(assessment.settings["evaluation"])) or (folder / kept.FOLDER).is_dir():
        checks.append(checked("adversarial images", lambda: _adversarial(folder, assessment, models, shown)))
    return checks


def _network(assessment: Assessment, network: Callable[[], nn.Module], models: list[nn.Module]) -> str:
    model = network()
    now = weights_hash(model)
    if now != assessment.subject.weights:
        raise Misfit(
            f"the network's weights ({now}) are not those that were evaluated ({assessment.subject.weights})"
        )
    if assessment.settings["weights"] != now:
        raise Misfit(f"the settings are of other weights ({assessment.settings['weights']})")
    if assessment.plan != surgery_of(model):
        raise Misfit("the network's record is not that of the network that was evaluated")
    models.append(model)
    return f"weights {now}"


def _images(
    folder: Path, assessment: Assessment, images: Callable[[int | None], HeldOut], shown: list[HeldOut]
) -> str:
    if not assessment.data.get("source"):
        raise Unknown("the record does not say where they are from")
    settings = Evaluation.model_validate(assessment.settings["evaluation"])
    test = images(samples_of(settings, assessment.subject.classes))
    hashes = image_hashes(test.x)
    if joined([*hashes, *map(str, test.y.tolist())]) != assessment.data["images"]:
        raise Misfit(f"{assessment.data['source']} gives other test images: {_other(folder, hashes, test.y)}")
    shown.append(test)
    return f"{len(test.x)} images of {assessment.data['source']}"


def _other(folder: Path, hashes: list[str], labels: Tensor) -> str:
    before = [(r["image"], r["label"]) for r in read_parquet(folder / VERDICTS) if r["attack"] == "none"]
    now = list(zip(hashes, labels.tolist(), strict=True))
    if len(now) != len(before):
        return f"{len(now)}, not {len(before)}"
    pixels = sum(a[0] != b[0] for a, b in zip(before, now, strict=True))
    return f"{pixels} of {len(now)} changed" if pixels else "other labels"


def _prepared(assessment: Assessment, models: list[nn.Module], shown: list[HeldOut]) -> tuple[Any, Subject]:
    if not models or not shown:
        raise Unknown("needs the network and the images that were evaluated")
    settings = Evaluation.model_validate(assessment.settings["evaluation"])
    return prepare(
        models[0],
        shown[0].x,
        shown[0].y,
        settings.mode,
        name=assessment.subject.name,
        probabilities=assessment.settings["probabilities"],
        seed=assessment.settings["seed"],
    )


def _said(folder: Path, assessment: Assessment, models: list[nn.Module], shown: list[HeldOut]) -> str:
    subject, described = _prepared(assessment, models, shown)
    pair = [s.model_dump(mode="json", exclude=_MEASURED) for s in (assessment.subject, described)]
    demand_equal(pair[0], pair[1], "the network is not what was evaluated: subject")
    rows = [v for v in read_rows(folder / VERDICTS, Verdict) if v.attack == "none"]
    draws = DRAWS if described.mode == "random" else 1
    try:
        check_said(
            subject, shown[0].x, shown[0].y, rows, draws=draws, seed=assessment.settings["seed"], where=folder
        )
    except ArtifactError:
        raise Misfit("the network does not give the verdicts that are recorded") from None
    return f"of the first {min(SAID, len(rows))} images, as the verdicts tell"


def _adversarial(folder: Path, assessment: Assessment, models: list[nn.Module], shown: list[HeldOut]) -> str:
    subject, described = _prepared(assessment, models, shown)
    return kept.check_kept(folder, subject, shown[0], random=described.random)
