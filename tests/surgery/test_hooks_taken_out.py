"""Hooks that a caller puts on what a surgery put in, when that is folded or reverted."""

import copy
import functools
import warnings

import pytest
import torch
import torch.nn.utils.prune
from torch import nn

import surgeon
from surgeon.errors import FoldError, SurgeryWarning

SIZE = (3, 12, 12)
CALLS = {
    "forward": lambda m, f: m.register_forward_hook(f),
    "forward with names": lambda m, f: m.register_forward_hook(f, with_kwargs=True),
    "forward pre": lambda m, f: m.register_forward_pre_hook(f),
    "backward": lambda m, f: m.register_full_backward_hook(f),
    "backward pre": lambda m, f: m.register_full_backward_pre_hook(f),
}
STATES = {
    "state dict": lambda m, f: m.register_state_dict_post_hook(f),
    "loading": lambda m, f: m.register_load_state_dict_post_hook(f),
}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.bn, self.relu, self.fc = nn.BatchNorm2d(16), nn.ReLU(), nn.Linear(16, 5)

    def forward(self, x):
        return self.fc(self.bn(self.conv2(self.relu(self.conv1(x)))).mean((2, 3)))


class Heard:
    """A hook that is an object, of which each copy of a network has one of its own."""

    calls: list[str] = []

    def __call__(self, module, *rest):
        self.calls.append(type(module).__name__)


def told(call, network):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call(network)
    return result, [str(w.message) for w in caught if issubclass(w.category, SurgeryWarning)]


def passed(network):
    Heard.calls.clear()
    network(torch.rand(2, *SIZE, requires_grad=True)).sum().backward()
    return Heard.calls


@pytest.mark.parametrize("recipe, site, back", [("wm-unsharp", "conv2", "Conv2d"), ("kwta", "relu", "ReLU")])
@pytest.mark.parametrize("kind", CALLS)
def test_hooks_on_the_calls_of_a_replaced_module_move_to_the_one_that_comes_back(kind, recipe, site, back):
    cut = surgeon.apply(Net().eval(), recipe, input_size=SIZE)
    CALLS[kind](cut.get_submodule(site), Heard())
    for network in (cut, copy.deepcopy(cut), surgeon.apply(cut, "noise", input_size=SIZE, stack=True)):
        assert len(passed(network)) == 1
        stock, texts = told(surgeon.revert, network)
        assert passed(stock) == [back] and not texts


@pytest.mark.parametrize("early", [False, True])
def test_a_hook_that_was_there_at_the_cut_is_called_once_and_goes_where_it_was_taken_off(early):
    net = Net().eval()
    net.conv2.register_forward_hook(Heard())
    cut = surgeon.apply(net, "wm-unsharp", input_size=SIZE)
    cut.conv2.register_forward_hook(Heard())
    if early:
        cut.conv2._forward_hooks.popitem(last=False)
    assert passed(surgeon.revert(cut)) == ["Conv2d"] * (1 if early else 2)


@pytest.mark.parametrize("kind", [*CALLS, *STATES])
@pytest.mark.parametrize("recipe", ["kap", "defective", "anl"])
def test_hooks_on_an_inserted_layer_that_goes_are_named(kind, recipe):
    cut = surgeon.apply(Net().eval(), recipe, input_size=SIZE)
    layer = next(e.layer for e in surgeon.surgery_of(cut).edits if e.layer)
    {**CALLS, **STATES}[kind](cut.get_submodule(layer), functools.partial(Heard()))
    stock, texts = told(surgeon.revert, cut)
    assert len(texts) == 1 and f"hooks of yours on {layer} are gone" in texts[0]
    passed(stock)
    if kind in CALLS:
        with pytest.raises(FoldError, match=r"hook of yours is on the layer|does not fold|do not fold"):
            surgeon.fold(cut)


def test_backward_hooks_keep_a_layer_from_folding_and_those_on_state_dicts_are_named():
    cut = surgeon.apply(Net().eval(), "anl", input_size=SIZE)
    cut.bn.anl.register_full_backward_hook(Heard())
    with pytest.raises(FoldError, match="backward hook of yours is on the layer"):
        surgeon.fold(cut)
    kept, texts = told(functools.partial(surgeon.fold, partial=True), cut)
    assert not texts and len(kept.bn.anl._backward_hooks) == 1
    cut.bn.anl._backward_hooks.clear()
    cut.bn.anl.register_state_dict_post_hook(Heard())
    assert "hooks of yours on bn.anl are gone" in told(surgeon.fold, cut)[1][0]


def test_hooks_elsewhere_are_no_reason_to_warn():
    net = Net().eval()
    net.conv1.register_forward_hook(Heard())
    net.register_state_dict_post_hook(Heard())
    for recipe in ("kap", "anl", "defective", "wm-unsharp"):
        cut = surgeon.apply(net, recipe, input_size=SIZE)
        cut.fc.register_forward_hook(Heard())
        cut.bn.register_full_backward_hook(Heard())
        assert not told(surgeon.revert, cut)[1]
        if recipe == "anl":
            assert not told(surgeon.fold, cut)[1]


def test_a_hook_that_writes_weights_is_folded_with_them_and_not_named_as_gone():
    cut = surgeon.apply(Net().eval(), "kap", input_size=SIZE).eval()
    torch.nn.utils.prune.l1_unstructured(cut.conv2, "weight", amount=0.5)
    images = torch.rand(2, *SIZE)
    folded, texts = told(surgeon.fold, cut)
    assert not texts and not folded.conv2._forward_pre_hooks
    torch.testing.assert_close(folded(images), cut(images), rtol=1e-4, atol=1e-5)


def test_a_look_at_the_uncut_network_says_nothing_of_hooks(recwarn):
    from surgeon.surgery.folding import uncut_network

    stock = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(1600, 2))
    cut = surgeon.apply(stock, "kap", input_size=SIZE)
    cut.get_submodule(cut.surgery.edits[0].layer).register_forward_hook(lambda m, i, o: None)
    assert torch.equal(uncut_network(cut)[0].weight, stock[0].weight)
    assert not [w for w in recwarn if "hooks of yours" in str(w.message)]
    with pytest.warns(SurgeryWarning, match="hooks of yours"):
        surgeon.revert(cut)
