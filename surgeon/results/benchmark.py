"""Which of RobustBench's data sets an evaluation's images are. No torch here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from surgeon.results.statistics import Share

if TYPE_CHECKING:
    from surgeon.results.assessment import Assessment

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard
lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark
shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone
television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
CIFAR100 = tuple(_NAMES.split())
TEST_IMAGES = {"cifar10": 10_000, "cifar100": 10_000, "imagenet": 5_000}
"""How many test images RobustBench evaluates on; of ImageNet those of a list of its own."""
STANDARD = ("apgd-ce", "apgd-t", "fab-t", "square")
"""AutoAttack's standard attacks, in their order (Croce & Hein 2020)."""
_NAMED = {"torch/cifar10": "cifar10", "torch/cifar100": "cifar100", "torch/imagenet": "imagenet"}
_WORDNET = re.compile(r"n\d{8}")


def dataset_of(data: Mapping[str, Any]) -> str | None:
    """Return RobustBench's name of a data set.

    Args:
        data: What an evaluation says of its images: `source`, `split`, `classes`.

    Returns:
        "cifar10", "cifar100" or "imagenet", by the source's name or else by the classes' names; None for other
        images, and for training images.
    """
    if data.get("split") == "train" and str(data.get("source", "")).lower() in _NAMED:
        return None
    named = _NAMED.get(str(data.get("source", "")).lower())
    if named:
        return named
    classes = tuple(str(c).strip().lower().replace(" ", "_") for c in data.get("classes") or ())
    if classes == CIFAR10:
        return "cifar10"
    # One copy in circulation has a slip of the pen in one name.
    if len(classes) == 100 and sum(a == b for a, b in zip(classes, CIFAR100, strict=True)) >= 99:
        return "cifar100"
    if len(classes) == 1000 and all(_WORDNET.fullmatch(c) for c in classes):
        return "imagenet"
    return None


class AutoAttacked(NamedTuple):
    """Accuracy under AutoAttack's four standard attacks, and before the last of them."""

    share: Share
    before_square: float


def autoattack(assessment: Assessment) -> AutoAttacked | None:
    """Return the accuracy that the standard version of AutoAttack leaves, without what else was attacked with.

    Args:
        assessment: The evaluation.

    Returns:
        The accuracy of the main threat; None where not all four attacks were made.
    """
    main = assessment.summary.main
    if main is None or main.group != "standard" or not assessment.summary.complete:
        return None
    rows = {
        r.attack: r
        for r in assessment.summary.rows
        if (r.group, r.norm, r.eps) == (main.group, main.norm, main.eps) and r.source is None and r.cascade
    }
    if not {*STANDARD} <= {*rows}:
        return None
    return AutoAttacked(rows[STANDARD[-1]].shares[0], rows[STANDARD[-2]].shares[0].value)


def lacks(assessment: Assessment) -> tuple[str, ...]:
    """Say what an evaluation lacks for an entry of RobustBench's leaderboards by AutoAttack.

    Args:
        assessment: The evaluation.

    Returns:
        One clause for each thing; () for whole AutoAttack on the whole test set.
    """
    dataset, count = dataset_of(assessment.data), assessment.summary.clean.n
    reasons = []
    if dataset is None:
        reasons.append("the images are of no data set of RobustBench (cifar10, cifar100, imagenet)")
    elif count != TEST_IMAGES[dataset]:
        reasons.append(f"{count:,} of {TEST_IMAGES[dataset]:,} test images of {dataset} were attacked")
    elif dataset == "imagenet" and not assessment.data.get("robustbench"):
        reasons.append("nothing says that the images are the 5,000 of RobustBench's list")
    elif dataset != "imagenet" and assessment.data.get("split") not in ("test", "val"):
        reasons.append(f"nothing says that the images are the test images of {dataset}")
    if autoattack(assessment) is None:
        reasons.append("AutoAttack's four standard attacks were not all made")
    return tuple(reasons)
