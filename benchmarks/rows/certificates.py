"""Certification against the model's own inference on as many noisy images."""

from __future__ import annotations

from collections.abc import Iterator

import torch

import surgeon
from benchmarks.timing import Asked, Comparison
from surgeon.evaluation import certify

SIZE = (3, 32, 32)


def comparisons(asked: Asked) -> Iterator[Comparison]:
    """Samples per second, ResNet-20, batches of 512 at 32 pixels."""
    images, n = (2, 100) if asked.small else (8, 1000 if asked.device == "cpu" else 10_000)
    torch.manual_seed(0)
    x, y = torch.rand(images, *SIZE), torch.zeros(images, dtype=torch.long)
    model = surgeon.create_model("zoo/cifar_resnet20").to(asked.device).eval()
    draws = images * (n + 100)

    def own() -> None:
        certify(model, x, y, sigma=0.25, n0=100, n=n, batch_size=512)

    def inference() -> None:
        batch = torch.rand(512, *SIZE, device=asked.device)
        with torch.no_grad():
            for done in range(0, draws, 512):
                model(batch[: draws - done])

    yield Comparison(
        "certification, samples a second",
        "inference",
        inference,
        {"ResNet-20 at 32 px": own},
        1 if asked.small else min(asked.repeats, 5),
        more=True,
    )
