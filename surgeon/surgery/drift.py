"""Measure how far a cut moved the outputs of each of a network's layers."""

from __future__ import annotations

from torch import Tensor, nn

from surgeon.graph.rewritten.network import Rewritten
from surgeon.graph.rewritten.pairs import Pair, run_side_by_side
from surgeon.selection import INPUT
from surgeon.surgery.door import surgery_of
from surgeon.torch_private import ConvNd

_IMAGES = 64


def layer_drifts(before: nn.Module, after: nn.Module, images: Tensor) -> dict[str, float]:
    """Measure ‖after − before‖ / ‖before‖ of each convolution, linear layer and inserted layer.

    Args:
        before: The stock network.
        after: The rewritten network.
        images: (N, C, H, W), as the networks take them.

    Returns:
        The relative differences by layer, in execution order. A convolution with a pooling or mask behind it
        appears under that layer's name. Empty if torch.fx could not trace the network as a whole.
    """
    record = surgery_of(after)
    if record is None or not isinstance(after, Rewritten):
        return {}
    inserted = {e.layer: e.site for e in record.edits if e.layer and e.site != INPUT}
    replaced = {e.site for e in record.edits if e.replaces}
    behind = set(inserted.values())
    by_layer: dict[str, list[float]] = {}

    def seen(name: str, outputs: Pair) -> None:
        old, new = outputs
        layer = (
            name in inserted or name in replaced or isinstance(after.get_submodule(name), (ConvNd, nn.Linear))
        )
        same = isinstance(old, Tensor) and isinstance(new, Tensor) and old.shape == new.shape
        # A convolution with a layer behind it is left out: only both together have a stock counterpart.
        if layer and same and name not in behind:
            sums = by_layer.setdefault(name, [0.0, 0.0])
            sums[0] += float((new - old).double().square().sum())
            sums[1] += float(old.double().square().sum())

    like = next(p for p in before.parameters() if p.is_floating_point())
    for part in images.split(_IMAGES):
        run_side_by_side(after, before, part.to(like), seen=seen)
    return {name: (moved / whole) ** 0.5 if whole else 0.0 for name, (moved, whole) in by_layer.items()}
