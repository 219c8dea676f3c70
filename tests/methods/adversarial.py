"""A small network with adversarial layers, and its two rounds."""

import torch
import torch.nn.functional as F
from torch import nn

from surgeon.methods.adversarial_noise import make_layer

ALL = [("anl", {}), ("canl", {"num_classes": 3}), ("lat", {}), ("gaussian", {})]


class Net(nn.Module):
    """conv - noise - relu (in place) - linear, and the activations that each part saw."""

    def __init__(self, source="anl", *, inplace=True, on_input=False, **kwargs):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.noise = make_layer(source, **kwargs)
        self.relu = nn.ReLU(inplace=inplace)
        self.head = nn.Linear(4 * 9, 3)
        self.on_input = on_input
        self.double()

    def forward(self, x):
        h = self.noise(x) if self.on_input else self.conv(x)
        self.before = h.detach().clone()
        h = self.conv(h) if self.on_input else self.noise(h)
        self.after = h.detach().clone()
        return self.head(self.relu(h).flatten(1))


def batch(n=6, classes=3):
    return torch.randn(n, 1, 5, 5, dtype=torch.float64), torch.arange(n) % classes


def gradient_at_zero_noise(net, x, y):
    """dJ/dh by a second implementation: the network written out, no layer of ours in it."""
    h = net.conv(x).detach().requires_grad_()
    loss = F.cross_entropy(net.head(h.clamp(min=0).flatten(1)), y)
    return torch.autograd.grad(loss, h)[0]


def round_one(net, x, y):
    net.noise.enter("record")
    gradient = torch.autograd.grad(F.cross_entropy(net(x), y), net.noise.batch.recorded)[0]
    net.noise.set_gradient(gradient)
    net.noise.enter("perturb")
