"""Inference and training steps of rewritten networks against the stock one, at 32 pixels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import timm
import torch
from torch import nn

import surgeon
from benchmarks.steps import forward, step
from benchmarks.timing import Asked, Comparison, Task
from surgeon.methods.kap.module import KernelAveragePool
from surgeon.tensors.normal import fill_normal

SIZE = (3, 32, 32)
KAP = {"op": "kap", "sigma": 0.0}
NOISY = {"op": "kap", "sigma": 0.1}


def comparisons(asked: Asked) -> Iterator[Comparison]:
    """ResNet-18, and VGG-16-BN for ANL. A second stock network shows how far two equal tasks part here."""
    batch = 4 if asked.small else 128
    torch.manual_seed(0)
    x = torch.randn(batch, *SIZE, device=asked.device)
    y = torch.randint(0, 10, (batch,), device=asked.device)
    stock, twin = (timm.create_model("resnet18", num_classes=10).to(asked.device) for _ in range(2))

    def cut(recipe: Any) -> nn.Module:
        return surgeon.apply(stock, recipe, input_size=SIZE)

    kap, defective = cut(KAP), cut("defective")
    yield Comparison(
        "inference, ResNet-18",
        "stock",
        forward(stock, x),
        {
            "KAP folded": forward(surgeon.fold(kap), x),
            "stock once more": forward(twin, x),
            "KAP not folded": forward(kap, x),
            "defective": forward(defective, x),
        },
        asked.repeats,
    )
    noisy = cut(NOISY)
    yield Comparison(
        "training step, ResNet-18",
        "stock",
        step(stock, x, y),
        {
            "stock once more": step(twin, x, y),
            "KAP, σ=0": step(kap, x, y),
            "KAP, σ=0.1": step(noisy, x, y),
            "drawing its noise, alone": _noise(noisy, x),
            "defective": step(defective, x, y),
            "ANL": step(cut("anl"), x, y),
            "CANL": step(cut("canl"), x, y),
        },
        asked.repeats,
    )
    stock = surgeon.create_model("zoo/vgg16").to(asked.device)
    yield Comparison(
        "training step, VGG-16-BN (CIFAR)",
        "stock",
        step(stock, x, y),
        {"ANL": step(cut("anl"), x, y), "CANL": step(cut("canl"), x, y)},
        min(asked.repeats, 7),
    )


def _noise(model: nn.Module, x: torch.Tensor) -> Task:
    """As many normal numbers as a step of this model draws."""
    shapes: list[torch.Size] = [x.shape]
    layers = [m for m in model.modules() if isinstance(m, KernelAveragePool)]
    hooks = [m.register_forward_hook(lambda m, i, o: shapes.append(o.shape)) for m in layers]
    with torch.no_grad():
        model.eval()(x)
    for hook in hooks:
        hook.remove()
    return lambda: [fill_normal(torch.empty(s, device=x.device), 0.1) for s in shapes]
