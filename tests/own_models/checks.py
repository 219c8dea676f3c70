"""What every network of one's own must go through: exactness, folding, reverting, saving, and being left alone."""

from __future__ import annotations

import copy
import functools

import torch
from torch import nn
from torch.nn import functional as F

import surgeon
from surgeon.models.logits import first_tensor
from surgeon.verification import demand, relative, verify

SIZE = (3, 8, 8)
KAP = {"op": "kap", "start": "lstsq"}
"""Replaces each convolution, adds a layer behind it, and folds."""


class Plain(nn.Module):
    """Two convolutions, a norm, and a head; `conv2` is what tests exchange."""

    def __init__(self, conv2: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1) if conv2 is None else conv2
        self.head = nn.Linear(16, 5)

    def features(self, x):
        return self.conv2(self.norm(self.conv(x)).relu())

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


class BySize(Plain):
    """Its code branches on the size of its input, and makes a tensor on the way."""

    def features(self, x):
        x = self.norm(self.conv(x)).relu() * torch.tensor([0.5], dtype=x.dtype)
        if x.shape[-1] < 8:
            x = F.interpolate(x, scale_factor=2.0) * torch.tensor([3.0], dtype=x.dtype)
        return self.conv2(x)


@functools.cache
def noisy(kind):
    """A stock network of a class, and the same with noise layers, in evaluation mode. Copy before a change."""
    torch.manual_seed(0)
    stock = kind().eval()
    return stock, surgeon.apply(stock, {"op": "noise", "sigma": 0.1}, input_size=SIZE)


def images(size=SIZE, like=None):
    x = torch.randn(2, *size, generator=torch.Generator().manual_seed(1))
    return x if like is None else x.to(next(like.parameters()))


def out(model, *args):
    with torch.no_grad():
        return first_tensor(model(*args))


def works(model, tmp_path, *args, input_size=SIZE, sites=None, tolerance=1e-5):
    """Run a network through everything; returns it cut by KAP. args: its inputs, by default one batch of images."""
    model.eval()
    args = args or (images(input_size, model),)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    wanted = out(model, *args)
    kept = surgeon.apply(model, "noise", input_size=input_size).eval()
    assert torch.equal(out(kept, *args), wanted)
    cut = surgeon.apply(model, KAP, input_size=input_size).eval()
    if sites is not None:
        assert [e.site for e in cut.surgery.edits] == sites
    assert not torch.equal(out(cut, *args), wanted)
    if input_size is not None:
        demand(verify(model, cut, images=args[0]))
    folded = surgeon.fold(cut).eval()
    assert type(folded) is type(model)
    assert relative(out(folded, *args), out(cut, *args)) <= tolerance
    twin = copy.deepcopy(model)
    twin.load_state_dict(folded.state_dict())
    assert torch.equal(out(twin, *args), out(folded, *args))
    back = surgeon.revert(cut).eval()
    assert type(back) is type(model)
    assert torch.equal(out(back, *args), wanted)
    assert list(back.state_dict()) == list(state)
    surgeon.save(cut, tmp_path / "cut", overwrite=True)
    again = surgeon.load(tmp_path / "cut", model=model)
    assert torch.equal(out(again, *args), out(cut, *args))
    assert torch.equal(out(surgeon.revert(again).eval(), *args), wanted)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    return cut
