"""A network of layers, blocks and a head in containers, and one batch of images for it."""

import functools

import torch
from torch import nn

import surgeon


class Tiny(nn.Module):
    """A stage of layers and a head, called as torchvision's networks call theirs."""

    def __init__(self):
        super().__init__()
        conv = functools.partial(nn.Conv2d, 16, 16, 3, padding=1)
        self.features = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), conv())
        self.blocks = nn.ModuleList([nn.Sequential(conv(), nn.ReLU()) for _ in range(2)])
        self.classifier = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 4))

    def forward(self, x):
        x = self.features(x)
        for block in self.blocks:
            x = block(x)
        return self.classifier(x.mean((2, 3)))


def tiny_cut(recipe):
    torch.manual_seed(0)
    return surgeon.apply(Tiny().eval(), recipe, input_size=(3, 8, 8), seed=1).eval()


IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
