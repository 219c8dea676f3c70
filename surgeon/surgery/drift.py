"""How far a cut moved a network's logits, and the outputs of each of its layers."""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
from torch import Tensor, nn

from surgeon.edits import Drift
from surgeon.graph.measure import images_of
from surgeon.graph.network import Rewritten
from surgeon.graph.pairs import Pair, run_side_by_side
from surgeon.graph.trace import mode
from surgeon.graph.watch import left_alone
from surgeon.selection import INPUT
from surgeon.surgery.door import surgery_of
from surgeon.torch_private import ConvNd

_IMAGES = 64


def first_tensor(output: object) -> Tensor | None:
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
    before: nn.Module, after: nn.Module, images: Tensor, source: Literal["test", "calibration", "noise"]
) -> Drift | None:
    """The drift between two networks in evaluation mode on `images` (N, C, H, W); None if they give no logits."""
    return drift_of(logits_of(before, images), logits_of(after, images), source)


def logits_of(model: nn.Module, images: Tensor) -> Tensor | None:
    """What a network gives in evaluation mode for `images` (N, C, H, W), (N, …) float64; None where that is no tensor."""
    like = next((p for p in model.parameters() if p.is_floating_point()), images)
    with left_alone(model), mode(model, False), torch.no_grad():
        found = [first_tensor(model(*[part.to(like)] * images_of(model))) for part in images.split(16)]
    given = [f for f in found if f is not None]
    return torch.cat(given).double().flatten(1) if len(given) == len(found) else None


def drift_of(
    old: Tensor | None, new: Tensor | None, source: Literal["test", "calibration", "noise"]
) -> Drift | None:
    """The drift of logits, (N, …) as `logits_of` gives them; None where they cannot be compared."""
    if old is None or new is None or old.shape != new.shape:
        return None
    return Drift(
        relative=float((new - old).norm() / old.norm().clamp_min(1e-30)),
        agreement=float((old.argmax(1) == new.argmax(1)).double().mean()),
        images=len(old),
        source=source,
    )


def layer_drifts(before: nn.Module, after: nn.Module, images: Tensor) -> dict[str, float]:
    """‖after − before‖ / ‖before‖ of what each convolution, linear layer and inserted layer gives, in execution order.

    images: (N, C, H, W), as the networks take them. A convolution with a pooling or mask behind it is told by that layer's
    name. Empty where torch.fx could not follow the network as a whole.
    """
    record = surgery_of(after)
    if record is None or not isinstance(after, Rewritten):
        return {}
    inserted = {e.layer: e.site for e in record.edits if e.layer and e.site != INPUT}
    replaced = {e.site for e in record.edits if e.replaces}
    behind = set(inserted.values())
    found: dict[str, list[float]] = {}

    def seen(name: str, outputs: Pair) -> None:
        old, new = outputs
        layer = (
            name in inserted or name in replaced or isinstance(after.get_submodule(name), (ConvNd, nn.Linear))
        )
        same = isinstance(old, Tensor) and isinstance(new, Tensor) and old.shape == new.shape
        if layer and same and name not in behind:
            sums = found.setdefault(name, [0.0, 0.0])
            sums[0] += float((new - old).double().square().sum())
            sums[1] += float(old.double().square().sum())

    like = next(p for p in before.parameters() if p.is_floating_point())
    for part in images.split(_IMAGES):
        run_side_by_side(after, before, part.to(like), seen=seen)
    return {name: (moved / whole) ** 0.5 if whole else 0.0 for name, (moved, whole) in found.items()}
