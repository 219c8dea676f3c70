"""CANL, the Class Adversarial Noise Layer, with gradients from a cache: one round a step (Algorithm 2)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from surgeon.errors import LayerError
from surgeon.methods.adversarial_noise import class_cache, cpu, gpu
from surgeon.methods.adversarial_noise.gradient_noise import GradientNoise, added
from surgeon.methods.adversarial_noise.hooks import hooked
from surgeon.methods.adversarial_noise.maths import noise_along
from surgeon.methods.adversarial_noise.rows import format_of
from surgeon.tensors.gpu import sent
from surgeon.tensors.shard import gather_labels


class CANL(GradientNoise):
    """h' = h + r s(h) g/‖g‖∞, g the cached gradient of each sample's class.

    The cache holds, for each class, the gradient of one random sample of the last batch with that class, and
    zeros before. Noise is added in phase "perturb", with the labels given to `set_labels` before the forward
    pass.

    Here: a cache in float16 or narrower holds g/‖g‖∞, which is all that eq. 4 uses and which does not
    underflow. Here: activations of another shape than the cache's start a new cache.

    Args:
        epsilon: As for `GradientNoise`, as are per_sample, momentum, seed, deviation and magnitude.
        num_classes: Number of classes; required.
        per_sample: One magnitude per sample instead of per batch.
        momentum: Weight of the current batch in a running s(h).
        cache_dtype: Data type of the cache. Default: that of the activations.
        seed: Seed of the layer's own random stream.
        deviation: Multiply by s(h), eq. 4.
        magnitude: "drawn" (eq. 2), or "fixed" at its mean.

    Raises:
        LayerError: A setting is invalid; labels are not class indices; in forward, the batch has no labels.

    Examples:
        >>> import torch
        >>> layer, h = CANL(0.1, num_classes=2, seed=0), torch.rand(4, 3, requires_grad=True)
        >>> for round in range(2):
        ...     layer.enter("perturb")
        ...     layer.set_labels(torch.tensor([0, 1, 0, 1]))
        ...     out = layer(h)
        ...     print(torch.equal(out, h))  # the first batch finds no gradients in the cache
        ...     (out**2).sum().backward()
        True
        False
    """

    source: ClassVar[str] = "canl"
    settings: ClassVar[tuple[str, ...]] = (*GradientNoise.settings, "num_classes", "cache_dtype")
    needs_labels: ClassVar[bool] = True
    cache: Tensor | None
    _pending: tuple[Tensor, Tensor] | None
    """Classes and rows of this process's last backward pass, to be summed over all processes."""

    def __init__(
        self,
        epsilon: float = 0.03,
        *,
        num_classes: int | None = None,
        per_sample: bool = True,
        momentum: float | None = None,
        cache_dtype: torch.dtype | None = None,
        seed: int | None = None,
        deviation: bool = True,
        magnitude: str = "drawn",
    ) -> None:
        if num_classes is None or num_classes < 1:
            raise LayerError(
                f"num_classes={num_classes} cannot size the cache of source='canl'; give the class count"
            )
        if cache_dtype is not None and not cache_dtype.is_floating_point:
            raise LayerError(
                f"cache_dtype={cache_dtype} cannot hold gradients; a floating dtype such as float16 can"
            )
        super().__init__(
            epsilon,
            per_sample=per_sample,
            momentum=momentum,
            seed=seed,
            deviation=deviation,
            magnitude=magnitude,
        )
        self.num_classes = num_classes
        self.cache_dtype = cache_dtype

    def reset(self) -> None:
        super().reset()
        self.cache = self._pending = self.batch.cache_input = None

    def share(self) -> None:
        if self._pending is None or self.cache is None or self.shard is None:
            return
        classes, rows = self._pending
        self._pending = None
        self.cache.index_copy_(0, classes, self.shard.sum(rows))

    def get_memory(self) -> dict[str, Tensor]:
        cache = {} if self.cache is None else {"cache": self.cache}
        return {**cache, **super().get_memory()}

    def set_memory(self, memory: dict[str, Tensor]) -> None:
        """Restore the cache, the running s(h) and the random stream.

        Args:
            memory: What `get_memory` returned.
        """
        super().set_memory(memory)
        self.cache, self.batch.cache_input = memory.get("cache"), None

    def makes_cache(self, device: torch.device, samples: int) -> bool:
        """Say whether a batch creates the cache as later compiled graphs need it.

        Args:
            device: Device of the batch.
            samples: Its number of samples.

        Returns:
            True if there is no cache on the device yet, and no more classes than samples.
        """
        return not self._has_cache(device) and self.num_classes <= samples

    def extra_repr(self) -> str:
        return f"num_classes={self.num_classes}, {super().extra_repr()}"

    def set_labels(self, labels: Tensor) -> None:
        """Give the layer the class of each sample; magnitudes and ranks are drawn for them.

        A collective call if several processes share the batch.

        Args:
            labels: (N,) integers on any device.

        Raises:
            LayerError: They are not class indices.
        """
        batch = self.batch
        batch.labels = None
        self._check(labels)
        batch.labels = labels
        batch.everyone = labels if self.shard is None else gather_labels(labels, self.shard)
        batch.cache_input = self._cache_input(labels)
        batch.magnitude = self.draw(len(labels))
        # Over the samples of all processes, each of which then chooses the same ones.
        batch.rank = torch.randperm(len(batch.everyone), generator=self._generator, device="cpu")
        batch.speaking, batch.classes = None, self.num_classes if self.measures_alone else 0

    def _check(self, labels: Tensor) -> None:
        """Raise LayerError for labels that are not class indices."""
        if (
            labels.dim() != 1
            or labels.is_floating_point()
            or labels.is_complex()
            or labels.dtype == torch.bool
        ):
            raise LayerError(
                f"canl needs class indices of shape (N,), got {labels.dtype} of shape {tuple(labels.shape)}; "
                "soft labels (mixup, cutmix) have no class to look up"
            )
        # On a GPU a look at the values would have the CPU wait for it at every step.
        if labels.device.type != "cpu":
            return
        odd = ((labels < 0) | (labels >= self.num_classes)).nonzero()
        if len(odd):
            raise LayerError(
                f"labels[{int(odd[0])}] is {int(labels[odd[0]])}, and num_classes={self.num_classes}, the classes of "
                f"the head at the cut: labels are 0 to {self.num_classes - 1}; a head of more comes first: revert, "
                "exchange it, and apply again"
            )

    def perturb(self, h: Tensor) -> Tensor:
        """Add the noise of eq. 4 along the cached gradients, and renew the cache in the backward pass.

        Args:
            h: (N, ...).

        Returns:
            `h` with noise.

        Raises:
            LayerError: The labels of this batch are not set.
        """
        return self._compiled(h) if torch.compiler.is_dynamo_compiling() else self._eager(h)

    def _eager(self, h: Tensor) -> Tensor:
        """Add the noise outside compiled graphs, with a hook that renews the cache."""
        batch = self.batch
        labels, rank, magnitude = batch.labels, batch.rank, batch.magnitude
        if labels is None or rank is None or magnitude is None or len(labels) != len(h):
            got = "none are set" if labels is None else f"{len(labels)} are set"
            raise LayerError(
                f"canl needs the labels of this batch of {len(h)}, but {got}; call layer.set_labels before the "
                "forward pass, as surgeon.training.adversarial_noise does"
            )
        labels, rank = labels.to(h.device, torch.long).contiguous(), sent(rank, h.device)
        everyone = labels if batch.everyone is None else batch.everyone.to(h.device, torch.long)
        shape = (self.num_classes, *h.shape[1:])
        if self.cache is None or self.cache.shape != shape:
            self.cache = torch.zeros(shape, dtype=self.cache_dtype or h.dtype, device=h.device)
        cache = self.cache = self.cache.to(h.device)
        shard = self.shard
        if self.measures_alone and gpu.takes(h, cache):
            # The kernels walk through cache and activations in one order of memory.
            cache = self.cache = cache.contiguous(memory_format=format_of(h))
            speaking = self._speakers(labels, rank, len(cache))
            out = gpu.perturbed(h, cache, magnitude, labels)
            return hooked(out, lambda gradient: gpu.remember(cache, gradient, labels, speaking))

        if self.measures_alone and cpu.takes(h, cache):
            cache = self.cache = cache.contiguous(memory_format=format_of(h))
            out = cpu.perturbed(h, cache, magnitude, labels)
            return hooked(out, lambda gradient: cpu.remember(cache, gradient, labels, rank))

        def keep(gradient: Tensor) -> None:
            if shard is None:
                class_cache.write(cache, gradient, labels, rank)
            else:
                # No exchange between processes inside a backward pass: `share` makes it after the step.
                self._pending = class_cache.own_rows(cache, gradient, everyone, rank, shard)

        return hooked(added(h, self._cached_eta(h, cache, labels, magnitude)), keep)

    def _compiled(self, h: Tensor) -> Tensor:
        """Add the noise inside a compiled graph, which a hook would break: the cache is an input."""
        batch = self.batch
        leaf, labels, rank, magnitude = batch.cache_input, batch.labels, batch.rank, batch.magnitude
        fits = leaf is not None and leaf.shape[1:] == h.shape[1:] and leaf.device == h.device
        if (
            leaf is None
            or not fits
            or labels is None
            or len(labels) != len(h)
            or rank is None
            or magnitude is None
        ):
            return torch.compiler.disable(self._eager)(h)
        batch.cache_input = None
        labels = labels.to(h.device, torch.long)
        h = class_cache.feed_cache(h, leaf, self._speakers(labels, sent(rank, h.device), len(leaf)))
        return added(h, self._cached_eta(h, leaf.detach(), labels, magnitude))

    def _speakers(self, labels: Tensor, rank: Tensor, classes: int) -> Tensor:
        """Return which sample's gradient is cached for each class."""
        speaking = self.batch.speaking
        if speaking is not None:  # computed for all layers at once, by `sending.py`
            return speaking.to(labels.device)
        return class_cache.speakers(labels, rank.unsqueeze(0), classes)[0]

    def _has_cache(self, device: torch.device) -> bool:
        """Say whether there is a cache on a device."""
        return self.cache is not None and len(self.cache) == self.num_classes and self.cache.device == device

    def _cache_input(self, labels: Tensor) -> Tensor | None:
        """Return the cache as an input of a compiled graph, or None if it cannot be one.

        It cannot without a cache, with more classes than samples, or if s(h) is not this batch's alone.
        """
        cache = self.cache
        usable = cache is not None and self._has_cache(cache.device) and len(cache) <= len(labels)
        return class_cache.input_of(cache) if cache is not None and usable and self.measures_alone else None

    def _cached_eta(self, h: Tensor, cache: Tensor, labels: Tensor, magnitude: Tensor) -> Tensor:
        """Return eq. 4 with each sample's gradient that of its class.

        With fewer classes than samples, the classes' gradients are scaled before they are copied to samples.
        """
        if len(cache) > len(labels):
            return self._eta(h, cache.index_select(0, labels), magnitude)
        wide = torch.promote_types(h.dtype, torch.float32)
        amplitude = sent(magnitude, h.device).to(wide) * self._std(h.detach().to(wide))
        direction = noise_along(cache.to(h.dtype), 1.0, 1.0).index_select(0, labels)
        return direction.mul_(amplitude.to(h.dtype).view(-1, *[1] * (h.dim() - 1)))

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_pending": None}
