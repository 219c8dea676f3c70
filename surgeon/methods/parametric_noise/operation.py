"""The operation `parametric-noise` (PNI, arXiv 1811.09310): noise of a learned size on weights or outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from surgeon.edits import Edit, Growth, Traits
from surgeon.methods.base import Context, Cut, Operation, Proposal
from surgeon.selection import Site

if TYPE_CHECKING:
    from torch import Generator, nn

_CLASSES = ("Conv1d", "Conv2d", "Conv3d", "Linear")


class ParametricNoise(Operation):
    """Add noise to the weights, or to the outputs, of convolutions and linear layers, at every call.

    The selector counts convolutions and linear layers together, in execution order.

    Attributes:
        on: "weights" (PNI-W), or "outputs" (PNI-A).
        alpha: α, the size of the noise in standard deviations of what it is added to. It is trained from there.

    Examples:
        >>> import surgeon
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        >>> model = surgeon.apply(network, "parametric-noise", input_size=(3, 8, 8), alpha=0.1)
        >>> model.get_submodule("0").alpha
        Parameter containing:
        tensor(0.1000, requires_grad=True)
    """

    op: Literal["parametric-noise"] = "parametric-noise"
    on: Literal["weights", "outputs"] = "weights"
    alpha: float = Field(default=0.25, ge=0)

    def propose(self, sites: Sequence[Site], context: Context) -> Proposal:
        """Propose noise at each convolution and linear layer.

        Args:
            sites: The sites of the network.
            context: Not used.

        Returns:
            The proposed edits.

        Raises:
            SelectionError: No usable site.
        """
        together = [s.model_copy(update={"kind": "conv"}) if s.kind == "linear" else s for s in sites]
        return self.propose_each(together, self._edit, self._unfit)

    def _unfit(self, site: Site) -> str:
        """Return why a layer gets no noise, or ""."""
        if self.on == "outputs":
            if site.logits:
                return "its channels are the classes"
            return "windows or tokens of an image lie in the batch there" if site.folded else ""
        if site.cls not in _CLASSES:
            return f"{site.cls} is no convolution or linear layer of torch's own class"
        return site.altered

    def _edit(self, site: Site) -> Edit:
        """Make the edit of one site."""
        weights = self.on == "weights"
        per_channel = (site.in_channels or 0) // (site.groups or 1) * math.prod(site.kernel or (1,))
        numbers = (site.channels or 0) * per_channel if weights else math.prod(site.out_shape or (0,))
        return Edit(
            site=site.name,
            operation=self.op,
            layer=None if weights else f"{site.name}.noise",
            replaces=weights,
            settings=dict(on=self.on, alpha=self.alpha),
            effect="approximated",
            traits=Traits(stochastic="always", linear=weights),
            folds=False,
            note="its noise is drawn anew at each call, in evaluation too: no stock module does that",
            growth=Growth(parameters=1, flops=3 * numbers * site.calls, activations=numbers * site.calls),
        )

    def build(self, edit: Edit, module: nn.Module | None, generator: Generator) -> Cut:
        from surgeon.methods.parametric_noise.module import NoisyOutputs, noisy_weights

        alpha = edit.settings["alpha"]
        if edit.settings["on"] == "outputs":
            return Cut(layer=NoisyOutputs(alpha))
        assert module is not None
        return Cut(replacement=noisy_weights(module, alpha))

    def surrogate(self, edit: Edit, layer: nn.Module) -> nn.Module | None:
        """Return the expectation over the noise.

        Args:
            edit: The edit.
            layer: The layer with noisy weights, or the noise behind a layer.

        Returns:
            The layer with its weights alone, which it shares; None for noise on outputs, whose mean is 0.
        """
        from surgeon.methods.parametric_noise.module import expectation

        return expectation(layer)
