"""A blur as the module to insert: the same in training and in evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from surgeon.errors import LayerError
from surgeon.methods.blur_pool.maths import blur_filter
from surgeon.tensors.optional_state import OptionalState
from surgeon.tensors.recording import exporting
from surgeon.tensors.traced import Proxy, called

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_MODES = {"zeros": "constant"}


class Blur(OptionalState):
    """Blurs each channel with a binomial filter, whose weights are the persistent buffer `filter`.

    Args:
        sizes: Number of weights along each spatial axis; 1 leaves an axis as it is.
        stride: Stride along each axis.
        padding: How far the image is extended on both sides of each axis. Default: to the centre of the filter, which
            keeps the size.
        mode: What it is extended by: "zeros", "reflect", "replicate" or "circular", as in torch's convolutions.
        ceil: Numbers behind the last step of a stride get a step of their own, as by `ceil_mode` of the pooling in
            front: along each axis, by how much that pooling's window, less its padding, is larger than one. None: they
            are left out.

    Raises:
        LayerError: There are other than 1, 2 or 3 axes; or, when called, the input has fewer axes.

    Examples:
        >>> import torch
        >>> Blur([3], [2], mode="replicate")(torch.tensor([[[0.0, 1.0, 1.0, 1.0, 0.0]]]))
        tensor([[[0.2500, 1.0000, 0.2500]]])
    """

    filter: Tensor

    def __init__(
        self,
        sizes: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int] | None = None,
        mode: str = "zeros",
        ceil: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if len(sizes) not in _CONVOLUTIONS or len(stride) != len(sizes):
            raise LayerError(
                f"a blur of {len(sizes)} axes with {len(stride)} strides is not known; 1, 2 or 3 of both are"
            )
        self.sizes, self.stride, self.mode = tuple(sizes), tuple(stride), mode
        self.padding = tuple(m // 2 for m in sizes) if padding is None else tuple(padding)
        self.ceil = None if ceil is None else tuple(ceil)
        self.register_buffer("filter", blur_filter(sizes).float())

    def reset_parameters(self) -> None:
        """Give the filter its weights again."""
        self.filter.copy_(blur_filter(self.sizes))
        self.filled("filter")

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, Proxy):
            return called(self, x)
        axes = len(self.sizes)
        if x.dim() not in (axes + 1, axes + 2):
            raise LayerError(
                f"this layer blurs {axes} axes of (N, C, *spatial), got an input of shape {tuple(x.shape)}"
            )
        more = self._beyond(x)
        channels, padding = x.shape[-axes - 1], self.padding
        beyond = self.ceil is not None and (torch.jit.is_tracing() or exporting() or any(more))
        if self.mode != "zeros" or beyond:
            ends = [n for p, m in zip(padding[::-1], more[::-1], strict=True) for n in (p, p + m)]
            x, padding = functional.pad(x, ends, _MODES.get(self.mode, self.mode)), (0,) * axes
        weight = self.filter.to(x.dtype).expand(channels, 1, *self.filter.shape)
        return _CONVOLUTIONS[axes](x, weight, None, self.stride, padding, 1, channels)

    def _beyond(self, x: Tensor) -> list[int]:
        """By how much the image is extended at the end of each axis, for a step beyond it."""
        more = [0] * len(self.sizes)
        for axis, margin in enumerate(self.ceil or ()):
            last, step = x.shape[axis - len(self.sizes)] - 1, self.stride[axis]
            gap = -(-last // step) * step - last
            # The gap, or 0 where it is larger than the margin: without a branch, which an export would take for all
            # sizes. The quotient is 0 or −1, as the gap is smaller than a step.
            more[axis] = gap * (1 + (min(margin, step - 1) - gap) // step)
        return more

    def extra_repr(self) -> str:
        return f"{self.sizes}, stride={self.stride}, padding={self.padding}, mode={self.mode!r}"
