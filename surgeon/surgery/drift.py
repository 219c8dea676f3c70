"""How far a cut moved a network's logits."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import torch
from torch import Tensor, nn

from surgeon.edits import Drift
from surgeon.graph.trace import mode


def first_tensor(output: Any) -> Tensor | None:
    """The main output of a network: a tensor itself, or the first one in a tuple, list, dict or dataclass."""
    if isinstance(output, Tensor):
        return output
    if dataclasses.is_dataclass(output):
        output = vars(output)
    values = list(output.values()) if isinstance(output, dict) else output
    if isinstance(values, (list, tuple)):
        return next((t for v in values if (t := first_tensor(v)) is not None), None)
    return None


def compare_logits(
    before: nn.Module, after: nn.Module, images: Tensor, source: Literal["calibration", "noise"]
) -> Drift | None:
    """The drift between two networks in evaluation mode on `images` (N, C, H, W); None if they give no logits."""
    results = []
    for model in (before, after):
        like = next((p for p in model.parameters() if p.is_floating_point()), images)
        with mode(model, False), torch.no_grad():
            outputs = [first_tensor(model(part.to(like))) for part in images.split(16)]
        if any(o is None for o in outputs):
            return None
        results.append(torch.cat(outputs).double().flatten(1))  # type: ignore[arg-type]
    old, new = results
    if old.shape != new.shape:
        return None
    return Drift(
        relative=float((new - old).norm() / old.norm().clamp_min(1e-30)),
        agreement=float((old.argmax(1) == new.argmax(1)).double().mean()),
        images=len(images),
        source=source,
    )
