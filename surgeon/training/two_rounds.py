"""The training step with adversarial noise layers (You et al. 2019), for any loop.

    with adversarial_noise(model, x, y, loss_fn):
        loss = loss_fn(model(x), y)
        loss.backward()

It works with any optimizer, under autocast, with a gradient scaler and in DistributedDataParallel.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from surgeon.methods.adversarial_noise.base import NoiseLayer
from surgeon.methods.adversarial_noise.sending import send
from surgeon.tensors.rewinding import rewound
from surgeon.tensors.shard import Shard, gather_shard
from surgeon.torch_private import compiler_is_loaded
from surgeon.training.kept_statistics import kept_statistics

Loss = Callable[[Any, Tensor], Tensor]


def noise_layers(model: nn.Module) -> list[NoiseLayer]:
    """Return the enabled adversarial noise layers of a model.

    Args:
        model: A network.

    Returns:
        The layers, in the order of its modules.
    """
    return [m for m in noise_by_name(model).values() if m.enabled]


def noise_by_name(model: nn.Module) -> dict[str, NoiseLayer]:
    """Return all adversarial noise layers of a model, also those that are switched off.

    Args:
        model: A network.

    Returns:
        The layers, by dotted name.
    """
    return {n: m for n, m in model.named_modules() if isinstance(m, NoiseLayer)}


def set_noise(model: nn.Module, on: bool) -> None:
    """Switch all adversarial noise layers on or off, as the paper does after half of the training.

    Args:
        model: A network; without such layers nothing happens.
        on: Whether the layers add noise in training.

    Examples:
        >>> import surgeon
        >>> from torch import nn
        >>> from surgeon.training import set_noise
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))
        >>> model = surgeon.apply(network, "anl", input_size=(3, 4, 4))
        >>> set_noise(model, False)
    """
    for layer in noise_by_name(model).values():
        layer.enabled = on


@contextlib.contextmanager
def adversarial_noise(
    model: nn.Module,
    inputs: object,
    labels: Tensor,
    loss_fn: Loss,
    *,
    shard: Shard | Literal["auto"] | None = "auto",
) -> Iterator[None]:
    """Enable a model's adversarial noise layers for one training step.

    Within the context, the forward pass adds their noise. ANL layers (Algorithm 1) need the gradients of a
    first forward and backward pass, which runs on entering. It computes no parameter gradients and leaves
    `.grad`, batch-norm statistics and random streams unchanged, so that dropout and other noise in the second pass
    are those of the first, and what they would have been without it. CANL layers (Algorithm 2) get the labels. In
    evaluation mode, or without such layers, the model is unchanged.

    On leaving, also by an error, the layers are as before, except for CANL's cache, LAT's memory and the
    layers' own random streams. The backward pass may come after leaving, as in Lightning.

    Under torch.compile the first pass, and the step that creates CANL's caches, run uncompiled. In compiled
    steps only `backward()` updates CANL's cache, torch.autograd.grad does not.

    Here: where activations are float16, the first pass's loss is summed over the samples, not averaged, so
    that small gradients do not underflow; eq. 4 does not depend on their scale.

    Args:
        model: The network, also wrapped in DistributedDataParallel, FSDP or torch.compile.
        inputs: The model's input in this step, (N, C, H, W).
        labels: (N,) class indices.
        loss_fn: Called as loss_fn(model(inputs), labels); must compute the step's loss.
        shard: This process's part of a batch that several processes share. "auto" detects it for a model in
            DistributedDataParallel or FSDP; None for a batch that is not shared. With a shard, the standard
            deviation s(h) is that of the whole batch, magnitudes are each process's own, and CANL's cache is
            the same on all processes.

    Yields:
        None.

    Raises:
        LayerError: The network calls a noise layer twice, or CANL cannot look up the labels.

    Examples:
        >>> import surgeon, torch
        >>> from torch import nn
        >>> from surgeon.training import adversarial_noise
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))
        >>> model = surgeon.apply(network, "anl", input_size=(3, 4, 4)).train()
        >>> x, y, loss_fn = torch.rand(6, 3, 4, 4), torch.arange(6) % 3, nn.CrossEntropyLoss()
        >>> with adversarial_noise(model, x, y, loss_fn):
        ...     loss = loss_fn(model(x), y)
        ...     loss.backward()
    """
    layers = noise_layers(model) if model.training else []
    shared = _shard(model, labels, shard) if layers else None
    try:
        for layer in layers:
            layer.begin(shared)
        needing_gradients = [layer for layer in layers if layer.needs_gradient]
        if needing_gradients:
            _first_round(model, needing_gradients, inputs, labels, loss_fn)
        for layer in layers:
            layer.enter("perturb")
            if layer.needs_labels:
                layer.set_labels(labels)
        send([layer.batch for layer in layers], labels)
        with _eager() if _before_caches(layers, inputs, labels) else contextlib.nullcontext():
            yield
        for layer in layers:
            # Not in `finally`: it waits for all processes, which an error in one of them would keep waiting.
            layer.share()
    finally:
        for layer in layers:
            layer.end()


def _shard(model: nn.Module, labels: Tensor, given: Shard | Literal["auto"] | None) -> Shard | None:
    if given != "auto":
        return given
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return None
    from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel

    kinds = (nn.parallel.DistributedDataParallel, FullyShardedDataParallel, FSDPModule)
    parallel = next((m for m in model.modules() if isinstance(m, kinds)), None)
    if parallel is None:
        return None
    group = getattr(parallel, "process_group", None)
    if torch.distributed.get_world_size(group) == 1:
        return None
    return gather_shard(len(labels), labels.device, group)


def _first_round(
    model: nn.Module, layers: list[NoiseLayer], inputs: object, labels: Tensor, loss_fn: Loss
) -> None:
    """Compute ∂J/∂h of every layer at η = 0 (eq. 3); nothing else changes."""
    others = [m for m in noise_layers(model) if m not in layers]
    phases = [(m, m.phase) for m in others]
    # DistributedDataParallel would wait for parameter gradients, which this pass does not make.
    alone = getattr(model, "no_sync", contextlib.nullcontext)()
    with (
        rewound(model, (inputs, labels)),
        _frozen(model),
        kept_statistics(model),
        alone,
        _eager(),
    ):
        for module in others:
            # At η = 0 nobody adds noise, and CANL's caches wait for the gradients of the step itself.
            module.enter("idle")
        for layer in layers:
            layer.enter("record")
        try:
            with torch.enable_grad():
                loss = loss_fn(model(inputs), labels)
            reached = [layer for layer in layers if layer.batch.recorded is not None]
            if any(b.like is not None and b.like.dtype == torch.float16 for b in (m.batch for m in reached)):
                loss = loss * len(labels)
            gradients = _gradients(loss, [layer.batch.recorded for layer in reached])
            for layer, gradient in zip(reached, gradients, strict=True):
                layer.set_gradient(gradient)
        finally:
            for module, phase in phases:
                module.enter(phase)


def _gradients(loss: Tensor, recorded: list[Any]) -> tuple[Tensor | None, ...]:
    if not recorded or not loss.requires_grad:
        return (None,) * len(recorded)
    # A layer that the loss does not depend on gets None, which means no noise.
    return torch.autograd.grad(loss, recorded, allow_unused=True)


def _eager() -> AbstractContextManager[object]:
    """Run compiled networks uncompiled: torch.compile gives no gradients of values inside its graphs."""
    return torch.compiler.set_stance("force_eager") if compiler_is_loaded() else contextlib.nullcontext()


def _before_caches(layers: list[NoiseLayer], inputs: object, labels: Tensor) -> bool:
    """Whether this step creates or moves CANL's caches, which later are inputs of a compiled graph."""
    cached = [layer for layer in layers if layer.needs_labels]
    if not cached or torch.compiler.is_compiling():
        return False
    device = inputs.device if isinstance(inputs, Tensor) else labels.device
    return all(layer.makes_cache(device, len(labels)) for layer in cached)


@contextlib.contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    trained = [p for p in model.parameters() if p.requires_grad]
    for p in trained:
        # autograd then computes the gradients of activations alone.
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in trained:
            p.requires_grad_(True)
