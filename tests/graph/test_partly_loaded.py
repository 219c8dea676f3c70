"""State dicts of networks that were cut in fewer or other layers."""

import warnings

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import SurgeryWarning

SIZE = (3, 12, 12)
SITES = r"tensors of kap at block\.a, and none at block\.b"


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3), nn.Conv2d(16, 16, 3)

    def forward(self, x):
        return self.c(self.b(self.a(x)).relu())


class Around(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Net()

    def forward(self, x):
        return self.block(x)


def cut():
    torch.manual_seed(0)
    return surgeon.apply(Around().eval(), "kap", input_size=SIZE)


def test_strict_loading_fails_with_the_missing_keys_and_the_sites():
    model = cut()
    fewer = {k: v for k, v in model.state_dict().items() if not k.startswith("block.b.kap")}
    with (
        pytest.warns(SurgeryWarning, match=SITES),
        pytest.raises(RuntimeError, match=r"block\.b\.kap\.alpha"),
    ):
        model.load_state_dict(fewer)


def test_loading_that_is_not_strict_warns_of_each_site_and_says_the_keys():
    model = cut()
    fewer = {k: v for k, v in model.state_dict().items() if not k.startswith("block.b.kap")}
    with pytest.warns(SurgeryWarning, match=SITES):
        result = model.load_state_dict(fewer, strict=False)
    assert result.missing_keys == ["block.b.kap.alpha"] and not result.unexpected_keys


def test_a_state_dict_of_more_layers_fails_and_one_of_none_is_the_stock_networks():
    model = cut()
    state = model.state_dict()
    with pytest.raises(RuntimeError, match=r"Unexpected key.*block\.c\.kap\.alpha"):
        model.load_state_dict(state | {"block.c.kap.alpha": state["block.a.kap.alpha"]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.load_state_dict({k: v for k, v in state.items() if "kap" not in k})
        model.load_state_dict(state)


@pytest.mark.parametrize("recipe", ["defective", "parametric-noise", "squeeze-excite", "wm-unsharp-all"])
def test_tensors_of_another_recipe_fail(recipe):
    torch.manual_seed(0)
    other = surgeon.apply(Around().eval(), recipe, input_size=SIZE)
    with pytest.raises(RuntimeError, match=r"key\(s\) in state_dict"):
        cut().load_state_dict(other.state_dict())
