"""The steps of `networks.py` once more in channels_last and in bfloat16, and compiled where a GPU is asked for: against the stock
network in the same form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import timm
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import surgeon
from benchmarks.rows.networks import KAP, SIZE
from benchmarks.timing import Asked, Row, Task, compare
from surgeon.training import adversarial_noise


@dataclass(frozen=True)
class Form:
    """How a network is run. bfloat16: under autocast. backend: torch.compile's, '' for none."""

    name: str
    bfloat16: bool
    backend: str = ""


def forms(asked: Asked) -> tuple[Form, ...]:
    """Compiling for a CPU takes minutes a network, and is asked for on a GPU alone; the tests go the same way with a backend
    that compiles nothing."""
    backend = "aot_eager" if asked.small else "" if asked.device == "cpu" else "inductor"
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
            f"inference, ResNet-18, {form.name}", "stock", _inference(stock, x, form),
            {name: (_inference(model, x, form), None) for name, model in still.items()}, repeats,
        )  # fmt: skip
        yield from compare(
            f"training step, ResNet-18, {form.name}", "stock", _step(stock, x, y, form),
            {name: (_step(model, x, y, form), None) for name, model in cuts.items()}, repeats,
        )  # fmt: skip


def _run(model: nn.Module, form: Form) -> Any:
    return torch.compile(model, backend=form.backend) if form.backend else model


def _inference(model: nn.Module, x: torch.Tensor, form: Form) -> Task:
    network = _run(model, form)

    def run() -> object:
        model.eval()
        with torch.no_grad(), torch.autocast(x.device.type, torch.bfloat16, enabled=form.bfloat16):
            return network(x)

    return run


def _step(model: nn.Module, x: torch.Tensor, y: torch.Tensor, form: Form) -> Task:
    network = _run(model, form)

    def run() -> None:
        model.train().zero_grad()
        with torch.autocast(x.device.type, torch.bfloat16, enabled=form.bfloat16):
            with adversarial_noise(model, x, y, cross_entropy):
                loss = cross_entropy(network(x), y)
        loss.backward()

    return run
