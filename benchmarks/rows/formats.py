"""The steps of `networks.py` once more in channels_last and in bfloat16, and compiled where a GPU is asked for: against the stock
network in the same form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import timm
import torch

import surgeon
from benchmarks.rows.networks import KAP, SIZE
from benchmarks.steps import Form, forward, step
from benchmarks.timing import Asked, Row, compare


def forms(asked: Asked) -> tuple[Form, ...]:
    """Compiling for a CPU takes minutes a network, and is asked for on a GPU alone; the tests go the same way with a backend
    that compiles nothing."""
    backend = "eager" if asked.small else "" if asked.device == "cpu" else "inductor"
    compiled = (Form("bfloat16, channels_last, compiled", True, backend),) if backend else ()
    return (Form("channels_last", False), Form("bfloat16, channels_last", True), *compiled)


def measure(asked: Asked) -> Iterator[Row]:
    """ResNet-18 at 32 pixels."""
    batch = 4 if asked.small else 32 if asked.device == "cpu" else 128
    torch.manual_seed(0)
    x = torch.randn(batch, *SIZE, device=asked.device).contiguous(memory_format=torch.channels_last)
    y = torch.randint(0, 10, (batch,), device=asked.device)
    name = "test_resnet" if asked.small else "resnet18"
    stock = timm.create_model(name, num_classes=10).to(asked.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # nn.Module.to takes both
    recipes: dict[str, Any] = {"KAP, σ=0": KAP, "defective": "defective", "ANL": "anl", "CANL": "canl"}
    if asked.small:
        del recipes["CANL"]
    cuts = {name: surgeon.apply(stock, recipe, input_size=SIZE) for name, recipe in recipes.items()}
    still = {"KAP folded": surgeon.fold(cuts["KAP, σ=0"]), "defective": cuts["defective"]}
    repeats = min(asked.repeats, 5)
    for form in forms(asked):
        yield from compare(
            f"inference, ResNet-18, {form.name}", "stock", forward(stock, x, form),
            {name: (forward(model, x, form), None) for name, model in still.items()}, repeats,
        )  # fmt: skip
        yield from compare(
            f"training step, ResNet-18, {form.name}", "stock", step(stock, x, y, form),
            {name: (step(model, x, y, form), None) for name, model in cuts.items()}, repeats,
        )  # fmt: skip
