"""Kernel pooling whose window has other weights than an average's (`kernels.py`)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from surgeon.errors import LayerError
from surgeon.methods.kap.kernels import KERNELS, fixed_matrix, weighted_matrix, window_places
from surgeon.methods.kap.module import KernelAveragePool
from surgeon.methods.kap.sheet import window
from surgeon.tensors.memory_format import lying, memory_format_of
from surgeon.tensors.recording import recording
from surgeon.torch_private import is_functorch_wrapped_tensor


class WeightedKernelPool(KernelAveragePool):
    """Pooling along channels with a Gaussian, Mexican-hat or learned window, as `KernelAveragePool` else.

    `theta`, (rows · columns of the window,), is the parameter of a learned one.

    Args:
        kernel: "gaussian", "mexican-hat" or "learned".
        spread: s of a Gaussian, in channels. Default: a quarter of the window's side.
        made: As for `KernelAveragePool`, whose pool is "mean".

    Raises:
        LayerError: The kernel is unknown, `spread` is not positive, or as for `KernelAveragePool`.

    Examples:
        >>> layer = WeightedKernelPool(3, 3, dims=1, kernel="learned")
        >>> layer(torch.tensor([1.0, 2.0, 6.0]).view(1, 3, 1, 1)).flatten().tolist()
        [1.5, 3.0, 4.0]
    """

    theta: nn.Parameter | None

    def __init__(self, *sizes: int, kernel: str, spread: float | None = None, **made: Any) -> None:
        super().__init__(*sizes, **made)
        if kernel not in KERNELS[1:] or self.pool != "mean":
            raise LayerError(
                f"kernel={kernel!r} with pool={self.pool!r} is not known; {', '.join(KERNELS[1:])} with 'mean' are"
            )
        self.kernel, self.spread = kernel, self.kernel_size / 4 if spread is None else float(spread)
        if not self.spread > 0:
            raise LayerError(f"spread={spread} cannot be the width of a Gaussian; it must be above 0")
        rows, cols = window(self.sheet, self.kernel_size)
        self.register_parameter(
            "theta", nn.Parameter(torch.zeros(rows * cols)) if kernel == "learned" else None
        )
        self._tensors: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def reset_parameters(self) -> None:
        """Give alpha, and theta without values, what the layer was made with."""
        super().reset_parameters()
        if self.theta is not None and "theta" in self.lacking():
            with torch.no_grad():
                self.theta.zero_()
            self.filled("theta")

    def _window_matrix(self) -> Tensor:
        if self.theta is not None:
            return self._matrix_like(self.theta).detach().double().cpu()
        sizes = window(self.sheet, self.kernel_size)
        return fixed_matrix(self.kernel, self._places(), sizes, self.spread)

    def _window_weight(self, weight: Tensor) -> Tensor:
        matrix = self._matrix_like(weight)
        return (matrix @ weight.reshape(weight.shape[0], -1)).reshape(-1, *weight.shape[1:])

    def _window_pool(self, x: Tensor) -> Tensor:
        out = self._matrix_like(x) @ x.reshape(*x.shape[:2], -1)
        out = out.reshape(x.shape[0], self.out_channels, *x.shape[2:])
        memory = memory_format_of(x)
        return out if memory == torch.contiguous_format else lying(out, memory)

    def _places(self) -> Tensor:
        """The place of each channel in each window, on the CPU."""
        return window_places(self.sheet, self.kernel_size, self.stride, self.dims)

    def _matrix_like(self, like: Tensor) -> Tensor:
        """A in dtype and on the device of a tensor; what does not change is kept."""
        key = like.device, (torch.int64 if self.theta is not None else like.dtype)
        kept = self._tensors.get(key)
        if kept is None:
            made = self._places() if self.theta is not None else self._window_matrix()
            kept = made.to(device=key[0], dtype=key[1])
            if type(kept) is Tensor and not recording() and not is_functorch_wrapped_tensor(kept):
                self._tensors[key] = kept
        return kept if self.theta is None else weighted_matrix(kept, self.theta.exp()).to(like.dtype)

    def __getstate__(self) -> dict:
        return super().__getstate__() | {"_tensors": {}}

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, kernel={self.kernel!r}"
