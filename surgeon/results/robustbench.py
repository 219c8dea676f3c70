"""An evaluation as an entry of RobustBench."""

from __future__ import annotations

from typing import Any

from surgeon.results.assessment import Assessment
from surgeon.results.benchmark import autoattack, dataset_of
from surgeon.results.shifted import Shift
from surgeon.results.threat import size_text

_NORMS = {"linf": "Linf", "l2": "L2"}
_CORRUPTED = {"CIFAR-10-C": "cifar10", "CIFAR-100-C": "cifar100", "ImageNet-C": "imagenet"}


def model_info(assessment: Assessment) -> dict[str, Any]:
    """Return a `model_info` entry of RobustBench, with accuracies in percent as text.

    Args:
        assessment: The evaluation.

    Returns:
        The entry; None for fields that the authors must fill in. `autoattack_acc` is what AutoAttack's four
        standard attacks leave of the whole test set of one of RobustBench's data sets (10,000 images; of
        ImageNet its list of 5,000), with a headline; else None, and the footnote says why. `external` is there
        where further attacks leave less, and only then: RobustBench ranks by it as soon as an entry has it.
        `corruptions_acc` and `corruptions_mce` are of the whole published sets (`--shift`). `unreliable` is true
        unless the diagnostics passed.
    """
    s = assessment.summary
    main, known, lacking = s.main, autoattack(assessment), assessment.benchmark_lacks
    whole = known is not None and not lacking and s.headline is not None
    corrupted = _corrupted(assessment)
    entry: dict[str, Any] = {
        "link": None,
        "name": assessment.subject.name,
        "authors": None,
        "additional_data": None,
        "number_forward_passes": 1,
        "dataset": dataset_of(assessment.data),
        "venue": None,
        "architecture": assessment.subject.model
        + (f" with {assessment.subject.recipe}" if assessment.subject.recipe else ""),
        "eps": _size(main.norm, main.eps) if main else None,
        "norm": _NORMS.get(main.norm) if main else None,
        "clean_acc": _percent(s.clean.value),
        "reported": _percent(s.headline.share.value) if s.headline else None,
        "autoattack_acc": _percent(known.share.value) if known and whole else None,
    }
    lower = known is not None and whole and s.lowest.value < known.share.value
    if lower:
        entry["external"] = _percent(s.lowest.value)
    accuracy = None if corrupted is None or corrupted.error is None else 1 - corrupted.error
    mce = None if corrupted is None else corrupted.mce
    entry |= {
        "corruptions_acc": None if accuracy is None else _percent(accuracy),
        "corruptions_mce": None if mce is None else _percent(mce),
        "unreliable": not bool(assessment.reliable),
        "footnote": "; ".join(_footnotes(assessment, lower, corrupted)) or None,
    }
    return entry


def _footnotes(assessment: Assessment, lower: bool, corrupted: Shift | None) -> list[str]:
    s = assessment.summary
    notes = [*s.refused] or ([s.headline.text] if s.headline else [])
    notes += [f"no autoattack_acc: {reason}" for reason in assessment.benchmark_lacks]
    if lower:
        notes.append(
            "external: AutoAttack and all other attacks of this norm and size together, image by image"
        )
    if corrupted is not None:
        notes.append(f"corruptions_acc: {corrupted.name}, {corrupted.images:,} images in each part")
    return notes


def _corrupted(assessment: Assessment) -> Shift | None:
    """What was measured on the whole corrupted set of the evaluation's own data set."""
    own = dataset_of(assessment.data)
    return next((s for s in assessment.shifts if s.whole and own and _CORRUPTED.get(s.name) == own), None)


def _size(norm: str, eps: float | None) -> str | None:
    return None if eps is None else size_text(norm, eps).partition(" ")[2]


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"
