"""The operation `noise`: Gaussian noise after convolutions and at the input, KAP's control NT(σ)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from surgeon.edits import Edit, Traits
from surgeon.errors import SelectionError
from surgeon.methods.base import Context, Cut, FoldContext, Operation, Proposal, sizes, usable_of
from surgeon.methods.input_noise import InputNoise, noise_at_input
from surgeon.quantities import Quantity
from surgeon.selection import Site

if TYPE_CHECKING:
    from torch import Generator, nn


class NoiseTraining(Operation):
    """Add Gaussian noise after each selected convolution and at the network's input, in training.

    Attributes:
        sigma: σ after convolutions, in units of the activations; 0 adds noise to the input only.
        input_sigma: σ at the input, in units of [0, 1] pixels. Default: `sigma`.
        pixel_std: Standard deviation, per channel, that pixels are divided by before the network. "auto"
            takes it from the network's configuration; None means not at all.

    Examples:
        >>> import surgeon
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 6))
        >>> [edit.layer for edit in surgeon.plan(network, "noise", input_size=(3, 8, 8), sigma=0.2).edits]
        ['input_noise', '0.noise']
    """

    op: Literal["noise"] = "noise"
    sigma: Quantity = Field(default=0.1, ge=0)
    input_sigma: Quantity | None = Field(default=None, ge=0)
    pixel_std: InputNoise = "auto"

    def propose(self, sites: Sequence[Site], context: Context) -> Proposal:
        """Propose noise at the input and behind each selected convolution.

        Args:
            sites: The sites of the network.
            context: What is known of the network besides.

        Returns:
            The proposed edits.

        Raises:
            SelectionError: No usable site, or no noise at all.
        """
        sigma = self.sigma if self.input_sigma is None else self.input_sigma
        first = noise_at_input(sites, sigma, self.pixel_std, context, self.op)
        if self.sigma == 0:
            if not first:
                raise SelectionError(
                    "the network's input is in no graph: torch.fx cannot follow the network as a whole"
                    if sigma
                    else "noise of sigma=0 and input_sigma=0 at the input changes nothing"
                )
            return Proposal(first)
        usable, passed, notes = usable_of(
            self.chosen(sites),
            self.op,
            lambda s: "its channels are the classes" if s.logits else "",
            demand=False,
        )
        edits = tuple(
            Edit(
                site=s.name,
                operation=self.op,
                layer=f"{s.name}.noise",
                settings=dict(sigma=self.sigma, pixel_std=None),
                traits=Traits(stochastic="train", train_only=True),
            )
            for s in usable
        )
        return Proposal((*first, *edits), passed, notes)

    def build(self, edit: Edit, module: nn.Module | None, generator: Generator) -> Cut:
        """Make the noise layer.

        Args:
            edit: The edit.
            module: The module before it; None at the network's input.
            generator: Not used.

        Returns:
            The inserted layer.
        """
        from surgeon.methods.controls.noise_layer import GaussianNoise

        given = sizes(edit)
        return Cut(
            layer=GaussianNoise(
                given["sigma"], pixel_std=given["pixel_std"], spatial_dims=given.get("spatial_dims")
            )
        )

    def fold(self, edit: Edit, context: FoldContext) -> nn.Module | None:
        return None
