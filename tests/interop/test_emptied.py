"""Networks whose tensors were given empty memory: `to_empty`, from the meta device or from a real one."""

import copy

import pytest
import torch
from torch import nn

import surgeon
from surgeon.models.pixels import Normalized

SIZE = (3, 12, 12)


def from_meta(module):
    return module.to("meta").to_empty(device="cpu")


def at_once(module):
    return module.to_empty(device="cpu")


@pytest.fixture(autouse=True)
def filled(monkeypatch):
    """Empty memory full of the number 7, which no layer holds."""
    real = torch.empty_like
    monkeypatch.setattr(
        torch,
        "empty_like",
        lambda t, **how: real(t, **how) if how.get("device") in ("meta",) else torch.full_like(t, 7, **how),
    )


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 4, 3))

    def forward(self, x):
        return super().forward(x * torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1))


@pytest.mark.parametrize("empty", [from_meta, at_once])
@pytest.mark.parametrize("recipe", ["noise", "kap", "wm-unsharp", "defective"])
def test_a_state_dict_gives_all_values_back(recipe, empty):
    torch.manual_seed(0)
    cut = surgeon.apply(Net(), recipe, input_size=SIZE).eval()
    x = torch.randn(2, *SIZE)
    wanted = cut(x)
    emptied = empty(copy.deepcopy(cut))
    emptied.load_state_dict(cut.state_dict())
    assert torch.equal(emptied(x), wanted)
    again = empty(copy.deepcopy(emptied))
    again.load_state_dict(cut.state_dict())
    assert torch.equal(again(x), wanted)


@pytest.mark.parametrize("empty", [from_meta, at_once])
@pytest.mark.parametrize("recipe", ["kap", "defective"])
def test_a_stock_checkpoint_no_longer_loads_strictly(recipe, empty):
    stock = Net()
    cut = surgeon.apply(stock, recipe, input_size=SIZE)
    cut.load_state_dict(stock.state_dict())
    with pytest.raises(RuntimeError, match="Missing key"):
        empty(cut).load_state_dict(stock.state_dict())


@pytest.mark.parametrize("empty", [from_meta, at_once])
def test_the_normalisation_of_an_attacked_model_stays(empty):
    model = Normalized(Net(), (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)).eval()
    x = torch.rand(2, *SIZE)
    wanted, state = model(x), copy.deepcopy(model.state_dict())
    emptied = empty(copy.deepcopy(model))
    emptied.load_state_dict(state)
    assert torch.equal(emptied(x), wanted)
    assert emptied.double().mean.dtype == torch.float64
