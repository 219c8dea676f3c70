"""Adversarial images of a whole test set, as RobustBench takes them for an external evaluation.

Its template asks for a `.pt` tensor of the same size as the test set (github.com/RobustBench/robustbench,
.github/ISSUE_TEMPLATE): float32 (N, C, H, W) in [0, 1], in the order of the test set.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from surgeon.disk.files import write_bytes
from surgeon.evaluation.engine.kept import adversarial_images
from surgeon.results.benchmark import TEST_IMAGES, dataset_of
from surgeon.results.verdict import Outcome

EXTERNAL = "adversarial.pt"


def is_whole(data: Mapping[str, Any], examples: Sequence[int] | None, count: int) -> bool:
    """Whether images are the whole CIFAR test set, in its order.

    RobustBench's ImageNet images have an order of their own, which no evaluation here has.

    Args:
        data: What the evaluation says of its images.
        examples: Index of each image in its data set; None for 0 to N − 1.
        count: Number of images.
    """
    dataset = dataset_of(data)
    in_order = examples is None or list(examples) == list(range(count))
    return dataset in ("cifar10", "cifar100") and count == TEST_IMAGES[dataset] and in_order


def write_external(folder: Path, blocks: Path, outcome: Outcome, images: Tensor) -> None:
    """Write the adversarial images of an evaluation's main threat.

    Args:
        folder: The evaluation's folder, which gets adversarial.pt.
        blocks: The folder of the attacks' blocks.
        outcome: The verdicts.
        images: (N, C, H, W) clean images, in the order of the test set.
    """
    held = io.BytesIO()
    torch.save(adversarial_images(blocks, outcome, images).contiguous(), held)
    write_bytes(folder / EXTERNAL, held.getvalue())
