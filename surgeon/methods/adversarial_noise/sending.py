"""Send what noise layers drew for a batch to a GPU in one transfer, instead of one per layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from surgeon.methods.adversarial_noise import class_cache
from surgeon.methods.adversarial_noise.batch import Batch
from surgeon.tensors.gpu import sent


def send(batches: Sequence[Batch], labels: Any) -> None:
    """Send magnitudes and ranks to the labels' GPU, and find the samples to cache; nothing to do on a CPU.

    Args:
        batches: What each layer holds for the batch; updated in place.
        labels: (N,), the classes, or whatever else the batch has.
    """
    if not (batches and isinstance(labels, Tensor) and labels.is_cuda):
        return
    drawn = [(batch, batch.magnitude) for batch in batches if batch.magnitude is not None]
    if drawn:
        whole = sent(torch.cat([r for _, r in drawn]), labels.device)
        for (batch, _), r in zip(drawn, whole.split([len(r) for _, r in drawn]), strict=True):
            batch.magnitude = r
    ranked = [(batch, batch.rank) for batch in batches if batch.rank is not None and batch.classes]
    if ranked:
        classes = ranked[0][0].classes  # layers with another number find their own
        ranked = [(batch, rank) for batch, rank in ranked if batch.classes == classes]
        ranks = sent(torch.stack([rank for _, rank in ranked]), labels.device)
        speaking = class_cache.speakers(labels.long(), ranks, classes)
        for (batch, _), rank, own in zip(ranked, ranks, speaking, strict=True):
            batch.rank, batch.speaking = rank, own
