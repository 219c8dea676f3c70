"""The steps of `networks.py` once more in channels_last and in bfloat16, against the stock network in the same form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import timm
import torch

import surgeon
from benchmarks.rows.networks import KAP, NOISY
from benchmarks.steps import Form, forward, step
from benchmarks.timing import Asked, Comparison


def comparisons(asked: Asked) -> Iterator[Comparison]:
    """ResNet-18 at 32 pixels; on a GPU, which that does not fill, ResNet-50 at 224 too."""
    last, half = Form("channels_last", False), Form("bfloat16, channels_last", True)
    if asked.device == "cpu":
        yield from network("ResNet-18", "test_resnet" if asked.small else "resnet18", 32, (last, half), asked)
    else:
        yield from network("ResNet-18", "resnet18", 32, (half,), asked)
        yield from network("ResNet-50 at 224 px", "resnet50", 224, (half,), asked)


def network(
    shown: str, name: str, side: int, forms: tuple[Form, ...], asked: Asked, singly: bool = False
) -> Iterator[Comparison]:
    """Inference and training steps of rewritten networks, in each form. singly: beside the stock network
    alone, one after the other."""
    cpu = asked.device == "cpu"
    size, batch = (3, side, side), _images(asked, side, compiled=any(form.backend for form in forms))
    torch.manual_seed(0)
    x = torch.randn(batch, *size, device=asked.device).contiguous(memory_format=torch.channels_last)
    y = torch.randint(0, 10, (batch,), device=asked.device)
    stock: Any = timm.create_model(name, num_classes=10)
    stock = stock.to(asked.device, memory_format=torch.channels_last)
    recipes: dict[str, Any] = {"KAP, σ=0": KAP, "defective": "defective", "ANL": "anl", "CANL": "canl"}
    if asked.small:
        del recipes["CANL"]
    else:
        recipes["KAP, σ=0.1"] = NOISY
    cuts = {name: surgeon.apply(stock, recipe, input_size=size) for name, recipe in recipes.items()}
    still = {"KAP folded": surgeon.fold(cuts["KAP, σ=0"]), "defective": cuts["defective"]}
    if not cpu:
        still["KAP not folded"] = cuts["KAP, σ=0"]
    repeats = min(asked.repeats, 5)
    for form in forms:
        for group, baseline, tasks in (
            ("inference", forward(stock, x, form), {k: forward(m, x, form) for k, m in still.items()}),
            ("training step", step(stock, x, y, form), {k: step(m, x, y, form) for k, m in cuts.items()}),
        ):
            for some in [{k: v} for k, v in tasks.items()] if singly else [tasks]:
                yield Comparison(f"{group}, {shown}, {form.name}", "stock", baseline, some, repeats)


def _images(asked: Asked, side: int, compiled: bool) -> int:
    """On a GPU as many as fill it: with few, Python's launching of kernels is what is measured. Compiled
    code launches less."""
    if asked.small or asked.device == "cpu":
        return 4 if asked.small else 32
    return 512 if side > 32 and not compiled else 128
