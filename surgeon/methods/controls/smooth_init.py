"""The operation `smooth-init`: convolutions that start from averaged kernels, without pooling.

A mean-KAP network trained by SGD is a stock network whose kernels start at A·W and whose gradients are
multiplied by A·Aᵀ. This control has the first without the second.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from surgeon.edits import Edit, Traits
from surgeon.errors import LayerError
from surgeon.methods.base import Context, Cut, FoldContext, Operation, Proposal
from surgeon.selection import Site

if TYPE_CHECKING:
    from torch import Generator, nn


class SmoothInit(Operation):
    """Replace W by A·W and b by A·b in each selected convolution, A the pooling matrix of KAP.

    Attributes:
        kernel_size: Side of the window on the sheet of channels; odd.
        dims: 2 for a sheet, 1 for a line of channels.

    Examples:
        >>> import surgeon
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 2, 6))
        >>> edit = surgeon.plan(network, "smooth-init", input_size=(3, 8, 8)).edits[0]
        >>> edit.site, edit.replaces, edit.layer
        ('0', True, None)
    """

    op: Literal["smooth-init"] = "smooth-init"
    kernel_size: int = Field(default=3, ge=1)
    dims: Literal[1, 2] = 2

    @field_validator("kernel_size")
    @classmethod
    def _has_a_centre(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError(f"{value} is even; a window needs a centre: {value - 1} or {value + 1}")
        return value

    def propose(self, sites: Sequence[Site], context: Context) -> Proposal:
        """Propose averaged kernels for each usable convolution.

        Args:
            sites: The sites of the network.
            context: Not used.

        Returns:
            The proposed edits.

        Raises:
            SelectionError: No usable site.
        """
        return self.propose_each(sites, self._edit, self._unfit)

    def _edit(self, site: Site) -> Edit:
        """Make the edit of one site."""
        return Edit(site=site.name, operation=self.op, replaces=True, effect="destroyed", traits=Traits())

    def _unfit(self, site: Site) -> str:
        """Return why a convolution cannot be averaged, or ""."""
        if site.altered:
            return site.altered
        from surgeon.methods.kap.sheet import pooled_sheet, sheet_shape

        if site.logits:
            return "its channels are the classes"
        if (site.groups or 1) > 1:
            return f"averaging would mix its {site.groups} groups"
        if site.standardized == "weights":
            return "its kernels are standardised, which undoes the averaging"
        try:
            pooled = pooled_sheet(sheet_shape(site.channels or 0, self.dims), self.kernel_size, 1, self.dims)
        except LayerError as error:
            return str(error)
        return "" if math.prod(pooled) == site.channels else "the sheet does not keep its channels"

    def build(self, edit: Edit, module: nn.Module | None, generator: Generator) -> Cut:
        """Make the convolution with averaged kernels.

        Args:
            edit: The edit.
            module: The convolution.
            generator: Not used.

        Returns:
            The replacement.
        """
        from surgeon.methods.kap.sheet import side_matrices
        from surgeon.methods.kap.weights import pool_weight
        from surgeon.tensors.convolution import effective_weight, with_weight

        conv: Any = module
        weight = effective_weight(conv)
        bias = None if conv.bias is None else conv.bias.detach()
        factors = side_matrices(weight.shape[0], self.kernel_size, 1, self.dims)
        shift = None if bias is None else pool_weight(bias, factors)
        return Cut(replacement=with_weight(conv, pool_weight(weight, factors), shift))

    def fold(self, edit: Edit, context: FoldContext) -> nn.Module | None:
        return None
