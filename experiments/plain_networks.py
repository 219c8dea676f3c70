"""Small networks: four architectures, each trained anew for 1, 2, 5, 10 and 20 epochs, on digits, MNIST or CIFAR-10.

Plain training does nothing for their robustness. Each network is trained once, into a folder of its own, and
read from there the next time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import surgeon
from experiments.sets import cifar, mnist
from surgeon.data import Images
from surgeon.data.images import pixels
from surgeon.data.scans import digits
from surgeon.recipe import Adversary, Training
from surgeon.training import fit

EPOCHS = (1, 2, 5, 10, 20)
WEIGHTS = "weights.safetensors"


class Task(NamedTuple):
    """Images to train on and to test on, and the size of attacks (Linf)."""

    train: Images
    test: Images
    eps: float


class KWinners(nn.Module):
    """Keeps the largest fifth of an image's activations (k-winners-take-all, Xiao et al. 2020): gradients
    are not slopes."""

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        least = flat.topk(max(1, flat.shape[1] // 5), dim=1).values[:, -1:]
        return torch.where(flat >= least, flat, torch.zeros_like(flat)).view_as(x)


def perceptron(size: tuple[int, int, int]) -> nn.Module:
    """Two hidden layers of 64."""
    count = size[0] * size[1] * size[2]
    layers = (nn.Flatten(), nn.Linear(count, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    return nn.Sequential(*layers)


def narrow_resnet(size: tuple[int, int, int]) -> nn.Module:
    """timm's ResNet with one basic block a stage and 8 to 64 channels."""
    from timm.models.resnet import BasicBlock, ResNet

    return ResNet(BasicBlock, (1, 1, 1, 1), num_classes=10, in_chans=size[0], channels=(8, 16, 32, 64))


def k_winners(model: nn.Module) -> nn.Module:
    """The network with k winners in the place of every ReLU."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, KWinners())
    return model


ARCHITECTURES: Mapping[str, Callable[[tuple[int, int, int]], nn.Module]] = {
    "LeNet-5": lambda size: surgeon.create_model("zoo/lenet5", input_size=size),
    "CNN": lambda size: surgeon.create_model(
        "zoo/cnn", input_size=size, model_args={"widths": [8, 8, 8], "hidden": 32}
    ),
    "wide CNN": lambda size: surgeon.create_model(
        "zoo/cnn", input_size=size, model_args={"widths": [16, 32, 32], "hidden": 32}
    ),
    "narrow ResNet": narrow_resnet,
    "MLP": perceptron,
    "kWTA": lambda size: k_winners(ARCHITECTURES["CNN"](size)),
}
PLAIN = ("LeNet-5", "CNN", "narrow ResNet", "MLP")


def task(name: str, data: str | None) -> Task:
    """`digits`, or `mnist` and `cifar` from the folder `data`, of which the first 1,500 training images are used."""
    if name == "digits":
        sets = digits(32)
        return Task(sets["train"], sets["test"], 0.05)
    if data is None:
        raise SystemExit(f"{name} is read from --data FOLDER")
    sets = mnist(data) if name == "mnist" else cifar(data)
    few = Images(sets["train"].x[:1500], sets["train"].y[:1500])
    return Task(few, sets["test"], 0.1 if name == "mnist" else 2 / 255)


def some(test: Images, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """`count` test images drawn by `seed`, float32 in [0, 1], and their labels."""
    chosen = torch.randperm(len(test.x), generator=torch.Generator().manual_seed(seed))[:count]
    return pixels(test.x[chosen]), test.y[chosen]


def network(
    architecture: str, epochs: int, given: Task, folder: Path, seed: int, adversary: Adversary | None = None
) -> nn.Module:
    """The trained network, from its folder where it is there."""
    torch.manual_seed(seed)
    size = given.train.x.shape[1:]
    model = ARCHITECTURES[architecture]((size[0], size[1], size[2]))
    if not (folder / WEIGHTS).is_file():
        settings = Training(
            epochs=epochs, batch_size=32, optimizer="adamw", lr=2e-3, min_lr=1e-4, adversary=adversary
        )
        fit(
            model,
            given.train,
            None,
            settings,
            folder=folder / "training",
            seed=seed,
            label=f"{folder.parent.name}",
        )
        save_file(model.state_dict(), folder / WEIGHTS)
    model.load_state_dict(load_file(folder / WEIGHTS))
    return model.eval()
