"""The operation `input-scale`: a learned map that multiplies the input, from the weight-map paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from surgeon.edits import Edit, Growth, Traits
from surgeon.errors import SelectionError, either
from surgeon.methods.base import Context, Cut, Operation, Proposal, sizes
from surgeon.selection import Site

if TYPE_CHECKING:
    from torch import Generator, nn


class InputScaleMap(Operation):
    """Multiply the input by a learned map, (C, H, W), that starts with ones.

    Examples:
        >>> import surgeon
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        >>> surgeon.apply(network, "wm-input-scale", input_size=(3, 8, 8)).get_submodule("input_scale")
        InputScale(3x8x8)
    """

    kind = "input"
    binds = True
    op: Literal["input-scale"] = "input-scale"

    def propose(self, sites: Sequence[Site], context: Context) -> Proposal:
        """Propose the map at the network's input.

        Args:
            sites: The sites of the network.
            context: Not used.

        Returns:
            The proposed edit.

        Raises:
            SelectionError: The input size is unknown, or images are not C×H×W.
        """
        (site,) = self.chosen(sites).sites
        if site.out_shape is None:
            raise SelectionError(
                "input-scale needs to know the network's input size; give "
                + either("input_size=(C, H, W)", "--input-size C,H,W")
            )
        if len(site.out_shape) != 3:
            raise SelectionError(f"input-scale is a map of C×H×W; this input is {len(site.out_shape) - 1}-D")
        channels, height, width = site.out_shape
        number = channels * height * width
        return Proposal(
            (
                Edit(
                    site=site.name,
                    operation=self.op,
                    layer=f"{site.name}_scale",
                    settings=dict(size=[channels, height, width]),
                    effect="exact",
                    traits=Traits(),
                    folds=False,
                    note="a factor for each pixel has no place in a convolution",
                    growth=Growth(parameters=number, flops=number, activations=number),
                ),
            )
        )

    def build(self, edit: Edit, module: nn.Module | None, generator: Generator) -> Cut:
        from surgeon.methods.controls.input_scale_layer import InputScale

        return Cut(layer=InputScale(*sizes(edit)["size"]))
