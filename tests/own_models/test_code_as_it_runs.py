"""Whatever a network's code does between its calls, a cut that changes no number gives the stock network's.

Noise layers without their noise are the identity: outputs, gradients, buffers, random numbers and errors of several
calls in a row are compared, in both modes, in float64.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

import surgeon

SIZE = (3, 8, 8)
NETWORKS: list[type[nn.Module]] = []


def network(kind: type[nn.Module]) -> type[nn.Module]:
    NETWORKS.append(kind)
    return kind


class Block(nn.Module):
    def __init__(self, ins: int, outs: int) -> None:
        super().__init__()
        self.conv, self.bn, self.act = nn.Conv2d(ins, outs, 3, padding=1), nn.BatchNorm2d(outs), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.bn(self.conv(x)))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.fc = Block(3, 8), Block(8, 8), nn.Linear(8, 5)
        self.register_buffer("mean", torch.zeros(8))

    def head(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x.mean((2, 3)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.two(self.one(x)))


def as_stock(kind: type[nn.Module], batches: tuple[int, ...] = (4, 4, 2), recipe: str = "anl") -> nn.Module:
    """Compare a network with its cut over several calls in each mode; the cut one comes back."""
    torch.manual_seed(0)
    stock = kind().double()
    cut = surgeon.apply(copy.deepcopy(stock), recipe, input_size=SIZE)
    images = [torch.randn(n, *SIZE, dtype=torch.float64) for n in batches]
    for training in (True, False):
        ours, theirs = (_calls(model.train(training), images) for model in (cut, stock))
        for call, (mine, wanted) in enumerate(zip(ours, theirs, strict=True)):
            for name, value in wanted.items():
                there = mine[name]
                assert type(there) is type(value), (training, call, name, there)
                if isinstance(value, torch.Tensor):
                    torch.testing.assert_close(
                        there, value, msg=lambda m, at=(training, call, name): f"{at}: {m}"
                    )
                else:
                    assert there == value
    return cut


def _calls(model: nn.Module, images: list[torch.Tensor]) -> list[dict[str, object]]:
    torch.manual_seed(1)
    found = []
    for batch in images:
        model.zero_grad()
        try:
            out = model(batch.clone())
            out.square().sum().backward()
            result: dict[str, object] = {"out": out.detach()}
        except (RuntimeError, ValueError) as error:
            result = {"error": type(error)}
        result |= {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        result |= {
            n: b.clone() for n, b in model.state_dict().items() if n not in dict(model.named_parameters())
        }
        found.append(result | {"stream": torch.get_rng_state()})
    return found


# -- what is written into real tensors -------------------------------------------------------------------


@network
class Summing(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = torch.zeros(8, 1, 1, dtype=torch.float64)
        for block in (self.one, self.two):
            x = block(x)
            total += x.mean((0, 2, 3))[:, None, None]
        return self.head(x + total)


@network
class Collecting(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, rows = self.two(self.one(x)), torch.zeros(2, 8, dtype=torch.float64)
        rows[0] = x.mean((0, 2, 3))
        rows[1] = rows[1] + x.amax((0, 2, 3))
        return self.head(x) + rows.sum()


@network
class Adding(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, total = self.two(self.one(x)), torch.zeros(3, 8, dtype=torch.float64)
        total.index_add_(0, torch.tensor([0, 2]), x.mean((2, 3))[:2])
        torch.add(total.detach(), x.mean().detach(), out=(spare := torch.empty(3, 8, dtype=torch.float64)))
        return self.head(x) + total.sum() + spare.sum()


@network
class ChangedAfterReading(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        step = torch.zeros(8, 1, 1, dtype=torch.float64)
        for block in (self.one, self.two):
            x = block(x) * (1 + step) + step
            step += 1
        return self.head(x)


@network
class Lerping(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.two(self.one(x))
        if self.training:
            self.mean.lerp_(x.detach().mean((0, 2, 3)), 0.1)
        return self.head(x - self.mean[:, None, None])


@network
class Setting(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.two(self.one(x))
        self.mean[0] = x.detach().mean()
        return self.head(x - self.mean[:, None, None])


@network
class OtherData(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.two(self.one(x))
        self.mean.data = 0.9 * self.mean + 0.1 * x.detach().mean((0, 2, 3))
        return self.head(x - self.mean[:, None, None])


@network
class ClampedWeights(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.fc.weight.data = self.fc.weight.data.clamp(-0.1, 0.1)
        return super().forward(x)


# -- torch's random stream, and blocks that decide how calls are computed --------------------------------


@network
class Seeding(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(3)
        return super().forward(x + torch.randn_like(x))


@network
class Forking(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            x = x + torch.randn_like(x)
        return super().forward(x + torch.randn_like(x))


@network
class PuttingBack(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = torch.get_rng_state()
        x = x + torch.randn_like(x)
        torch.set_rng_state(state)
        return super().forward(x)


class Doubled(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = function(*args, **(kwargs or {}))
        return result * 2 if function is F.relu else result


@network
class Overriding(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.one(x)
        with Doubled():
            x = F.relu(self.two(x))
        return self.head(x)


@network
class Packing(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.one(x)
        with saved_tensors_hooks(lambda t: t * 2, lambda t: t):
            x = x * x
        return self.head(self.two(x))


@network
class Checkpointing(Net):
    """Computed again in the backward pass: running statistics are taken twice."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(checkpoint(lambda y: F.dropout(self.two(self.one(y)), 0.2), x, use_reentrant=False))


@pytest.mark.parametrize("kind", NETWORKS, ids=lambda k: k.__name__)
def test_outputs_gradients_buffers_and_draws_are_the_stock_networks(kind: Callable[[], nn.Module]) -> None:
    as_stock(kind)
