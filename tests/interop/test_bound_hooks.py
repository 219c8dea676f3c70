"""Hooks that are methods of the network itself, on a cut network and on what it becomes."""

from __future__ import annotations

import copy
import functools
import pickle

import pytest
import torch
from torch import nn

import surgeon

SIZE = (3, 12, 12)


class Watched(nn.Module):
    """It keeps what goes through its parts, and reads checkpoints with older names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.act = nn.ReLU()
        self.head = nn.Conv2d(16, 5, 3)
        self.seen: dict[str, object] = {}
        self.conv.register_forward_hook(self.keep)
        self.norm.register_forward_hook(functools.partial(self.keep_as, "norm"))
        self.head.register_full_backward_hook(self.keep_gradient)
        self.act.register_forward_hook(functools.partial(keep_in, self))
        self._register_state_dict_hook(self.note)
        self.register_load_state_dict_post_hook(self.loaded)
        self.register_load_state_dict_pre_hook(rename)

    def keep(self, module, args, output):
        self.put("conv", output)

    def keep_as(self, name, module, args, output):
        self.put(name, output)

    def keep_gradient(self, module, given, taken):
        self.put("gradient", taken[0])

    def put(self, name, value):
        self.seen[name] = tuple(value.shape)

    def note(self, *_):
        self.seen["state"] = True

    def loaded(self, *_):
        self.seen["loaded"] = True

    def forward(self, x):
        return self.head(self.act(self.norm(self.conv(x)))).mean((2, 3))


def keep_in(network, module, args, output):
    network.seen["act"] = tuple(output.shape)


def rename(module, state, prefix, *rest):
    module.seen["pre"] = True
    for key in [k for k in state if k.startswith("old.")]:
        state[key[4:]] = state.pop(key)


def used(network):
    """What the hooks of a network note in it, in a pass, a load and a save."""
    network.seen = {}
    network.train()(torch.randn(2, *SIZE)).sum().backward()
    state = network.state_dict()
    network.load_state_dict({f"old.{k}" if k.startswith("head.") else k: v for k, v in state.items()})
    return network.seen


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Watched()


@pytest.mark.parametrize("recipe", ["noise", "kap", "wm-unsharp", "anl", "defective"])
def test_hooks_are_bound_to_what_the_network_becomes(net, recipe):
    wanted = used(copy.deepcopy(net))
    assert len(wanted) == 7
    cut = surgeon.apply(net, recipe, input_size=SIZE)
    made = {
        "cut": cut,
        "copied": copy.deepcopy(copy.deepcopy(cut)),
        "pickled": pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(cut)))),
        "cut twice": surgeon.apply(cut, "noise", input_size=SIZE, stack=True),
        "reverted": surgeon.revert(cut),
        "a copy reverted": surgeon.revert(pickle.loads(pickle.dumps(cut))),
    }
    if recipe in ("noise", "anl"):
        made["folded"] = surgeon.fold(cut)
    net.seen = {}  # apply asks it for its names, and runs it
    for name, network in made.items():
        assert used(network) == wanted, name
        assert net.seen == {}, f"{name}: the stock network heard of it"
    assert used(cut) == wanted and len({id(m.seen) for m in made.values()}) == len(made)


def test_hooks_of_a_part_that_is_exchanged_or_opened(net):
    class Own(nn.Conv2d):
        def mean_of(self, module, args, output):
            self.mean = output.detach().mean()

    own = Own(3, 16, 3, padding=1)
    own.register_forward_hook(own.mean_of)
    stock = nn.Sequential(own, nn.BatchNorm2d(16), nn.Conv2d(16, 5, 3)).eval()
    cut = surgeon.apply(stock, "kap", input_size=SIZE, trained=True)  # another convolution stands there
    x = torch.randn(2, *SIZE)
    for network in (cut, surgeon.revert(cut)):
        network.get_submodule("0").mean = None
        network(x)
        wanted = nn.functional.conv2d(
            x, network.get_submodule("0").weight, network.get_submodule("0").bias, padding=1
        ).mean()
        torch.testing.assert_close(network.get_submodule("0").mean, wanted)


@pytest.mark.parametrize("start", ["random", "anneal"])
def test_hooks_on_what_is_replaced_are_called_with_what_replaces_it(start):
    stock = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 5, 3)).eval()
    heard = []
    stock[0].register_forward_hook(
        lambda m, given, taken, **_: heard.append((type(m).__name__, taken.detach().clone()))
    )
    stock[0].register_forward_pre_hook(lambda m, given, named: heard.append(sorted(named)), with_kwargs=True)
    recipe = {"op": "weight-map", "mode": "unsharp", "start": start}
    cut = surgeon.apply(stock, recipe, input_size=SIZE)
    heard.clear()
    out = cut(torch.randn(2, *SIZE))
    assert len(heard) == 2 and heard[0] == [] and heard[1][0].startswith("WeightMap")
    torch.testing.assert_close(cut.get_submodule("2")(heard[1][1].relu()), out)
    back = surgeon.revert(cut)
    heard.clear()
    back(torch.randn(2, *SIZE))
    assert [h if isinstance(h, list) else h[0] for h in heard] == [[], "Conv2d"]
