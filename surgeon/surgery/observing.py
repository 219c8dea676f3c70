"""Statistics by channel of the stock network, where layers were inserted, over all calibration images.

They are taken in the pass in which weights are fitted to the same images (`refit.py`), where there is one that runs on
all of them at once; otherwise in a pass of the stock network alone, in batches.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from torch import Tensor, nn

from surgeon.edits import Edit
from surgeon.errors import LayerError, SurgeryError
from surgeon.graph.network import Rewritten
from surgeon.graph.pairs import Call, run_stock
from surgeon.methods.base import Operation
from surgeon.progress import tell
from surgeon.surgery.attempt import Attempt
from surgeon.surgery.searching import first_values
from surgeon.tensors.channel_statistics import ChannelStatistics

_IMAGES = 64


class Observation:
    """The statistics that the edits of an attempt ask for.

    Args:
        attempt: The network after the cut; its inserted layers are set up by their operations once their
            statistics are complete, and then get the first value of a search.

    Attributes:
        left: The edits whose layers are not set up yet, by layer.
    """

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.left: dict[str, Edit] = {
            str(e.layer): e
            for e in attempt.made.edits
            if attempt.operations[e.operation].observe(e) is not None
        }
        self._found: dict[str, ChannelStatistics] = {}

    @property
    def can_join(self) -> bool:
        """Whether each layer can be set up at its call in another pass.

        Not one that is called again later, nor one that says what it lets through (`Operation.passes`), which
        the convolution before it is fitted by.
        """
        network = self.attempt.network
        if not isinstance(network, Rewritten):
            return False
        calls = Counter(str(n.target) for n in network.eval_graph.nodes if n.op == "call_module")
        operations = (self.attempt.operations[e.operation] for e in self.left.values())
        return all(calls[name] == 1 for name in self.left) and all(
            type(o).passes is Operation.passes for o in operations
        )

    def alone(self, stock: nn.Module, images: Tensor) -> None:
        """Take all statistics in a pass of the stock network, and set up the layers.

        Args:
            stock: The network before the cut.
            images: (N, C, H, W) calibration images.

        Raises:
            SurgeryError: The values at a site are not finite, or not of the recorded channels.
        """
        network = self.attempt.network
        if self.left and isinstance(network, Rewritten):
            like = next((p for p in stock.parameters() if p.is_floating_point()), images)
            for start in range(0, len(images), _IMAGES):
                tell("statistics of", start, len(images))
                run_stock(network, stock, images[start : start + _IMAGES].to(like), self._add)
            tell("statistics of", len(images), len(images))
        for name in list(self._found):
            self._set_up(name)
        self.close(len(images))

    def at(self, call: Call) -> None:
        """Take the statistics of one layer from its only call in another pass, and set it up.

        Args:
            call: The call; others than those of `left` are passed over.

        Raises:
            SurgeryError: As for `alone`.
        """
        if call.name in self.left and isinstance(call.old, Tensor):
            for part in call.old.split(_IMAGES):
                self._add(call.name, part)
            self._set_up(call.name)

    def close(self, number: int) -> None:
        """Record how many images were seen, and the edits that no call of the network reached as unfitted."""
        for edit in self.left.values():
            self.attempt.unfitted[edit.site] = "it lies where torch.fx cannot follow the network as a whole"
        if self.left or self._found:
            self.attempt.observed = number
        self.left = {}

    def _add(self, name: str, values: Any) -> None:
        """Take in the values of one batch at one layer."""
        edit = self.left.get(name)
        if edit is None or not isinstance(values, Tensor):
            return
        try:
            if name not in self._found:
                wanted = self.attempt.operations[edit.operation].observe(edit)
                assert wanted is not None
                self._found[name] = ChannelStatistics(
                    wanted.channels,
                    wanted.axis,
                    covariance=wanted.covariance,
                    quantiles=wanted.quantiles,
                    seed=edit.seed % 2**63,
                    of=wanted.of,
                )
            self._found[name].update(values)
        except LayerError as error:
            raise SurgeryError(f"{edit.operation} at {edit.site}: {error}") from error

    def _set_up(self, name: str) -> None:
        """Give a layer its statistics, and the first value of a search."""
        edit = self.left.pop(name)
        layer = self.attempt.network.get_submodule(name)
        self.attempt.operations[edit.operation].calibrate(edit, layer, self._found[name])
        first_values(self.attempt, [edit])
