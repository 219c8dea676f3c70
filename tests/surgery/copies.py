"""Networks, and all that one has as data, for tests of what a copy shares with them."""

import torch
from torch import nn

SIZE = (3, 16, 16)


def images():
    return torch.randn(2, *SIZE, generator=torch.Generator().manual_seed(1))


def conv(channels=16):
    return nn.Conv2d(channels, 16, 3, padding=1)


class Net(nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.enc, self.conv, self.fc = encoder, conv(), nn.Linear(16, 4)

    def forward(self, x):
        return self.fc(torch.relu(self.conv(self.enc(x))).mean((2, 3)))


def noted(*networks):
    """All that a network has, as data."""
    return [
        (
            {k: v.clone() for k, v in n.state_dict().items()},
            {k: None if p.grad is None else p.grad.clone() for k, p in n.named_parameters()},
            [(k, m.training, type(m), len(m._forward_pre_hooks)) for k, m in n.named_modules()],
        )
        for n in networks
    ]


def same(before, *networks):
    for (tensors, grads, modules), (now, grads_now, modules_now) in zip(
        before, noted(*networks), strict=True
    ):
        assert modules == modules_now
        assert tensors.keys() == now.keys()
        assert [k for k in tensors if not torch.equal(tensors[k], now[k])] == []
        assert grads.keys() == grads_now.keys()
        assert [k for k, g in grads.items() if (g is None) != (grads_now[k] is None)] == []
