"""Weights of a network without a name, loaded onto one of the same tensors that computes something else."""

import warnings

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import ArtifactWarning


class Own(nn.Module):
    """Nothing in its tensors says what it computes."""

    def __init__(self, act=nn.ReLU, padding_mode="zeros", eps=1e-5, pool=nn.MaxPool2d, scale=1.0):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1, padding_mode=padding_mode)
        self.norm, self.act, self.pool = nn.BatchNorm2d(16, eps=eps), act(), pool(2)
        self.fc, self.scale = nn.Linear(16 * 16, 5), scale

    def forward(self, x):
        return self.scale * self.fc(self.pool(self.act(self.norm(self.conv(x)))).flatten(1))


@pytest.fixture(params=["stock", "kap", "anl"])
def folder(request, tmp_path):
    """A folder of it, as it is and cut."""
    torch.manual_seed(0)
    network = Own(nn.ReLU).eval()
    if request.param != "stock":
        network = surgeon.apply(network, request.param, input_size=(3, 8, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ArtifactWarning)  # that no name makes it
        return surgeon.save(network, tmp_path / "net")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"act": nn.GELU}, "act has another class or other settings"),
        ({"padding_mode": "circular"}, "conv has"),
        ({"eps": 0.5}, "norm has"),
        ({"pool": nn.AvgPool2d}, "pool has"),
        ({"scale": 3.0}, "the network itself has"),
        ({"act": nn.GELU, "eps": 0.5}, r"norm \(and 1 more\) has"),
    ],
)
def test_other_layers_are_told(folder, change, says):
    with pytest.warns(ArtifactWarning, match=says):
        surgeon.load(folder, model=Own(**change))


@pytest.mark.parametrize("act", [nn.ReLU, lambda: nn.ReLU(inplace=True)])
def test_the_same_layers_are_taken_without_a_word(folder, act):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network = surgeon.load(folder, model=Own(act).train())
        network.train()(torch.rand(4, 3, 8, 8))
        network.eval()
    with pytest.warns(ArtifactWarning, match="is of own code") as told:
        again = surgeon.save(network, folder.parent / "again")
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        surgeon.load(again, model=Own(act))
