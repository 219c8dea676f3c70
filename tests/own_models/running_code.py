"""Networks whose code does something between its calls that a graph has to do too; `NETWORKS` has them all."""

from __future__ import annotations

import random

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

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
class Turning(Net):
    """Other data of the same memory."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mixing", torch.rand(8, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.mixing.data = self.mixing.data.t()
        return self.fc(self.two(self.one(x)).mean((2, 3)) @ self.mixing)


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


@network
class OwnGenerators(Net):
    def __init__(self) -> None:
        super().__init__()
        self.rng, self.old, self.plain = np.random.default_rng(0), np.random.RandomState(0), random.Random(0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.one(x * (1 + self.rng.random()))
        return self.head(self.two(x * (1 + self.old.rand()) + self.plain.random()))


@network
class GeneratorsInContainers(Net):
    def __init__(self) -> None:
        super().__init__()
        self.streams = [np.random.default_rng(0), torch.Generator().manual_seed(0)]
        self.named = {"plain": (random.Random(0),)}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        numpys, torchs = self.streams
        x = self.one(x * (1 + numpys.random()) + torch.rand(1, generator=torchs, dtype=x.dtype))
        return self.head(self.two(x * (1 + self.named["plain"][0].random())))


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


# -- modules that are called in another state than they stand in ----------------------------------------


@network
class Striding(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.one.conv.stride = (2, 2)
        x = self.one(x)
        self.one.conv.stride = (1, 1)
        return self.head(self.two(x))


@network
class Freezing(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mode = self.one.bn.training
        self.one.bn.eval()
        x = self.one(x)
        self.one.bn.train(mode)
        return self.head(self.two(x))


@network
class AlwaysDropping(Net):
    """Monte-Carlo dropout, switched on where it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop.train()(self.two(self.one(x))))


@network
class Growing(Net):
    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.drop.p = min(0.5, self.drop.p + 0.1)
        return self.head(self.drop(self.two(self.one(x))))


@network
class Hooking(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        handle = self.one.conv.register_forward_hook(lambda module, given, output: output * 2)
        x = self.one(x)
        handle.remove()
        return self.head(self.two(x))


@network
class HookingABlock(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept: list[torch.Tensor] = []
        with self.one.register_forward_hook(lambda module, given, output: kept.append(output)):
            x = self.one(x)
        return self.head(self.two(x) + kept[0])


@network
class OtherWeights(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = {name: 1.5 * value for name, value in self.one.named_parameters()}
        return self.head(self.two(torch.func.functional_call(self.one, weights, (x,))))


# -- what goes on from the call before -------------------------------------------------------------------


@network
class Moving(Net):
    def __init__(self) -> None:
        super().__init__()
        self.last = torch.zeros(8, dtype=torch.float64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.two(self.one(x))
        self.last = 0.5 * self.last + x.detach().mean((0, 2, 3))
        return self.head(x - self.last[:, None, None])


@network
class FirstCall(Net):
    def __init__(self) -> None:
        super().__init__()
        self.last: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.two(self.one(x))
        mean = x.detach().mean((0, 2, 3))
        self.last = mean if self.last is None else self.last + mean
        return self.head(x - self.last[:, None, None])


@network
class FirstCallInADict(Net):
    def __init__(self) -> None:
        super().__init__()
        self.held: dict[str, torch.Tensor | None] = {"last": None}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.two(self.one(x))
        mean, last = x.detach().mean((0, 2, 3)), self.held["last"]
        self.held["last"] = mean if last is None else last + mean
        return self.head(x - self.held["last"][:, None, None])


@network
class BySize(Net):
    """Keeps what it makes for a size."""

    def __init__(self) -> None:
        super().__init__()
        self.ramps: dict[int, torch.Tensor] = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        width = x.shape[-1]
        if width not in self.ramps:
            self.ramps[width] = torch.linspace(0, 1, width, dtype=torch.float64)
        return super().forward(x + self.ramps[width])


# -- what code asks of a value ---------------------------------------------------------------------------


@network
class AskingForTensors(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x * 2 if isinstance(x, torch.Tensor) else x
        x = self.one(x)
        x = x if not torch.is_tensor(x) else x + 1
        x = x * getattr(x, "gain", 3.0)
        return self.head(self.two(x.double() if hasattr(x, "mask") else x * x))


@network
class AskingForNumbers(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x * 2 if isinstance(x.shape[-1], int) else x
        x = x * 3 if isinstance(x.shape, torch.Size) else x
        x = x * 5 if isinstance(x.dtype, torch.dtype) else x
        return super().forward(x * 7 if isinstance(x, (list, tuple)) else x)


# -- how many images there are ---------------------------------------------------------------------------


@network
class ByFour(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x * 2 if x.shape[0] == 4 else x)


@network
class MoreThanOne(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.two(self.one(x)).mean((2, 3))
        return self.fc(x - x.mean(0) if x.size(0) > 1 else x)


@network
class Groups(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.two(self.one(x)).mean((2, 3))
        groups = min(4, len(x))
        return self.fc(x) + x[: len(x) // groups * groups].reshape(groups, -1, 8).var(0, correction=0).mean()


@network
class OneByOne(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(torch.stack([image * number for number, image in enumerate(x)]))
