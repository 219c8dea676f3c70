"""A network after a cut, before it is known whether it is the one to keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from surgeon.edits import Edit, Plan
from surgeon.execution import Searched
from surgeon.graph.rewritten.displaced import Displaced
from surgeon.methods.base import Operation, Search


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
        approximates: Whether batch norms receive other inputs than before the cut, and are to measure them.
        searching: The searches that operations ask for, by operation.
        fits: Whether something is taken from calibration images: weights, statistics by channel, or a setting.
        unfitted: The edits that were not fitted to images, each with the reason.
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
    approximates: bool
    searching: Mapping[str, Search]
    fits: bool
    unfitted: list[tuple[Edit, str]] = field(default_factory=list)
    statistics: int = 0
    searches: dict[str, Searched] = field(default_factory=dict)
    observed: int = 0
