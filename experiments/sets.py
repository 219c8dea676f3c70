"""MNIST and CIFAR-10 as JPEG from a folder, in the splits of the papers: a tenth of the training set validates."""

from __future__ import annotations

from pathlib import Path

import torch

from surgeon.data import Images, labelled


def mnist(root: str, *, count: int | None = None) -> dict[str, Images]:
    """(N, 1, 28, 28) bytes; `count` training images instead of 54,000."""
    from torchvision.datasets import MNIST

    whole, test = (MNIST(root, train=train) for train in (True, False))
    return _split(
        Images(whole.data.unsqueeze(1), whole.targets), Images(test.data.unsqueeze(1), test.targets), count
    )


def cifar(root: str) -> dict[str, Images]:
    """(N, 3, 32, 32) bytes, from the two parquet files of Hugging Face's layout."""
    folder = Path(root) / "cifar10-jpeg"
    sets = []
    for split in ("train", "test"):
        read = labelled(next(folder.glob(f"{split}-*.parquet")), (3, 32, 32))
        sets.append(Images((read.x * 255).round().to(torch.uint8), read.y))
    return _split(*sets, None)


def _split(whole: Images, test: Images, count: int | None) -> dict[str, Images]:
    order = torch.randperm(len(whole.x), generator=torch.Generator().manual_seed(0))
    val, train = order[: len(order) // 10], order[len(order) // 10 :][:count]
    return {
        "train": Images(whole.x[train], whole.y[train]),
        "val": Images(whole.x[val], whole.y[val]),
        "test": test,
    }
