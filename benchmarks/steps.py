"""What is timed of a network: a pass without gradients, and a training step with its own noise, in any form
of running it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.timing import Task
from surgeon.training import adversarial_noise


@dataclass(frozen=True)
class Form:
    """How a network is run. bfloat16: under autocast. backend: torch.compile's, '' if it is not compiled."""

    name: str = ""
    bfloat16: bool = False
    backend: str = ""

    def network(self, model: nn.Module) -> Any:
        """The network as it is called."""
        if not self.backend:
            return model
        # beyond its limit of networks torch would run the rest uncompiled, and measure that; sizes are one
        # network's own
        torch._dynamo.config.fail_on_recompile_limit_hit = True
        return torch.compile(model, backend=self.backend, dynamic=False)

    def precision(self, x: Tensor) -> torch.autocast:
        return torch.autocast(x.device.type, torch.bfloat16, enabled=self.bfloat16)


PLAIN = Form()


def forward(model: nn.Module, x: Tensor, form: Form = PLAIN) -> Task:
    """A pass in evaluation mode."""
    network = form.network(model)

    def run() -> object:
        model.eval()
        with torch.no_grad(), form.precision(x):
            return network(x)

    return run


def step(model: nn.Module, x: Tensor, y: Tensor, form: Form = PLAIN) -> Task:
    """Gradients of a batch, all rounds; without the optimizer."""
    network = form.network(model)

    def run() -> None:
        model.train().zero_grad()
        with form.precision(x), adversarial_noise(model, x, y, cross_entropy):
            loss = cross_entropy(network(x), y)
        loss.backward()

    return run
