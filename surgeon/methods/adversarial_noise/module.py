"""The Adversarial Noise Layer as a module: ANL, CANL, and the LAT and Gaussian controls.

Paper: You et al., "Adversarial Noise Layer: Regularize Neural Network by Adding Noise", Algorithms 1 and 2.
The layer needs a training step that tells it the phase and, for CANL, the labels: `surgeon.training.steps`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from surgeon.errors import LayerError
from surgeon.methods.adversarial_noise import class_cache
from surgeon.methods.adversarial_noise import gpu as adversarial_gpu
from surgeon.methods.adversarial_noise.maths import (
    adversarial_noise,
    check_epsilon,
    deviation,
    draw_magnitude,
)
from surgeon.tensors.gaussian import Drawing, add_noise
from surgeon.tensors.gpu import sent
from surgeon.tensors.shard import gather_labels
from surgeon.tensors.stream_state import stream_at, stream_state
from surgeon.tensors.traced import Proxy, called

SOURCES = ("anl", "canl", "lat", "gaussian")
PHASES = ("idle", "record", "perturb")
_TRANSIENT = (
    "recorded",
    "like",
    "gradient",
    "_labels",
    "_everyone",
    "_magnitude",
    "_rank",
    "_speaking",
    "_pending",
    "_input",
)
_UNREGISTERED = frozenset({*_TRANSIENT, "phase", "_phase", "labels", "shard", "enabled"})
"""Attributes that no module or parameter ever is: torch would look for one each time, twenty times a layer and step."""


class AdversarialNoise(Drawing, nn.Module):
    """h' = h + eta in training; the identity in evaluation, when `enabled` is False, and in phase "idle".

    Input and output (N, ...). No parameters and no buffers: the state dict is the stock one. What eta is:

    - "anl" (Algorithm 1): r s(h) g/||g||_inf, g the gradient of this batch. Round 1 in phase "record":
      forward keeps in `recorded` what torch.autograd.grad takes as an input, and a tensor of its shape and dtype, without
      memory, in `like`; give the gradient to `set_gradient`. Round 2 in phase "perturb".
    - "canl" (Algorithm 2): the same with g from a cache, for each class the gradient of one random sample of
      the last batch that had the class, zeros before. In phase "perturb", with `labels` (N,) set before
      forward.
    - "lat": epsilon sign(g), g the gradient of the previous batch, sample by sample; further samples get no
      noise.
    - "gaussian": N(0, (epsilon/4)^2), from torch's global random stream.

    `epsilon` is in units of the standard deviation of the activations for anl and canl, of the activations
    for the controls; below 0 it is the paper's loss-lowering control. `per_sample`: one r for each sample,
    else one a batch. `cache_dtype` stores CANL's cache in, say, float16. `seed` starts the layer's own random
    stream.

    Here: s(h) is the population standard deviation of the whole batch tensor in the round that adds the
    noise, detached; with `momentum` m in (0, 1] it is a running mean, m the weight of the current batch,
    started by the first one.
    Here: r and the choice of samples come from a private stream, drawn when the gradient or the labels
    arrive: forward repeats exactly, and dropout sees the same global stream in both rounds.
    Here: a cache in float16 or narrower holds g/||g||_inf, which eq. 4 uses alone and which does not underflow.
    Here: another activation shape than the cache's starts the cache, or LAT's memory, anew.

    In phase "perturb" the output is a tensor of its own; in the identity, and in phase "record" where it can, it is the
    input itself, as without the layer. An in-place activation may overwrite it where it might overwrite the input. Copies and pickles keep the
    cache, the running mean and the random stream, and drop what belongs to one batch.
    Raises LayerError for wrong settings, and in forward for an anl batch without its gradient, a canl batch
    without its labels, and a layer called twice in one recording.
    """

    recorded: Tensor | GradientEdge | None
    like: Tensor | None
    gradient: Tensor | None
    _everyone: Tensor | None
    _rank: Any
    _magnitude: Any
    _speaking: Tensor | None
    _input: Tensor | None

    def __init__(
        self,
        source: str = "anl",
        epsilon: float = 0.03,
        *,
        per_sample: bool = True,
        momentum: float | None = None,
        num_classes: int | None = None,
        cache_dtype: torch.dtype | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        if source not in SOURCES:
            raise LayerError(f"source={source!r} is not known; {', '.join(map(repr, SOURCES))} are")
        if source == "canl" and (num_classes is None or num_classes < 1):
            raise LayerError(
                f"num_classes={num_classes} cannot size the cache of source='canl'; give the class count"
            )
        if momentum is not None and not 0 < momentum <= 1:
            raise LayerError(
                f"momentum={momentum} is outside (0, 1]; None uses the standard deviation of each batch"
            )
        if cache_dtype is not None and not cache_dtype.is_floating_point:
            raise LayerError(
                f"cache_dtype={cache_dtype} cannot hold gradients; a floating dtype such as float16 can"
            )
        self.source = source
        self.epsilon = check_epsilon(epsilon)
        self.per_sample = per_sample
        self.momentum = momentum
        self.num_classes = num_classes
        self.cache_dtype = cache_dtype
        self.enabled = True
        self._phase = "perturb" if source in ("lat", "gaussian") else "idle"
        seed = int(torch.randint(2**31, (), device="cpu")) if seed is None else seed
        self._generator = torch.Generator(device="cpu").manual_seed(seed)
        self.clear()
        self.reset()

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _UNREGISTERED:
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    @property
    def phase(self) -> str:
        """One of PHASES. Entering "record" and leaving "perturb" drop the stored gradient."""
        return self._phase

    @phase.setter
    def phase(self, phase: str) -> None:
        if phase not in PHASES:
            raise LayerError(f"phase={phase!r} is not known; {', '.join(map(repr, PHASES))} are")
        if phase == "record" or (self._phase == "perturb" and phase != "perturb"):
            self.recorded = self.like = self.gradient = None
        self._phase = phase

    @property
    def labels(self) -> Tensor | None:
        """The class of each sample of the next batch, (N,) integers on any device. Only canl reads it."""
        return self._labels

    @labels.setter
    def labels(self, labels: Tensor | None) -> None:
        self._labels = labels
        if labels is None or self.source != "canl":
            return
        if (
            labels.dim() != 1
            or labels.is_floating_point()
            or labels.is_complex()
            or labels.dtype == torch.bool
        ):
            self._labels = None
            raise LayerError(
                f"canl needs class indices of shape (N,), got {labels.dtype} of shape {tuple(labels.shape)}; "
                "soft labels (mixup, cutmix) have no class to look up"
            )
        if (
            labels.device.type == "cpu"
            and len(labels)
            and not 0 <= int(labels.min()) <= int(labels.max()) < (self.num_classes or 0)
        ):
            self._labels = None
            raise LayerError(
                f"labels from {int(labels.min())} to {int(labels.max())} do not fit "
                f"num_classes={self.num_classes}"
            )
        self._everyone = labels if self.shard is None else gather_labels(labels, self.shard)
        self._input = self._cache_input(labels)
        self._magnitude = self._draw(len(labels))
        self._rank, self._speaking = (
            torch.randperm(len(self._everyone), generator=self._generator, device="cpu"),
            None,
        )

    def set_gradient(self, gradient: Tensor | None) -> None:
        """Give an anl layer dJ/dh (N, ...) of round 1, eq. 3; stored detached, and r is drawn for it.

        None, what autograd says of a layer that the loss does not depend on, means no noise.
        """
        if self.source != "anl":
            raise LayerError(
                f"set_gradient belongs to source='anl'; source={self.source!r} finds its own gradients"
            )
        like, self.recorded, self.like = self.like, None, None
        if gradient is None and like is not None:
            gradient = torch.zeros(like.shape, dtype=like.dtype, device=like.device)
        if gradient is None or (like is not None and gradient.shape != like.shape):
            got = None if gradient is None else tuple(gradient.shape)
            wanted = "phase 'record' to run first" if like is None else f"the recorded {tuple(like.shape)}"
            raise LayerError(f"set_gradient got {got}; expected {wanted}")
        self.gradient = gradient.detach()
        self._magnitude = self._draw(gradient.shape[0])

    def clear(self) -> None:
        """Drop what belongs to one batch: recorded output, gradient, labels."""
        self.recorded = self.like = self.gradient = None
        self._labels = self._everyone = self._magnitude = self._rank = self._speaking = None

    def reset(self) -> None:
        """Forget earlier batches: CANL's cache, LAT's gradient, the running standard deviation."""
        self.cache: Tensor | None = None
        self._input = None
        self.previous: Tensor | None = None
        self.running_std: Tensor | None = None
        self._pending: tuple[Tensor, Tensor] | None = None

    def share(self) -> None:
        """Put into the cache what all processes' last backward pass found; of one process there is nothing to do.

        A collective call: each process makes it, after its backward pass and before the next forward one.
        """
        if self._pending is None or self.cache is None or self.shard is None:
            return
        classes, rows = self._pending
        self._pending = None
        self.cache.index_copy_(0, classes, self.shard.sum(rows))

    def get_memory(self) -> dict[str, Tensor]:
        """What the layer remembers of earlier batches, as tensors: for a checkpoint beside the state dict."""
        kept = {"cache": self.cache, "previous": self.previous, "running_std": self.running_std}
        return {k: v for k, v in kept.items() if v is not None} | {"random": self._generator.get_state()}

    def set_memory(self, memory: dict[str, Tensor]) -> None:
        """Take back what `get_memory` gave."""
        self.cache, self.previous = memory.get("cache"), memory.get("previous")
        self.running_std, self._input = memory.get("running_std"), None
        self._generator.set_state(memory["random"])

    def forward(self, h: Tensor) -> Tensor:
        if isinstance(h, Proxy):
            return called(self, h)
        if not (self.training and self.enabled) or self._phase == "idle" or h.numel() == 0:
            return h
        if self._phase == "record":
            return self._record(h) if self.source == "anl" else h
        if self.source == "anl":
            return self._anl(h)
        if self.source == "canl":
            return self._canl_compiled(h) if torch.compiler.is_dynamo_compiling() else self._canl(h)
        return self._lat(h) if self.source == "lat" else add_noise(h, abs(self.epsilon) / 4, self)

    def extra_repr(self) -> str:
        classes = f", num_classes={self.num_classes}" if self.source == "canl" else ""
        return f"{self.source!r}, epsilon={self.epsilon:g}{classes}" + ("" if self.enabled else ", disabled")

    def _record(self, h: Tensor) -> Tensor:
        if self.recorded is not None:
            raise LayerError(
                "this adversarial noise layer was called twice in one recording, so that its gradient is not "
                "one place's; give each call its own layer, or set phase='record' again to start over"
            )
        self.like = h.detach().new_empty(()).expand(h.shape)
        if h.requires_grad and not h._is_view():
            # Not the tensor, which an in-place activation may overwrite, but the place in the graph where it was made.
            self.recorded = torch.autograd.graph.get_gradient_edge(h)
            return h
        recorded = h.view_as(h) if h.requires_grad else h.detach().requires_grad_()
        self.recorded = recorded
        return recorded.clone()

    def _anl(self, h: Tensor) -> Tensor:
        if self.gradient is None or self.gradient.shape != h.shape:
            stored = "none" if self.gradient is None else f"one of shape {tuple(self.gradient.shape)}"
            raise LayerError(
                f"anl has no gradient for this batch of shape {tuple(h.shape)} (stored: {stored}); it needs "
                "the two-round step of surgeon.training.steps, or source='canl', which takes one round"
            )
        if self._plain and adversarial_gpu.takes(h):
            return adversarial_gpu.perturbed(h, self.gradient, self._magnitude)
        return _sum(h, self._eta(h, self.gradient))

    @property
    def _plain(self) -> bool:
        """Whether s(h) is that of this process's batch alone."""
        return self.shard is None and self.momentum is None

    def _canl(self, h: Tensor) -> Tensor:
        labels, rank = self._labels, self._rank
        if labels is None or len(labels) != len(h):
            got = "none are set" if labels is None else f"{len(labels)} are set"
            raise LayerError(
                f"canl needs the labels of this batch of {len(h)}, but {got}; set layer.labels before the "
                "forward pass, as the cached step of surgeon.training.steps does"
            )
        labels, rank = labels.to(h.device, torch.long).contiguous(), sent(rank, h.device)
        everyone = labels if self._everyone is None else self._everyone.to(h.device, torch.long)
        shape = (self.num_classes, *h.shape[1:])
        if self.cache is None or self.cache.shape != shape:
            self.cache = torch.zeros(shape, dtype=self.cache_dtype or h.dtype, device=h.device)
        cache = self.cache = self.cache.to(h.device)
        shard = self.shard
        if self._plain and adversarial_gpu.takes(h, cache):
            cache = self.cache = cache.contiguous(memory_format=adversarial_gpu.format_of(h))
            speaking = self._speakers(labels, rank, len(cache))
            out = adversarial_gpu.perturbed(h, cache, self._magnitude, labels)
            return _hooked(out, lambda gradient: adversarial_gpu.remember(cache, gradient, labels, speaking))

        def keep(gradient: Tensor) -> None:
            if shard is None:
                class_cache.write(cache, gradient, labels, rank)
            else:
                self._pending = class_cache.own_rows(cache, gradient, everyone, rank, shard)

        return _hooked(_sum(h, self._cached_eta(h, cache, labels)), keep)

    def _canl_compiled(self, h: Tensor) -> Tensor:
        """The same inside a compiled graph, which a hook would break, where the cache can be an input of it."""
        leaf, labels, rank = self._input, self._labels, self._rank
        fits = leaf is not None and leaf.shape[1:] == h.shape[1:] and leaf.device == h.device
        if leaf is None or not fits or labels is None or len(labels) != len(h):
            return torch.compiler.disable(self._canl)(h)
        self._input = None
        labels = labels.to(h.device, torch.long)
        h = class_cache.feed_cache(h, leaf, self._speakers(labels, sent(rank, h.device), len(leaf)))
        return _sum(h, self._cached_eta(h, leaf.detach(), labels))

    def _speakers(self, labels: Tensor, rank: Tensor, classes: int) -> Tensor:
        if self._speaking is not None:  # found for all layers at once, by `adversarial_send.py`
            return self._speaking.to(labels.device)
        return class_cache.speakers(labels, rank.unsqueeze(0), classes)[0]

    def has_cache(self, device: torch.device) -> bool:
        """Whether CANL's cache is there and on that device."""
        return self.cache is not None and len(self.cache) == self.num_classes and self.cache.device == device

    def _cache_input(self, labels: Tensor) -> Tensor | None:
        """The cache as an input of a compiled graph; None where there is none yet, or it is more than the batch, or several processes'."""
        cache = self.cache
        if cache is None or not self.has_cache(cache.device) or len(cache) > len(labels) or not self._plain:
            return None
        return class_cache.input_of(cache)

    def _cached_eta(self, h: Tensor, cache: Tensor, labels: Tensor) -> Tensor:
        """eq. 4 with each sample's gradient that of its class; where those are fewer, they are scaled before they are
        handed out."""
        if len(cache) > len(labels):
            return self._eta(h, cache.index_select(0, labels))
        wide = torch.promote_types(h.dtype, torch.float32)
        amplitude = sent(self._magnitude, h.device).to(wide) * self._std(h.detach().to(wide))
        direction = adversarial_noise(cache.to(h.dtype), 1.0, 1.0).index_select(0, labels)
        return direction.mul_(amplitude.to(h.dtype).view(-1, *[1] * (h.dim() - 1)))

    def _lat(self, h: Tensor) -> Tensor:
        out = h
        if self.previous is not None and self.previous.shape[1:] == h.shape[1:]:
            n = min(len(h), len(self.previous))
            eta = torch.zeros_like(h, requires_grad=False)
            eta[:n] = self.previous[:n].to(h.device, h.dtype) * self.epsilon
            out = h + eta

        def keep(gradient: Tensor) -> None:
            self.previous = (gradient > 0).to(torch.int8) - (gradient < 0).to(torch.int8)

        return _hooked(h.clone() if out is h else out, keep)

    def _eta(self, h: Tensor, gradient: Tensor) -> Tensor:
        wide = torch.promote_types(h.dtype, torch.float32)
        r = sent(self._magnitude, h.device).to(wide)
        return adversarial_noise(gradient.to(h.device, h.dtype), self._std(h.detach().to(wide)), r)

    def _std(self, h: Tensor) -> Tensor:
        std = deviation(h) if self.shard is None else self.shard.std(h)
        if self.momentum is None:
            return std
        old = std if self.running_std is None else self.running_std.to(std)
        self.running_std = torch.lerp(old, std, self.momentum)
        return self.running_std

    def _draw(self, n: int) -> Tensor:
        shard = self.shard if self.per_sample else None
        if shard is None:
            return draw_magnitude(n if self.per_sample else 1, self.epsilon, self._generator)
        return shard.take(draw_magnitude(shard.total, self.epsilon, self._generator), n)

    def __getstate__(self) -> dict[str, Any]:
        state = {**super().__getstate__(), **dict.fromkeys(_TRANSIENT)}
        state["_generator"] = stream_state(self._generator)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        generator = stream_at(state["_generator"])
        super().__setstate__({**dict.fromkeys(_TRANSIENT), **state, "_generator": generator})


def _sum(h: Tensor, eta: Tensor) -> Tensor:
    """h + eta in the memory of `eta`, if it lies as `h` does."""
    return eta.add_(h) if eta.stride() == h.stride() and eta.dtype == h.dtype else h + eta


def _hooked(out: Tensor, keep: Any) -> Tensor:
    """`out` with `keep` called on its gradient; one that needs none (an input image) is made to need it."""
    if not torch.is_grad_enabled():
        return out
    leaf = not out.requires_grad
    if leaf:
        out.requires_grad_()
    out.register_hook(keep)
    return out.clone() if leaf else out
