"""Kernel Average Pooling as the module to insert behind a convolution."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from surgeon.errors import LayerError
from surgeon.methods.kap.conv_pool import convolve, pools_weights
from surgeon.methods.kap.maths import POOLS, kernel_average_pool
from surgeon.methods.kap.order_state import follow, takes_order
from surgeon.methods.kap.sheet import (
    Divisor,
    Sheet,
    pooled_sheet,
    pooling_matrix,
    resolve_sheet,
    side_matrices,
)
from surgeon.methods.kap.weights import pool_weight
from surgeon.tensors.blending import Blending
from surgeon.tensors.gaussian import Drawing, add_noise, check_sigma
from surgeon.tensors.known_value import KnownValue
from surgeon.tensors.optional_state import OptionalState
from surgeon.tensors.recording import recording
from surgeon.tensors.traced import Proxy, called
from surgeon.torch_private import is_functorch_wrapped_tensor


class KernelAveragePool(Drawing, Blending, OptionalState):
    """Pooling along channels, to stand directly after a convolution: (1 − alpha) z + alpha KAP(z), then noise.

    Args:
        channels: Number of channels that come in.
        kernel_size: Side K of the window on the sheet of channels.
        stride: Stride on the sheet.
        dims: 2 for a sheet of rows and columns, 1 for a line of channels.
        pool: "mean" (KAP), or "max" (KMP).
        sigma: Standard deviation of the Gaussian noise after the pooling, in training only (section 4 of the paper), in
            the units of the activations.
        sheet: (rows, columns) of the sheet. Default: the most square one.
        alpha: Share of the pooling, in [0, 1].
        order: Which channel lies at each place of the sheet, (channels,) int64; see `order.py`. It needs as many
            channels after the pooling as before it. Default: row by row, as in the paper.
        spatial_dims: How many spatial axes the convolution before it has: an input of one axis less is then one image
            without a batch, (channels, *spatial), as torch's convolutions take it. Default: the second axis always is
            that of the channels.
        even: Allow an even window.
        divisor: "channels" divides by the real channels of a window (Algorithm 1), "window" by its size at the sheet's
            border too (eq. 2 and 10 as they are written); see `sheet.pooling_matrix`.

    Raises:
        LayerError: The settings do not fit `channels`, alpha is outside [0, 1], or alpha is below 1 where the pooling
            changes the number of channels, so that there is nothing to blend with.

    Examples:
        >>> import torch
        >>> layer, x = KernelAveragePool(4, dims=1), torch.tensor([1.0, 2.0, 6.0, 4.0]).view(1, 4, 1, 1)
        >>> layer(x).flatten().tolist()
        [1.5, 3.0, 4.0, 5.0]
        >>> torch.equal(layer.fold(x[0]), layer(x)[0]), layer.matrix().shape, len(layer.factors())
        (True, torch.Size([4, 4]), 2)
        >>> layer.set_order(torch.tensor([3, 2, 1, 0]))
        >>> conv = torch.nn.Conv2d(3, 4, 3)
        >>> image = torch.rand(1, 3, 8, 8)
        >>> torch.allclose(layer.after(conv, image), layer(conv(image)), atol=1e-6)
        True
    """

    _ends = ": 0 leaves the input as it is, 1 is the pooling alone"
    order: Tensor | None
    spatial_dims: int | None = None
    even: bool = False
    divisor: Divisor = "channels"
    _made_with: tuple[float, Tensor | None] = (1.0, None)
    """Alpha and order as they were given."""
    _turned: tuple[Tensor, int, Tensor] | None = None
    """An order, how often it had been written, and its inverse."""

    def __init__(
        self,
        channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        dims: int = 2,
        *,
        pool: str = "mean",
        sigma: float = 0.0,
        sheet: Sheet | None = None,
        alpha: float = 1.0,
        order: Tensor | None = None,
        spatial_dims: int | None = None,
        even: bool = False,
        divisor: Divisor = "channels",
    ) -> None:
        super().__init__()
        if divisor not in ("channels", "window"):
            raise LayerError(
                f"divisor={divisor!r} is not known; 'channels' (Algorithm 1) and 'window' (eq. 2) are"
            )
        self.even, self.divisor = even, divisor
        if pool not in POOLS:
            raise LayerError(f"pool={pool!r} is not known; 'mean' (KAP) and 'max' (KMP) are")
        self.channels = channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.dims = dims
        self.spatial_dims = spatial_dims
        self.pool = pool
        self.sigma = check_sigma(sigma)
        self.sheet = resolve_sheet(channels, dims, sheet)
        rows, cols = pooled_sheet(self.sheet, kernel_size, stride, dims, even=even)
        self.out_channels = rows * cols
        self._begin(alpha)
        self.register_buffer("order", None)
        if order is not None:
            self.set_order(order)
        self._made_with = (float(alpha), None if order is None else order.detach().cpu().clone())

    def reset_parameters(self) -> None:
        """Give alpha back the value that the layer was made with, and an order without values the one
        that it was made with.

        An order that was set or loaded later stays while it has values; after `to_empty` it has no values,
        and a call says so.
        """
        alpha, order = self._made_with
        self.set_alpha(alpha)
        if order is not None and "order" in self.lacking():
            self.set_order(order)
            self._made_with = (alpha, order)

    def loaded(self, names: Iterable[str]) -> None:
        """Note that a state was read: an order that came with it is not the one that the layer was made with.

        Args:
            names: The names of the optional state that was there.
        """
        if "order" in names:
            self._made_with = (self._made_with[0], None)

    def set_order(self, order: Tensor) -> None:
        """Lay the channels on the sheet so that place k holds channel `order[k]`.

        Args:
            order: A permutation, (channels,) int64.

        Raises:
            LayerError: It is not a permutation, or the pooling changes the number of channels.
        """
        if self.out_channels != self.channels:
            raise LayerError(
                f"an order needs as many channels after the pooling ({self.out_channels}) as "
                f"before it ({self.channels}): "
                "stride 1"
            )
        order = order.to(device=self.alpha.device, dtype=torch.int64)
        if order.shape != (self.channels,) or not (order.is_meta or _is_permutation(order)):
            raise LayerError(
                f"the order of {self.channels} channels is not a permutation of them: {order.tolist()[:8]}"
            )
        self.order = order
        self._made_with = (self._made_with[0], None)
        self.filled("order")
        self._turn()

    @property
    def _place(self) -> Tensor | None:
        """The place on the sheet of each channel, (channels,): the inverse of `order`, kept while nothing writes that.

        No buffer: what moves or empties those has no values for it.
        """
        order, kept = self.order, self._turned
        if order is None:
            return None
        if recording():
            same = kept is not None and kept[2].device == order.device
            return kept[2] if kept is not None and same else torch.argsort(order)
        if kept is not None and kept[0] is order and kept[1] == _written(order):
            return kept[2]
        whole = type(order) is Tensor and not is_functorch_wrapped_tensor(order)
        return self._turn() if whole else torch.argsort(order)

    def _turn(self) -> Tensor:
        order: Any = self.order
        place = torch.argsort(order)
        self._turned = (order, _written(order), place)
        return place

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        if self.order is not None:
            self._turn()
        return self

    @property
    def _blends(self) -> bool:
        """Whether the share may be another than 1: other code writes to its buffer too."""
        return self.out_channels == self.channels and self._share.of(self.alpha) != 1

    def factors(self) -> tuple[Tensor, Tensor]:
        """Return the two factors of A, without alpha; see `sheet.side_matrices`.

        Returns:
            A_rows and A_columns, with A = A_rows ⊗ A_columns.
        """
        return side_matrices(self.channels, self.kernel_size, self.stride, self.dims, **self._window)

    def fold(self, weight: Tensor) -> Tensor:
        """Return ((1 − alpha) I + alpha A) W, eq. 3: a convolution's kernels or bias, as pooled.

        Args:
            weight: W, (channels, ...).

        Returns:
            (out_channels, ...).

        Raises:
            LayerError: The layer has `pool="max"`, which is not linear.
        """
        if self.pool == "max":
            raise LayerError(
                "pool='max' is not linear, so it has no matrix and does not fold; pool='mean' does"
            )
        place = self._place
        if self.order is None or place is None:
            pooled = self._window_weight(weight)
        else:
            pooled = self._window_weight(weight[self.order])[place]
        return torch.lerp(weight, pooled, self.alpha.to(weight)) if self._blends else pooled

    def matrix(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """Return the matrix of the layer in evaluation mode: (1 − alpha) I + alpha A (eq. 3).

        Args:
            dtype: Data type of the result.

        Returns:
            (out_channels, channels), on the device of the layer.

        Raises:
            LayerError: The layer has `pool="max"`, which is not linear.
        """
        if self.pool == "max":
            raise LayerError(
                "pool='max' is not linear, so it has no matrix and does not fold; pool='mean' does"
            )
        matrix = self._window_matrix()
        if (place := self._place) is not None:
            place = place.to(matrix.device)
            matrix = matrix[place][:, place]
        alpha = float(self.alpha)
        if alpha != 1:
            matrix = matrix.mul_(alpha).add_(
                torch.eye(self.channels, dtype=matrix.dtype, device=matrix.device), alpha=1 - alpha
            )
        return matrix.to(dtype=dtype, device=self.alpha.device)

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, Proxy):
            return called(self, x)
        if self.spatial_dims is not None and x.dim() == self.spatial_dims + 1:
            return self._noisy(self._checked(x.unsqueeze(0))).squeeze(0)
        return self._noisy(self._checked(x))

    def _checked(self, x: Tensor) -> Tensor:
        if x.dim() < 2 or x.shape[1] != self.channels:
            raise LayerError(
                f"this layer pools {self.channels} channels, got an input of shape {tuple(x.shape)}; "
                f"expected (N, {self.channels}, ...)"
            )
        return self._pooled(x)

    def after(self, conv: nn.Module, x: Tensor) -> Tensor:
        """Return `self(conv(x))`. Weights that are fewer numbers than the outputs are pooled instead (eq. 3).

        Args:
            conv: The convolution, with `channels` outputs.
            x: (N, C_in, *spatial).

        Returns:
            (N, out_channels, *spatial).
        """
        own: Any = conv
        if (
            self.pool != "mean"
            # A subclass with a forward of its own computes something else than what is shortened here.
            or type(self).forward is not _FORWARD
            or self.kernel_size == 1
            or not pools_weights(conv, x)
            or len(own.weight) != self.channels
        ):
            return self(conv(x))
        bias = None if own.bias is None else self._pooled(own.bias.unsqueeze(0)).squeeze(0)
        return self._noisy(convolve(conv, x, self._pooled(own.weight.unsqueeze(0)).squeeze(0), bias))

    def _pooled(self, x: Tensor) -> Tensor:
        """(1-alpha) x + alpha KAP(x), (N, channels, *spatial)."""
        if self.order is not None and self.order.dtype != torch.int64:
            self._whole_order()
        laid = x if self.order is None else x.index_select(1, self.order)
        out = self._window_pool(laid)
        if (place := self._place) is not None:
            out = out.index_select(1, place)
        if self._blends:
            out = torch.lerp(x, out, self.alpha.to(x.dtype))
        return out

    @property
    def _window(self) -> dict[str, Any]:
        return {"sheet": self.sheet, "even": self.even, "divisor": self.divisor}

    def _window_pool(self, x: Tensor) -> Tensor:
        """The pooling alone, on channels that lie row by row."""
        return kernel_average_pool(
            x, self.kernel_size, self.stride, self.dims, pool=self.pool, **self._window
        )

    def _window_weight(self, weight: Tensor) -> Tensor:
        """The same on weights, (channels, ...)."""
        return pool_weight(weight, self.factors())

    def _window_matrix(self) -> Tensor:
        """Its matrix, float64 on the CPU."""
        return pooling_matrix(self.channels, self.kernel_size, self.stride, self.dims, **self._window)

    def _whole_order(self) -> None:
        """Take the order as integers again, where an average over all buffers has made other numbers of it."""
        assert self.order is not None
        whole = self.order.round()
        if not bool((whole - self.order).abs().max() < 1e-3):
            raise LayerError(
                f"the order of {self.channels} channels holds {self.order.dtype} that are no "
                "whole numbers: leave buffers of integers "
                "out of averages, as batch norms' num_batches_tracked"
            )
        self.set_order(whole.to(torch.int64))

    def _noisy(self, x: Tensor) -> Tensor:
        return add_noise(x, self.sigma, self) if self.training and self.sigma else x

    def extra_repr(self) -> str:
        rows, cols = self.sheet
        parts = [
            f"{self.channels}, kernel_size={self.kernel_size}, stride={self.stride}, sheet={rows}x{cols}"
        ]
        parts += [f"pool={self.pool!r}"] if self.pool != "mean" else []
        parts += ["divisor='window'"] if self.divisor == "window" else []
        parts += [f"sigma={self.sigma}"] if self.sigma else []
        parts += ["channels in an order of their own"] if self.order is not None else []
        parts += ["blended with its input"] if self._share.of(self.alpha) not in (1, None) else []
        return ", ".join(parts)

    def _check_alpha(self, value: float) -> None:
        super()._check_alpha(value)
        if value != 1 and (self.stride != 1 or self.out_channels != self.channels):
            raise LayerError(
                f"alpha={value} cannot blend {self.channels} channels with the {self.out_channels} of stride="
                f"{self.stride}; use stride=1, or alpha=1"
            )

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        self._buffers.pop("_place", None)  # which was one
        self.__dict__.setdefault("_share", KnownValue(1.0))

    def takes(self, weights: Mapping[str, Any], prefix: str) -> set[str]:
        return {f"{prefix}order"} if takes_order(self, weights, prefix) else set()

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        errors: list[str] = args[-1]
        had, fault = self.order is not None, follow(self, state_dict, prefix)
        errors += [fault] if fault else []
        super()._load_from_state_dict(state_dict, prefix, *args)
        if self.order is None:
            self._turned = None
            self._made_with = (self._made_with[0], None) if had else self._made_with
        if self.order is None or "order" in self.lacking():
            return
        made_with = self._made_with
        try:
            self.set_order(self.order)
        except LayerError as refused:
            errors.append(f"{prefix}order: {refused}")
        self._made_with = made_with


_FORWARD = KernelAveragePool.forward


def _written(order: Tensor) -> int:
    return 0 if order.is_inference() else order._version


def _is_permutation(order: Tensor) -> bool:
    return torch.equal(order.sort().values, torch.arange(len(order), device=order.device))
