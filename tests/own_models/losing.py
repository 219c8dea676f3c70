"""What the tests of things that a trace loses share: a small network, its images, and the recipes."""

import random

import numpy as np
import torch
from torch import nn

SIZE = (3, 16, 16)
RECIPES = ("kap", "anl", "wm-unsharp", "defective")


def body():
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3))


def images(n=4):
    return torch.randn(n, *SIZE, generator=torch.Generator().manual_seed(1))


class Base(nn.Module):
    """A body that can be cut whatever the code around it does."""

    def __init__(self):
        super().__init__()
        self.body, self.fc = body(), nn.Linear(16, 5)

    def features(self, x):
        return self.body(x).mean((2, 3))


class Frozen(Base):
    def forward(self, x):
        with torch.no_grad():
            h = self.body(x)
        return self.fc(h.mean((2, 3)))


class Drawing(Base):
    def __init__(self, draw):
        super().__init__()
        self.draw = draw

    def forward(self, x):
        h = self.features(x)
        return self.fc(h * self.draw() if self.training else h)


DRAWING = {
    "random": lambda: 1.0 if random.random() < 0.5 else 2.0,
    "randint": lambda: random.randint(1, 9),
    "numpy": lambda: float(np.random.rand()),
    "torch": lambda: torch.rand(1),
    "in place": lambda: torch.empty(1).uniform_(),
    "permuted": lambda: torch.randperm(16),
}
