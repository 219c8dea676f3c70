"""A network after a cut, before anybody has decided that it is the one to keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from surgeon.edits import Plan
from surgeon.methods.base import Operation
from surgeon.surgery.tree import Displaced


@dataclass
class Attempt:
    """A network after the cut: its plan alone (`made`) and with what was done before (`record`), and what came with it."""

    network: nn.Module
    tree: nn.Module
    made: Plan
    record: Plan
    operations: Mapping[str, Operation]
    displaced: Displaced
    residuals: dict[str, float]
    unfitted: dict[str, str] = field(default_factory=dict)
    statistics: int = 0

    @property
    def approximates(self) -> bool:
        """Whether batch norms see other inputs than they did."""
        return self.record.effect in ("approximated", "destroyed")
