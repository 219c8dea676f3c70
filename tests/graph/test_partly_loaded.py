"""State dicts of networks that were cut in fewer or other layers."""

import copy
import pickle
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


class Whole(nn.Module):
    """Its code asks for a number, which no graph can hold; the networks in it get graphs of their own."""

    def __init__(self):
        super().__init__()
        self.one, self.two = Net(), Net()
        self.two.a = nn.Conv2d(16, 16, 3)

    def forward(self, x):
        x = self.one(x)
        return self.two(x * 2 if float(x.mean()) > 1e9 else x).mean((2, 3))


class Outer(nn.Module):
    """A network that has a graph, around parts that have some of their own."""

    def __init__(self):
        super().__init__()
        self.stem, self.inner = nn.Conv2d(3, 3, 3, padding=1), Whole()

    def forward(self, x):
        return self.inner(self.stem(x))


BIG = (3, 24, 24)


def parts_cut(kind):
    torch.manual_seed(0)
    return surgeon.apply(kind().eval(), "kap", input_size=BIG)


@pytest.mark.parametrize(
    "made", [lambda c: c, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c)), nn.Sequential]
)
@pytest.mark.parametrize("kind, inner", [(Whole, ""), (Outer, "inner.")])
@pytest.mark.parametrize("gone, there", [("one", "two"), ("two", "one")])
def test_parts_with_graphs_of_their_own_are_one_network(kind, inner, made, gone, there):
    model = made(parts_cut(kind))
    before = "0." if isinstance(model, nn.Sequential) else ""
    gone, there = f"{before}{inner}{gone}", f"{before}{inner}{there}"
    state = model.state_dict()
    fewer = {k: v for k, v in state.items() if not (k.startswith(gone) and "kap" in k)}
    assert len(fewer) < len(state)
    text = rf"tensors of kap at .*{there}\.a, .* and none at {gone}\.a, {gone}\.b, {gone}\.c, which"
    with (
        pytest.warns(SurgeryWarning, match=text) as said,
        pytest.raises(RuntimeError, match=rf"{gone}\.a\.kap\.alpha"),
    ):
        model.load_state_dict(fewer)
    assert len(said) == 1
    with pytest.warns(SurgeryWarning, match=text) as said:
        result = model.load_state_dict(fewer, strict=False)
    assert len(said) == 1
    assert result.missing_keys == [f"{gone}.{layer}.kap.alpha" for layer in "abc"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.load_state_dict({k: v for k, v in state.items() if "kap" not in k})
        model.load_state_dict(state)


@pytest.mark.parametrize("kind", [Whole, Outer])
def test_networks_that_are_folded_or_reverted_no_longer_ask(kind):
    cut = parts_cut(kind)
    for back in (surgeon.fold(cut), surgeon.revert(cut)):
        assert not any(m._load_state_dict_pre_hooks for m in back.modules())
    twice = surgeon.apply(cut, "noise", input_size=BIG, stack=True)
    assert len(twice._load_state_dict_pre_hooks) <= 1


def test_two_networks_in_one_are_two():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = cut(), cut()

    pair = Pair()
    state = {k: v for k, v in pair.state_dict().items() if not (k.startswith("one") and "kap" in k)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pair.load_state_dict(state)
