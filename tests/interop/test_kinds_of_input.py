"""Inputs that are no plain tensor of floats: a subclass that keeps its type, and numbers of words."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import surgeon
from surgeon.errors import LayerError
from surgeon.tensors.gaussian import add_noise

SIZE = (3, 16, 16)


class Tagged(torch.Tensor):
    """A subclass that keeps its type, as libraries have them for images."""


def net():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 8, 3, padding=1),
        nn.Flatten(),
    )


@pytest.mark.parametrize("recipe", ["kap", "wm-unsharp-all", "wm-smoothing-all", "defective", "noise", "anl"])
def test_a_subclass_gives_what_a_tensor_gives_with_gradients(recipe):
    torch.manual_seed(0)
    cut = surgeon.apply(net(), recipe, input_size=SIZE).eval()
    x = torch.randn(4, *SIZE)
    found, gradients = [], []
    for given in (x, x.as_subclass(Tagged)):
        cut.zero_grad()
        out = cut(given)
        out.sum().backward()
        found.append(out.detach().as_subclass(torch.Tensor))
        gradients.append(
            [p.grad.as_subclass(torch.Tensor).clone() for p in cut.parameters() if p.grad is not None]
        )
    assert torch.allclose(*found, rtol=1e-4, atol=1e-5)  # compiled code computes with plain tensors alone
    assert gradients[0]
    for one, other in zip(*gradients, strict=True):
        assert (one - other).abs().max() <= 1e-4 * other.abs().max()


class Words(nn.Module):
    """The input is numbers of words."""

    def __init__(self, functional):
        super().__init__()
        self.functional = functional
        self.embed, self.conv, self.head = (
            nn.Embedding(50, 12),
            nn.Conv1d(12, 16, 3, padding=1),
            nn.Linear(16, 4),
        )

    def forward(self, x):
        x = F.embedding(x, self.embed.weight) if self.functional else self.embed(x)
        return self.head(self.conv(x.permute(0, 2, 1)).relu().amax(2))


@pytest.mark.parametrize("functional", [False, True])
def test_no_noise_is_put_before_an_embedding(functional):
    cut = surgeon.apply(Words(functional), "noise").train()
    assert "input" not in [e.site for e in cut.surgery.edits] and cut.surgery.edits
    cut(torch.randint(0, 50, (4, 20)))


def test_noise_on_integers_is_refused_in_words():
    with pytest.raises(LayerError, match="floating-point numbers; it was given torch.int64"):
        add_noise(torch.zeros(2, 3, dtype=torch.long), 0.1)
