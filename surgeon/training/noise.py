"""The training step with adversarial noise layers (You et al. 2019), for any loop.

    with adversarial_noise(model, x, y, loss_fn):
        loss = loss_fn(model(x), y)
        loss.backward()

It works with any optimizer, under autocast, with a gradient scaler and in DistributedDataParallel.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn

from surgeon.methods.adversarial_noise.base import NoiseLayer
from surgeon.methods.adversarial_noise.sending import send
from surgeon.tensors.shard import Shard, gather_shard
from surgeon.torch_private import NormBase, SpectralNorm

Loss = Callable[[Any, Tensor], Tensor]


def noise_layers(model: nn.Module) -> list[NoiseLayer]:
    """The adversarial noise layers of a model that are enabled."""
    return [m for m in model.modules() if isinstance(m, NoiseLayer) and m.enabled]


def set_noise(model: nn.Module, on: bool) -> None:
    """Switch all adversarial noise layers on or off, as the paper does after half of the training."""
    for module in model.modules():
        if isinstance(module, NoiseLayer):
            module.enabled = on


@contextlib.contextmanager
def adversarial_noise(
    model: nn.Module, inputs: object, labels: Tensor, loss_fn: Loss, *, shard: Shard | Literal["auto"] | None = "auto"
) -> Iterator[None]:  # fmt: skip
    """Within, the model's forward pass has the noise of its adversarial noise layers.

    inputs: what the model is called with, (N, C, H, W). labels: (N,) class indices. loss_fn(model(inputs),
    labels) must be the loss of the step.

    ANL layers (Algorithm 1) get the gradients of a first round here: it computes no parameter gradients and
    leaves `.grad`, batch-norm statistics and the random state as they were, so that dropout in the second
    round draws what it would have drawn. CANL layers (Algorithm 2) get the labels. A model in evaluation
    mode, or without such layers, passes through unchanged. On leaving, by an error too, the layers are as they
    were found but for CANL's cache, LAT's memory and the layers' own random streams. The backward pass may come
    after leaving, as in Lightning.

    shard: this process's part of the batch, where several processes share one. By default it is found out for
    a model in DistributedDataParallel or FSDP. The standard deviation s(h) is then that of the whole batch, the
    magnitudes are one process's, and CANL's cache is the same on all of them.

    Under torch.compile the first round, and the step that makes CANL's caches, run uncompiled, whatever is called within. Compiled, CANL's cache is
    renewed by `backward()`, not by torch.autograd.grad.

    Here: where activations are float16, the first round's loss is summed, not averaged, over the samples,
    lest small gradients underflow; eq. 4 does not see their scale.
    Raises LayerError for a layer that the network calls twice, and for labels that CANL cannot look up.
    """
    layers = noise_layers(model) if model.training else []
    shared = _shard(model, labels, shard) if layers else None
    try:
        for layer in layers:
            layer.begin(shared)
        first = [layer for layer in layers if layer.needs_gradient]
        if first:
            _first_round(model, first, inputs, labels, loss_fn)
        for layer in layers:
            layer.enter("perturb")
            if layer.needs_labels:
                layer.set_labels(labels)
        send([layer.batch for layer in layers], labels)
        with _eager() if _before_caches(layers, inputs, labels) else contextlib.nullcontext():
            yield
        for layer in layers:
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
    model: nn.Module, layers: list[NoiseLayer], inputs: Any, labels: Tensor, loss_fn: Loss
) -> None:
    """∂J/∂h of every layer at η = 0 (eq. 3), and nothing else."""
    others = [m for m in noise_layers(model) if m not in layers]
    phases = [(m, m.phase) for m in others]
    # In DistributedDataParallel: this round has no parameter gradients to exchange.
    alone = getattr(model, "no_sync", contextlib.nullcontext)()
    with (
        torch.random.fork_rng(devices=_cuda(inputs, labels)), _frozen(model), _kept_statistics(model), alone, _eager()
    ):  # fmt: skip
        for module in others:
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
    return torch.autograd.grad(loss, recorded, allow_unused=True)


def _eager() -> Any:
    """Compiled networks run uncompiled: torch.compile gives no gradients of what stands inside its graphs."""
    return (
        torch.compiler.set_stance("force_eager")
        if "torch._dynamo" in sys.modules
        else contextlib.nullcontext()
    )


def _before_caches(layers: list[NoiseLayer], inputs: Any, labels: Tensor) -> bool:
    """Whether this is the step that makes CANL's caches, or takes them to a device: later ones are inputs of a compiled graph."""
    cached = [layer for layer in layers if layer.needs_labels]
    if not cached or torch.compiler.is_compiling():
        return False
    device = inputs.device if isinstance(inputs, Tensor) else labels.device
    return all(layer.makes_cache(device, len(labels)) for layer in cached)


def _cuda(*tensors: Any) -> list[torch.device]:
    found = [t.device for t in tensors if isinstance(t, Tensor) and t.device.type == "cuda"]
    return list(dict.fromkeys(found))


@contextlib.contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    trained = [p for p in model.parameters() if p.requires_grad]
    for p in trained:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in trained:
            p.requires_grad_(True)


@contextlib.contextmanager
def _kept_statistics(model: nn.Module) -> Iterator[None]:
    """All in few copies: a network has hundreds of statistics, which a GPU would otherwise be told of one by one."""
    norms = [m for m in model.modules() if isinstance(m, (NormBase, SpectralNorm)) and m.training]
    found = [(norm, key, b) for norm in norms for key, b in norm._buffers.items() if b is not None]
    alike: dict[Any, list[Tensor]] = {}
    for _, _, statistic in found:
        alike.setdefault((statistic.device, statistic.dtype), []).append(statistic)
    with torch.no_grad():
        kept = [[torch.empty_like(b) for b in buffers] for buffers in alike.values()]
        for copies, buffers in zip(kept, alike.values(), strict=True):
            torch._foreach_copy_(copies, buffers)
    try:
        yield
    finally:
        for norm, key, statistic in found:
            norm._buffers[key] = statistic
        with torch.no_grad():
            for copies, buffers in zip(kept, alike.values(), strict=True):
                torch._foreach_copy_(buffers, copies)
