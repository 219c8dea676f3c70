"""Layers with noise of a learned size: convolutions and linear layers with noisy weights, and noise behind a layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from surgeon.errors import LayerError
from surgeon.methods.parametric_noise.maths import parametric_noise, spread
from surgeon.tensors.emptied import Emptied
from surgeon.tensors.gaussian import Drawing
from surgeon.tensors.normal import unit_normal
from surgeon.tensors.optional_state import OptionalState
from surgeon.tensors.own_copy import own_copy
from surgeon.tensors.recording import recording
from surgeon.tensors.traced import Proxy, called


class _NoisyWeights(Drawing, Emptied):
    """Mixed into a layer's class: its weights get noise at each call, the same on all processes."""

    alpha: nn.Parameter
    start: float
    """What alpha started with."""

    def noisy(self) -> Tensor:
        """The weights with new noise, like `weight`."""
        weight: Tensor = getattr(self, "weight")
        return parametric_noise(weight, self.alpha, spread(weight), _unit_noise(weight, self))

    def quiet(self) -> nn.Module:
        """The stock layer that this one is in expectation; it shares the tensors."""
        own: Any = self
        stock: Any = object.__new__(_STOCK[type(own)])
        stock.__dict__ = {k: v for k, v in own.__dict__.items() if k not in ("stream", "shard", "start")}
        stock._parameters = {k: p for k, p in own._parameters.items() if k != "alpha"}
        return stock

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw weights as the stock layer does, and give alpha the value that it started with."""
        stock: Any = super()
        stock.reset_parameters()
        self.alpha.fill_(self.start)
        self.filled()

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        metadata: dict,
        strict: bool,
        missing: list[str],
        *rest: Any,
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, metadata, strict, missing, *rest)
        if "alpha" not in self.lacking():  # a stock network has no such weight: the value is kept
            missing[:] = [key for key in missing if key != prefix + "alpha"]


class NoisyConv1d(_NoisyWeights, nn.Conv1d):
    """A Conv1d with noisy weights."""

    def forward(self, input: Tensor) -> Tensor:
        return _convolved(self, input)


class NoisyConv2d(_NoisyWeights, nn.Conv2d):
    """A Conv2d with noisy weights."""

    def forward(self, input: Tensor) -> Tensor:
        return _convolved(self, input)


class NoisyConv3d(_NoisyWeights, nn.Conv3d):
    """A Conv3d with noisy weights."""

    def forward(self, input: Tensor) -> Tensor:
        return _convolved(self, input)


class NoisyLinear(_NoisyWeights, nn.Linear):
    """A Linear with noisy weights."""

    def forward(self, input: Tensor) -> Tensor:
        if isinstance(input, Proxy):
            return called(self, input)
        return functional.linear(input, self.noisy(), self.bias)


_STOCK: dict[type, type[nn.Module]] = {
    NoisyConv1d: nn.Conv1d,
    NoisyConv2d: nn.Conv2d,
    NoisyConv3d: nn.Conv3d,
    NoisyLinear: nn.Linear,
}


def _convolved(layer: Any, x: Tensor) -> Tensor:
    """The convolution with noisy weights."""
    return called(layer, x) if isinstance(x, Proxy) else layer._conv_forward(x, layer.noisy(), layer.bias)


def noisy_weights(module: nn.Module, alpha: float) -> nn.Module:
    """Return a layer like another, with noise on its weights in training and in evaluation.

    Args:
        module: A convolution or linear layer of torch's own class, or a linear layer of timm's.
        alpha: What the parameter `alpha`, (), starts with.

    Returns:
        The layer, with tensors of its own.

    Raises:
        LayerError: It is of another class.

    Examples:
        >>> layer = noisy_weights(nn.Linear(2, 3), 0.0)
        >>> type(layer).__name__, sorted(layer.state_dict())
        ('NoisyLinear', ['alpha', 'bias', 'weight'])
    """
    # timm's Linear, which computes what torch's does, derives from it and has its name.
    named = [
        n
        for n, stock in _STOCK.items()
        if isinstance(module, stock) and stock.__name__ == type(module).__name__
    ]
    kind = named[0] if named else None
    if kind is None:
        known = ", ".join(k.__name__ for k in _STOCK.values())
        raise LayerError(f"a {type(module).__name__} gets no noise on its weights; {known} do")
    new: Any = own_copy(module)
    new.__class__, new.start = kind, float(alpha)
    new.alpha = nn.Parameter(torch.full_like(new.weight.detach().flatten()[0], alpha))
    return new


def expectation(layer: nn.Module) -> nn.Module | None:
    """Return what a noisy layer computes in expectation.

    Args:
        layer: A layer with noisy weights, or `NoisyOutputs`.

    Returns:
        The stock layer with the same tensors; None if that is the identity.
    """
    return layer.quiet() if isinstance(layer, _NoisyWeights) else None


class NoisyOutputs(Drawing, OptionalState):
    """Adds noise to what a layer gives, in training and in evaluation. `alpha`, (), is a parameter.

    Args:
        alpha: What `alpha` starts with.

    Examples:
        >>> layer, x = NoisyOutputs(0.0), torch.rand(2, 3)
        >>> torch.equal(layer(x), x)
        True
    """

    alpha: nn.Parameter

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.start = float(alpha)
        self.alpha = nn.Parameter(torch.tensor(self.start))

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Give alpha the value that it started with."""
        self.alpha.fill_(self.start)
        self.filled("alpha")

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, Proxy):
            return called(self, x)
        if x.dim() < 2:
            raise LayerError(
                f"this layer needs a batch (N, *any) of images; got an input of shape {tuple(x.shape)}"
            )
        alpha = self.alpha.to(x.dtype)
        return parametric_noise(x, alpha, spread(x, each=True), _unit_noise(x, self, self.shard is not None))


def _unit_noise(like: Tensor, drawing: Drawing, shared: bool = False) -> Tensor:
    """Draw N(0, 1) in float32, so that networks in double precision draw the same; `shared`: this process's part."""
    if recording():
        return torch.randn_like(like)
    shard = drawing.shard if shared else None
    shape = like.shape if shard is None else (shard.total, *like.shape[1:])
    noise = unit_normal(shape, like.device, drawing.stream)
    return (noise if shard is None else shard.take(noise, len(like))).to(like.dtype)
