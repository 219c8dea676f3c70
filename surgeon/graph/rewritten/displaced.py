"""What a surgery took out of a network, which a revert brings back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn


@dataclass
class Displaced:
    """What a surgery took out of a network.

    Attributes:
        modules: Replaced modules, by site.
        statistics: Old values of what was set in other modules, by tensor name.
        standing: What surgery left at each site (`standing.py`).
        implants: The modules that it put in, as it left them (`implants.py`).
    """

    modules: dict[str, nn.Module] = field(default_factory=dict)
    statistics: dict[str, Tensor] = field(default_factory=dict)
    standing: dict[str, Any] = field(default_factory=dict)
    """What it left at each site (`standing.py`); computed again when a folder is loaded."""
    implants: dict[str, Any] = field(default_factory=dict)
    """The modules that it put in (`implants.py`); described again when a folder is loaded."""

    def beside(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Leave out the values of modules in whose places replaced ones come back.

        Args:
            values: Values by tensor name.

        Returns:
            The others.
        """
        return {n: v for n, v in values.items() if not any(n.startswith(f"{site}.") for site in self.modules)}
