"""The operation `blur-pool` (arXiv 1904.11486): a blur at max poolings and convolutions with a stride."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from surgeon.edits import Edit, Growth, Traits
from surgeon.methods.base import Context, Cut, FoldContext, Operation, Proposal, sizes
from surgeon.selection import Site

if TYPE_CHECKING:
    from torch import Generator, nn

_MAXIMA = tuple(f"MaxPool{n}d" for n in (1, 2, 3))


class BlurPooling(Operation):
    """Blur before convolutions with a stride, and between the maximum and the stride of max poolings.

    The selector counts convolutions and poolings together, in execution order.

    Attributes:
        filter_size: m: number of the filter's weights along each axis that has a stride. The paper's filters are 2
            (Rect-2), 3 (Tri-3) and 5 (Bin-5).
        at: "conv" leaves max poolings alone, "pool" convolutions.

    Examples:
        >>> import surgeon
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2))
        >>> plan = surgeon.plan(network, "blur-pool", input_size=(3, 9, 9), filter_size=5)
        >>> [(edit.site, edit.settings) for edit in plan.edits]
        [('1', {'pooling': True, 'sizes': [5, 5], 'stride': [2, 2]})]
    """

    shows_slope = True  # and behind a pooling, it gives another size than it takes
    op: Literal["blur-pool"] = "blur-pool"
    filter_size: int = Field(default=3, ge=2, le=7)
    at: Literal["all", "conv", "pool"] = "all"

    def propose(self, sites: Sequence[Site], context: Context) -> Proposal:
        """Propose a blur at each convolution and max pooling with a stride.

        Args:
            sites: The sites of the network.
            context: Not used.

        Returns:
            The proposed edits.

        Raises:
            SelectionError: Nothing that is selected has a stride.
        """
        poolings = {s.name for s in sites if s.kind == "pool"}
        together = [s.model_copy(update={"kind": "conv"}) if s.kind == "pool" else s for s in sites]
        return self.propose_each(
            together,
            lambda site: self._edit(site, site.name in poolings),
            lambda site: self._unfit(site, site.name in poolings),
        )

    def _unfit(self, site: Site, pooling: bool) -> str:
        """Return why a site gets no blur, or ""."""
        if self.at != "all" and pooling != (self.at == "pool"):
            return f"at is {self.at}"
        if site.transposed:
            return "a transposed convolution makes the map larger"
        if pooling and site.cls not in _MAXIMA:
            return f"{site.cls} is no max pooling of torch's"
        if max(site.stride or (1,)) == 1:
            return "it has no stride"
        if site.altered:
            return site.altered
        return f"{site.cls} pads by the size of the image" if site.cls.endswith("Same") else ""

    def _edit(self, site: Site, pooling: bool) -> Edit:
        """Make the edit of one site."""
        stride = site.stride or ()
        filters = [self.filter_size if s > 1 else 1 for s in stride]
        stuck = "a maximum is not linear: no stock module takes it and blurs" if pooling else ""
        if site.standardized == "weights":
            stuck = "its kernels are standardised to unit variance, which blurred kernels do not have"
        stored = math.prod(m + 1 - m % 2 for m in filters)
        given = _grown(site, [2 * p for p in site.padding or (0,) * len(stride)])
        windows = [
            d * (k - 1) for d, k in zip(site.dilation or (1,) * len(stride), site.kernel or (), strict=False)
        ]
        blurred = math.prod((site.out_shape or (0,)) if pooling else given) * site.calls
        dense = math.prod(_grown(site, [-w for w in windows], given)) * site.calls if pooling else 0
        return Edit(
            site=site.name,
            operation=self.op,
            layer=f"{site.name}.blur",
            replaces=True,
            before=not pooling,
            settings=dict(pooling=pooling, sizes=filters, stride=list(stride)),
            effect="approximated",
            traits=Traits(linear=not pooling),
            folds=not stuck,
            exchanges=not stuck,
            note=stuck,
            growth=Growth(
                buffers=stored,
                flops=2 * stored * blurred + math.prod(site.kernel or ()) * dense,
                activations=dense or blurred,
            ),
        )

    def build(self, edit: Edit, module: nn.Module | None, generator: Generator) -> Cut:
        from surgeon.methods.blur_pool.cut import blurred_convolution, blurred_pooling

        given = sizes(edit)
        made = (
            blurred_pooling(module, given["sizes"], given["stride"])
            if given["pooling"]
            else blurred_convolution(module, given["sizes"])
        )
        return Cut(replacement=made[0], layer=made[1])

    def fold(self, edit: Edit, context: FoldContext) -> nn.Module | None:
        """Merge the blur into the convolution behind it.

        Args:
            edit: The edit.
            context: The convolution and the blur.

        Returns:
            A new convolution with larger kernels.

        Raises:
            FoldError: It stands at a max pooling, or at a convolution with standardised kernels.
        """
        if not edit.folds:
            return super().fold(edit, context)
        from surgeon.methods.blur_pool.cut import folded

        layer: Any = context.layer
        return folded(context.module, layer)


def _grown(site: Site, by: Sequence[int], shape: Sequence[int] = ()) -> tuple[int, ...]:
    """Return a shape, by default the site's input's, with its spatial axes larger by so much; (0,) if not known."""
    shape = tuple(shape or site.in_shape or ())
    if len(shape) <= len(by):
        return (0,)
    first = len(shape) - len(by)
    return (*shape[:first], *(n + more for n, more in zip(shape[first:], by, strict=True)))
