"""Where layers stand among the children of a network."""

import copy
import pickle

import pytest
import torch
from torch import nn

import surgeon
from tests.interop.conftest import SIZE, _stock


@pytest.mark.parametrize("recipe", ["kap", "input-noise", "wm-input-scale"])
def test_a_layer_at_the_input_is_the_first_child(recipe, tmp_path):
    stock = _stock()
    cut = surgeon.apply(stock, recipe, input_size=SIZE)
    surgeon.save(cut, tmp_path / "out")
    names = [n for n, _ in stock.named_children()]
    for one in (cut, copy.deepcopy(cut), pickle.loads(pickle.dumps(cut)), surgeon.load(tmp_path / "out")):
        first, *others = [n for n, _ in one.named_children()]
        assert first.startswith("input_") and others == names
        assert list(one.children())[-1] is one.fc
    assert [n for n, _ in surgeon.revert(cut).named_children()] == names


def test_several_stand_as_they_run():
    stock = _stock()
    cut = surgeon.apply(
        surgeon.apply(stock, "wm-input-scale", input_size=SIZE), "kap", input_size=SIZE, stack=True
    )
    order = [n for n, m in cut.named_children() if n not in dict(stock.named_children())]
    ran = []
    for name in order:
        cut.get_submodule(name).register_forward_hook(lambda *_, name=name: ran.append(name))
    with torch.no_grad():
        cut(torch.zeros(1, *SIZE))
    assert len(order) == 2 and ran == order
    assert [n for n, _ in cut.named_children()][:2] == order


def test_a_sequential_keeps_its_last():
    stock = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Flatten(), nn.Linear(16 * 36, 4))
    cut = surgeon.apply(stock, "kap", input_size=(3, 8, 8))
    assert isinstance(list(cut.children())[-1], nn.Linear)
    x = torch.randn(2, 3, 8, 8)
    assert torch.allclose(cut.eval()(x), surgeon.fold(cut)(x), atol=1e-5)
