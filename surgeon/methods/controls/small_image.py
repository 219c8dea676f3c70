"""The operation `small-image`: a 3×3 stem of stride 1 without pooling, as is usual for CIFAR."""

from __future__ import annotations

from collections.abc import Sequence
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from surgeon.edits import Edit, Growth, Traits
from surgeon.errors import SelectionError
from surgeon.methods.base import Context, Cut, Operation, Proposal
from surgeon.selection import Site

if TYPE_CHECKING:
    from torch import Generator, nn


class SmallImageStem(Operation):
    """Replace the stem by one that keeps the resolution of the input up to the first stage.

    The new kernel is the centre of the old one, or the old one padded by zeros if that is smaller.

    Attributes:
        kernel_size: Side of the new kernel.

    Examples:
        >>> import surgeon
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 7, stride=2, padding=3), nn.BatchNorm2d(4), nn.ReLU())
        >>> surgeon.apply(network, "small-image", input_size=(3, 32, 32)).get_submodule("0")
        Conv2d(3, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
    """

    reshapes = True
    op: Literal["small-image"] = "small-image"
    kernel_size: int = Field(default=3, ge=1)

    def propose(self, sites: Sequence[Site], context: Context) -> Proposal:
        """Propose to replace the first convolution, and to remove the pooling before the second.

        Args:
            sites: The sites of the network.
            context: Not used.

        Returns:
            The proposed edits.

        Raises:
            SelectionError: The first convolution is not 2-D or is altered, or the stem already is one for
                small images.
        """
        order = sorted(sites, key=lambda s: s.index)
        convs = [s for s in order if s.kind == "conv"]
        if not convs or convs[0].dims != 2:
            raise SelectionError("small-image needs a 2-D convolution as the network's first")
        first = convs[0]
        if first.altered:
            raise SelectionError(
                f"small-image exchanges the first convolution, {first.name}: {first.altered}"
            )
        until = convs[1].index if len(convs) > 1 else first.index
        pool = next((s for s in order if s.kind == "pool" and first.index < s.index < until), None)
        edits = []
        side = self.kernel_size
        if max(first.stride or (1,)) > 1 or max(first.kernel or (1,)) != side:
            channels = (first.channels or 0) * ((first.in_channels or 0) // (first.groups or 1))
            before = 1
            for k in first.kernel or ():
                before *= k
            edits.append(
                Edit(
                    site=first.name,
                    operation=self.op,
                    replaces=True,
                    settings=dict(part="stem"),
                    effect="destroyed",
                    traits=Traits(),
                    folds=False,
                    note=f"the stem is a {side}×{side} convolution with stride 1 now",
                    growth=Growth(parameters=channels * (side * side - before)),
                )
            )
        if pool is not None:
            edits.append(
                Edit(
                    site=pool.name,
                    operation=self.op,
                    replaces=True,
                    settings=dict(part="pool"),
                    effect="destroyed",
                    traits=Traits(),
                    folds=False,
                    note="the first pooling is gone",
                )
            )
        if not edits:
            raise SelectionError(
                f"the stem is one for small images already: {first.name} is {side}×{side} "
                "with stride 1, no pooling after it"
            )
        return Proposal(tuple(edits))

    def build(self, edit: Edit, module: nn.Module | None, generator: Generator) -> Cut:
        """Make the new first convolution, or the identity in place of the pooling.

        Args:
            edit: The edit.
            module: The module at the site.
            generator: Not used.

        Returns:
            The replacement.
        """
        import torch

        if edit.settings["part"] == "pool":
            return Cut(replacement=torch.nn.Identity())
        from surgeon.tensors.convolution import effective_weight, with_weight

        conv: Any = module
        weight = effective_weight(conv)
        side = self.kernel_size
        new = weight.new_zeros(*weight.shape[:2], side, side)
        old = tuple(weight.shape[2:])
        new[_centre((side, side), old)] = weight[_centre(old, (side, side))]
        stem = with_weight(conv, new, None if conv.bias is None else conv.bias.detach())
        stem.kernel_size, stem.stride, stem.padding = (side, side), (1, 1), (side // 2, side // 2)
        stem._reversed_padding_repeated_twice = [side // 2] * 4
        return Cut(replacement=stem)


def _centre(shape: Sequence[int], other: Sequence[int]) -> tuple[EllipsisType | slice, ...]:
    """Return an index of the middle of `shape` that fits into `other` too."""
    common = [min(n, m) for n, m in zip(shape, other, strict=True)]
    return (..., *(slice((n - c) // 2, (n - c) // 2 + c) for n, c in zip(shape, common, strict=True)))
