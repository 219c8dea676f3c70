"""The operation `smooth-activation` (arXiv 2006.14536): a smooth function in place of ReLU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from surgeon.edits import Edit, Growth, Traits
from surgeon.methods.activation_sites import activations, function_at, numbers_at
from surgeon.methods.base import Context, Cut, FoldContext, Operation, Proposal, Search
from surgeon.methods.searching import demand_one_way
from surgeon.selection import Site

if TYPE_CHECKING:
    from torch import Generator, nn

_SMOOTHNESS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""The values of 1/β that are tried. The first is as good as ReLU: it differs by less than 0.007."""


class SmoothActivation(Operation):
    """Replace ReLU by a smooth function, f(β x) / β.

    Attributes:
        to: f: "silu", "gelu" or "softplus".
        beta: β. Default: searched on the calibration images if there are any, otherwise 1.
        budget: For the search: largest share of predictions that may change.

    Examples:
        >>> import surgeon
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        >>> surgeon.apply(network, "smooth-activation", input_size=(3, 8, 8), to="gelu").get_submodule("1.smooth")
        SmoothReLU(gelu)
    """

    kind = "activation"
    consumes = True
    shows_slope = True
    op: Literal["smooth-activation"] = "smooth-activation"
    to: Literal["silu", "gelu", "softplus"] = "silu"
    beta: float | None = Field(default=None, gt=0, le=10_000)
    budget: float = Field(default=0.01, ge=0, lt=1)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        demand_one_way(self, "beta", "budget")
        return self

    def propose(self, sites: Sequence[Site], context: Context) -> Proposal:
        """Propose a smooth function in place of each ReLU; of a norm and ReLU in one, of the ReLU alone.

        Args:
            sites: The sites of the network.
            context: Not used.

        Returns:
            The proposed edits.

        Raises:
            SelectionError: No usable site.
        """
        usable, passed, notes = activations(self, sites, _unfit)
        folds = self.to == "softplus" or self.beta == 1
        edits = tuple(
            Edit(
                site=function_at(site),
                operation=self.op,
                # The norm's own code calls its activation: what takes its place is all that is called there.
                layer=None if site.fused else f"{site.name}.smooth",
                replaces=True,
                settings=dict(to=self.to, beta=self.beta or 1.0),
                effect="approximated",
                traits=Traits(linear=False),
                folds=folds,
                exchanges=folds,
                note="" if folds else f"torch has no {self.to} with a β other than 1",
                growth=Growth(buffers=1, flops=4 * numbers_at(site)),
            )
            for site in usable
        )
        return Proposal(edits, passed, notes)

    def build(self, edit: Edit, module: nn.Module | None, generator: Generator) -> Cut:
        from torch import nn

        from surgeon.methods.smooth_activation.module import SmoothReLU

        smooth = SmoothReLU(edit.settings["to"], edit.settings["beta"])
        return Cut(replacement=smooth) if edit.layer is None else Cut(replacement=nn.Identity(), layer=smooth)

    def search(self) -> Search | None:
        return None if self.beta is not None else Search("smoothness", _SMOOTHNESS, self.budget)

    def tune(self, edit: Edit, layer: nn.Module, value: float) -> None:
        own: Any = layer
        own.beta.fill_(1 / value)

    def fold(self, edit: Edit, context: FoldContext) -> nn.Module | None:
        """Return torch's own module of the function.

        Args:
            edit: The edit.
            context: The layer, or the module in the place of the ReLU.

        Returns:
            nn.SiLU, nn.GELU or nn.Softplus.

        Raises:
            FoldError: torch has no such module with that β.
        """
        from torch import nn

        if not edit.folds:
            return super().fold(edit, context)
        layer: Any = context.module if edit.layer is None else context.layer
        if edit.settings["to"] == "softplus":
            return nn.Softplus(beta=float(layer.beta))
        return nn.SiLU() if edit.settings["to"] == "silu" else nn.GELU()


def _unfit(site: Site) -> str:
    """Return why an activation must stay, or ""."""
    if site.fused:
        within = (
            f"its activation is {site.activation}, no ReLU"
            if site.activation
            else "no known activation is in it"
        )
        return "" if site.activation == "ReLU" else f"{site.cls} is norm and activation in one: {within}"
    return "" if site.cls == "ReLU" else f"{site.cls} is no ReLU"
