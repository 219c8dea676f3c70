"""A rewritten `nn.ModuleDict`, as torchvision's networks have one for a backbone, asked for its names and children."""

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import SurgeryError


class Getter(nn.ModuleDict):
    """It calls its children one by one, as torchvision's IntermediateLayerGetter."""

    def forward(self, x):
        for module in self.values():
            x = module(x)
        return x


def getter():
    torch.manual_seed(0)
    children = {"conv": nn.Conv2d(3, 16, 3), "relu": nn.ReLU(), "stage": nn.Sequential(nn.Conv2d(16, 16, 3))}
    return Getter(children).eval()


@pytest.mark.parametrize("recipe", ["noise", "kap", "wm-unsharp", "defective"])
def test_names_are_the_stock_networks_and_children_without_layers_are_given(recipe):
    stock = getter()
    cut = surgeon.apply(stock, recipe, input_size=(3, 12, 12))
    assert list(cut) == list(cut.keys()) == list(stock) and len(cut) == len(stock)
    assert "relu" in cut and "input_noise" not in cut
    with pytest.raises(KeyError):
        cut["other"]
    edited = {e.site.partition(".")[0] for e in cut.surgery.edits if e.layer} - {"input"}
    for name in set(stock) - edited:
        assert cut[name] is cut.get_submodule(name)
    for name in edited:
        with pytest.raises(SurgeryError, match="was not run"):
            cut[name]
    with pytest.raises(SurgeryError, match="was not run"):
        cut.items()
