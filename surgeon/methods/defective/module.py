"""Defective neurons as the module to insert: a mask over activations, the same in training and evaluation."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from typing import Self

import torch
from torch import Tensor, nn

from surgeon.errors import LayerError
from surgeon.methods.defective.maths import Shape, defective_mask
from surgeon.methods.defective.zeroed import zeroed, zeroed_in_place
from surgeon.tensors.memory_format import lying, memory_format_of
from surgeon.tensors.optional_state import OptionalState
from surgeon.tensors.own_output import makes_its_own
from surgeon.tensors.traced import Proxy, called


class DefectiveMask(OptionalState):
    """Replaces the masked neurons of (N, C, H, W) activations by the constant `value`, in training and evaluation.

    Args:
        channels: C.
        height: H.
        width: W.
        keep: Share of the neurons that work, in [0, 1].
        mode: "neuron" masks each on its own, "same" one map for all channels, "channel" whole channels.
        value: The constant, in the units of the activations.
        seed: Seed of the mask.
        chosen: Here: a buffer `rank` says in which order neurons stay, set by `choose`; random before that.

    Raises:
        LayerError: As from `defective_mask`; in forward for another size, and the message names the expected one.

    Examples:
        >>> layer = DefectiveMask(1, 2, 2, keep=0.5, chosen=True)
        >>> layer.choose(torch.tensor([[[4.0, 1.0], [3.0, 2.0]]]))
        >>> layer(torch.tensor([[[[4.0, 1.0], [3.0, 2.0]]]])).flatten().tolist()
        [4.0, 0.0, 3.0, 0.0]
        >>> layer.set_keep(0.75)
        >>> layer.mask.flatten().tolist()
        [True, False, True, True]
    """

    of_one_size = True
    """For code that looks after the cut: what comes in must keep its size."""
    mask: Tensor
    rank: Tensor | None
    _drawn_at: float
    """The share that the layer was made with."""
    _ranked_by_seed: bool

    def __init__(
        self,
        channels: int,
        height: int,
        width: int,
        keep: float = 0.5,
        *,
        mode: str = "neuron",
        value: float = 0.0,
        seed: int = 0,
        chosen: bool = False,
    ) -> None:
        super().__init__()
        self.shape: Shape = (channels, height, width)
        self.mode = mode
        self.value = float(value)
        self.seed = seed
        self._keep = keep
        self.register_buffer("rank", None)
        if chosen:
            self.rank = self._random_rank()
        self._drawn_at, self._ranked_by_seed = keep, chosen
        self.register_buffer("mask", self._draw(keep))

    def reset_parameters(self) -> None:
        """Draw the mask again from the seed, at the share that the layer was made with.

        Neurons that were chosen by importance, or loaded, stay chosen while their rank has values; after
        `to_empty` it has no mask, and a call says so.
        """
        keep = self._drawn_at
        if self.rank is not None and "rank" in self.lacking():
            if not self._ranked_by_seed:
                return
            self.rank.copy_(self._random_rank())
            self.filled("rank")
        self.mask.copy_(self._draw(keep))
        self._keep = keep
        self.filled("mask")

    def loaded(self, names: Iterable[str]) -> None:
        """Note that a state was read: a ranking that came with it is not the seed's.

        Args:
            names: The names of the optional state that was there.
        """
        if "rank" in names:
            self._ranked_by_seed = False

    def _random_rank(self) -> Tensor:
        # On the CPU, so that a seed gives the same mask on every device.
        generator = torch.Generator(device="cpu").manual_seed(self.seed)
        order = torch.randperm(math.prod(self._drawn), generator=generator, device="cpu")
        return torch.argsort(order).view(self._drawn).to(torch.int32)

    @property
    def chosen(self) -> bool:
        """Whether the neurons go by importance."""
        return self.rank is not None

    @property
    def keep(self) -> float:
        """The share of neurons that work: what it was set to, or that of the mask, where other code
        wrote another one."""
        if self.mask.is_meta or torch.equal(self.mask.cpu(), self._draw(self._keep)):
            return self._keep
        return self.mask.double().mean().item()

    def share(self, keep: float) -> float:
        """Say how many of the neurons that a mask of a share turns off are off.

        Args:
            keep: The share of neurons that work in it.

        Returns:
            From 0, all work, to 1.

        Examples:
            >>> DefectiveMask(4, 2, 2, keep=0.75).share(0.5)
            0.5
        """
        each = math.prod(self.shape) // math.prod(self._drawn)
        wanted = math.prod(self.shape) - round(keep * math.prod(self._drawn)) * each
        off = math.prod(self.shape) - int(self.mask.sum())
        return min(off / wanted, 1.0) if wanted else 1.0

    def choose(self, importance: Tensor) -> None:
        """Keep the most important neurons; of a position or channel, the sum of its neurons' importance counts.

        Args:
            importance: (C, H, W); the larger, the longer a neuron is kept.

        Raises:
            LayerError: The layer was not made with chosen=True, or the importance has another shape.
        """
        if self.rank is None:
            raise LayerError("this mask is random; make it with chosen=True to choose its neurons")
        if importance.shape != self.shape:
            raise LayerError(
                f"importance of shape {tuple(importance.shape)} does not fit; expected {self.shape}"
            )
        axes = [
            i for i, (drawn, whole) in enumerate(zip(self._drawn, self.shape, strict=True)) if drawn != whole
        ]
        weight = importance.detach().double().cpu()
        flat = (weight.sum(axes, keepdim=True) if axes else weight).flatten()
        order = torch.argsort(flat, descending=True, stable=True)
        keep = self.keep
        self.rank.copy_(torch.argsort(order).view(self._drawn))
        self._ranked_by_seed = False
        self.mask.copy_(self._draw(keep))
        self.filled("rank", "mask")

    @property
    def _drawn(self) -> Shape:
        channels, height, width = self.shape
        return {"neuron": self.shape, "same": (1, height, width), "channel": (channels, 1, 1)}[self.mode]

    def set_keep(self, keep: float) -> None:
        """Redraw the mask at another share: a subset of the present one if smaller, a superset if larger.

        Args:
            keep: Share of the neurons that work, in [0, 1].

        Raises:
            LayerError: The present mask was loaded and is not one of this seed's, so that the two would not be nested.
        """
        new = self._draw(keep)
        old = self.mask.cpu()
        if not (bool((old <= new).all()) or bool((new <= old).all())):
            raise LayerError(
                f"the present mask does not come from seed={self.seed}, so keep={keep} would not be "
                "nested with it; make the layer with the seed of the loaded mask"
            )
        self.mask.copy_(new)
        self._keep = keep

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, Proxy):
            return called(self, x)
        mask = self._laid(x)
        return zeroed(x, mask) if self.value == 0 else torch.where(mask, x, self.value)

    def after(self, module: nn.Module, x: Tensor) -> Tensor:
        """Return `self(module(x))`, written into what the module gives where nothing else reads that.

        Args:
            module: The module before the layer.
            x: Its input.

        Returns:
            As `forward` returns.

        Examples:
            >>> layer, norm, x = DefectiveMask(4, 2, 2), nn.BatchNorm2d(4), torch.rand(8, 4, 2, 2)
            >>> torch.equal(layer.after(norm, x), layer(norm(x)))
            True
        """
        given = module(x)
        # A subclass with a forward of its own computes something else than what is shortened here.
        if self.value != 0 or type(self).forward is not _FORWARD or not makes_its_own(module):
            return self(given)
        return zeroed_in_place(given, self._laid(given))

    def _laid(self, x: Tensor) -> Tensor:
        """The mask, (1, C, H, W), in the memory format of `x`: a result takes its layout from it."""
        if x.dim() != 4 or tuple(x.shape[1:]) != self.shape:
            c, h, w = self.shape
            raise LayerError(
                f"this mask is {c}x{h}x{w}, got an input of shape {tuple(x.shape)}; "
                f"expected (N, {c}, {h}, {w})"
            )
        return lying(self.mask.unsqueeze(0), memory_format_of(x))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """`.to(memory_format=torch.channels_last)` turns tensors of four axes: the mask goes along as one
        image, so that it is
        read in the order in which the activations lie."""
        turned = functools.wraps(fn)(lambda t: _as_image(fn, t) if t.dim() == 3 else fn(t))
        return super()._apply(turned, recurse)

    def extra_repr(self) -> str:
        c, h, w = self.shape
        return (
            f"{c}, {h}, {w}, keep={self.keep:g}, mode={self.mode!r}, value={self.value:g}, seed={self.seed}"
        )

    def _draw(self, keep: float) -> Tensor:
        if self.rank is not None:
            kept = round(keep * math.prod(self._drawn))
            return (self.rank.cpu() < kept).expand(self.shape).clone()
        generator = torch.Generator(device="cpu").manual_seed(self.seed)
        return defective_mask(self.shape, keep, mode=self.mode, generator=generator)


_FORWARD = DefectiveMask.forward


def _as_image(fn: Callable[[Tensor], Tensor], t: Tensor) -> Tensor:
    """fn of (C, H, W) as (1, C, H, W), which torch's `unsqueeze` gives a first stride that hides how it lies."""
    image = t.as_strided((1, *t.shape), (t.numel(), *t.stride()), t.storage_offset())
    made = fn(image)
    return t if made is image else made.squeeze(0)
