"""A network after a cut, before it is known whether it is the one to keep."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from torch import nn

from surgeon.edits import Plan
from surgeon.execution import Searched
from surgeon.graph.module_tree import Displaced
from surgeon.methods.base import Operation, Search
from surgeon.methods.registry import parse


@dataclass
class Attempt:
    """A network after the cut.

    Attributes:
        network: The rewritten network.
        tree: The same modules as a plain tree, without graphs.
        made: The plan that was carried out.
        record: That plan together with earlier surgery.
        operations: The operations by key.
        displaced: What the cut took out of the network.
        residuals: Relative error of least-squares starts, by site.
        unfitted: Why sites were not fitted to images, by site.
        statistics: Images that batch-norm statistics were re-estimated on.
        searches: How settings were chosen on images, by operation.
        observed: Images that statistics by channel were taken from.
    """

    network: nn.Module
    tree: nn.Module
    made: Plan
    record: Plan
    operations: Mapping[str, Operation]
    displaced: Displaced
    residuals: dict[str, float]
    unfitted: dict[str, str] = field(default_factory=dict)
    statistics: int = 0
    searches: dict[str, Searched] = field(default_factory=dict)
    observed: int = 0

    @property
    def approximates(self) -> bool:
        """Whether batch norms receive other inputs than before the cut, and are to measure them."""
        return restates(self.made)

    @property
    def fits(self) -> bool:
        """Whether something is taken from calibration images: weights, statistics by channel, or a setting."""
        return bool(needs_data(self.made)) or bool(self.searching)

    @property
    def searching(self) -> dict[str, Search]:
        """The searches that operations ask for, by operation."""
        asked = {key: operation.search() for key, operation in self.operations.items()}
        return {key: found for key, found in asked.items() if found is not None}


def restates(record: Plan, *, but: Collection[str] = ()) -> bool:
    """Say whether batch norms receive other inputs than before the cut, and are to measure them.

    Args:
        record: The plan.
        but: Operations that do not count.

    Returns:
        Whether an edit that changes the function is of an operation that does not keep the statistics.
    """
    return any(
        e.effect in ("approximated", "destroyed")
        and e.operation not in but
        and not parse(record.operations[e.operation]).keeps_statistics
        for e in record.edits
    )


def needs_data(record: Plan) -> str:
    """Say what of a plan starts from calibration images.

    Args:
        record: The plan.

    Returns:
        A few words, such as "start 'sequential'"; empty if nothing does.
    """
    operations = {key: parse(settings) for key, settings in record.operations.items()}
    needed = {
        words for e in record.edits for words in operations[e.operation].needs_images(e).split(", ") if words
    }
    return ", ".join(sorted(needed, reverse=True))
