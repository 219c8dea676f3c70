"""Statistics by channel where layers were inserted, in one pass of the stock network over all calibration images."""

from __future__ import annotations

from torch import Tensor, nn

from surgeon.edits import Edit
from surgeon.errors import LayerError, SurgeryError
from surgeon.graph.network import Rewritten
from surgeon.graph.pairs import Call, run_side_by_side
from surgeon.progress import tell
from surgeon.surgery.attempt import Attempt
from surgeon.tensors.channel_statistics import ChannelStatistics

_IMAGES = 64


def observing(attempt: Attempt) -> list[Edit]:
    """List the edits of an attempt that take statistics.

    Args:
        attempt: The network after the cut.

    Returns:
        The edits.
    """
    return [e for e in attempt.made.edits if attempt.operations[e.operation].observe(e) is not None]


def observe(attempt: Attempt, stock: nn.Module, images: Tensor) -> None:
    """Take the statistics that edits ask for, and give them to their operations.

    Edits that no call of the network reaches are recorded as unfitted.

    Args:
        attempt: The network after the cut; its inserted layers are set up.
        stock: The network before the cut.
        images: (N, C, H, W) calibration images.

    Raises:
        SurgeryError: The values at a site are not finite, or not of the recorded channels.
    """
    edits = {e.layer: e for e in observing(attempt)}
    if not edits:
        return
    found: dict[str, ChannelStatistics] = {}
    if isinstance(attempt.network, Rewritten):
        like = next((p for p in stock.parameters() if p.is_floating_point()), images)

        def seen(call: Call) -> None:
            edit = edits.get(call.name)
            if edit is not None and isinstance(call.old, Tensor):
                _add(found, edit, attempt, call.old)

        for start in range(0, len(images), _IMAGES):
            tell("statistics of", start, len(images))
            run_side_by_side(attempt.network, stock, images[start : start + _IMAGES].to(like), seen)
        tell("statistics of", len(images), len(images))
    for edit in edits.values():
        statistics = found.get(str(edit.layer))
        if statistics is None:
            attempt.unfitted[edit.site] = "it lies where torch.fx cannot follow the network as a whole"
            continue
        layer = attempt.network.get_submodule(str(edit.layer))
        attempt.operations[edit.operation].calibrate(edit, layer, statistics)
    attempt.observed = len(images)


def _add(found: dict[str, ChannelStatistics], edit: Edit, attempt: Attempt, values: Tensor) -> None:
    """Take in the values of one batch at one edit."""
    wanted = attempt.operations[edit.operation].observe(edit)
    assert wanted is not None and edit.layer is not None
    statistics = found.setdefault(
        edit.layer,
        ChannelStatistics(
            wanted.channels,
            wanted.axis,
            covariance=wanted.covariance,
            quantiles=wanted.quantiles,
            seed=edit.seed % 2**63,
        ),
    )
    try:
        statistics.update(values)
    except LayerError as error:
        raise SurgeryError(f"{edit.operation} at {edit.site}: {error}") from error
