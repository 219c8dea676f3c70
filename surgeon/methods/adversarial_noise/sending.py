"""What adversarial noise layers drew for a batch goes to a GPU at once, where each layer would send its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from surgeon.methods.adversarial_noise import class_cache
from surgeon.methods.adversarial_noise.module import AdversarialNoise
from surgeon.tensors.gpu import sent


def send(layers: Sequence[AdversarialNoise], labels: Any) -> None:
    """Send magnitudes and ranks to the labels' GPU, and find which samples speak for their classes; nothing on a CPU."""
    if not (layers and isinstance(labels, Tensor) and labels.is_cuda):
        return
    drawn = [(layer, layer._magnitude) for layer in layers if layer._magnitude is not None]
    if drawn:
        whole = sent(torch.cat([r for _, r in drawn]), labels.device)
        for (layer, _), r in zip(drawn, whole.split([len(r) for _, r in drawn]), strict=True):
            layer._magnitude = r
    ranked = [(layer, layer._rank) for layer in layers if layer._rank is not None and layer._plain]
    if ranked:
        classes = ranked[0][0].num_classes or 0  # others than those find their own
        ranked = [(layer, rank) for layer, rank in ranked if layer.num_classes == classes]
        ranks = sent(torch.stack([rank for _, rank in ranked]), labels.device)
        speaking = class_cache.speakers(labels.long(), ranks, classes)
        for (layer, _), rank, own in zip(ranked, ranks, speaking, strict=True):
            layer._rank, layer._speaking = rank, own
