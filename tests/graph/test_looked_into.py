"""Modules that are put into containers which called nothing at the cut are called, as in the stock network."""

import copy
import pickle

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import SurgeryError
from tests.graph.test_kept_elsewhere import IMAGES, Empty, Net, demand_following, network_of


def _layer():
    torch.manual_seed(7)
    return nn.Linear(8, 8)


class Adapters(Net):
    def begin(self):
        self.extra = nn.ModuleDict()

    def used(self, h):
        return self.extra["a"](h) if "a" in self.extra else h


class Uncalled(Adapters):
    def begin(self):
        self.extra = nn.ModuleDict({"z": _layer()})


class Keys(Adapters):
    def used(self, h):
        for name in self.extra:
            h = self.extra[name](h)
        return h


class Values(Adapters):
    def used(self, h):
        for layer in self.extra.values():
            h = layer(h)
        return h


class Items(Adapters):
    def used(self, h):
        for _, layer in self.extra.items():
            h = layer(h)
        return h


class Counted(Adapters):
    def used(self, h):
        return h * (1 + len(self.extra))


class Apart(nn.Module):
    """A block that calls nothing at the cut."""

    def __init__(self):
        super().__init__()
        self.extra = nn.ModuleDict()

    def forward(self, h):
        return self.extra["a"](h) if "a" in self.extra else h


class InABlock(Net):
    def begin(self):
        self.apart = Apart()

    def used(self, h):
        return self.apart(h)


class Nested(Net):
    def begin(self):
        self.extra = nn.ModuleList([nn.ModuleDict()])

    def used(self, h):
        for part in self.extra:
            for layer in part.values():
                h = layer(h)
        return h


class Looped(Net):
    def begin(self):
        self.extra = nn.ModuleList()

    def used(self, h):
        for layer in self.extra:
            h = layer(h)
        return h


class Truth(Looped):
    def used(self, h):
        return h * 2 if self.extra else h


class Called(Net):
    def begin(self):
        self.extra = nn.Sequential()

    def used(self, h):
        return self.extra(h)


class ByRegistry(Empty):
    def used(self, h):
        return self._modules["x"](h) if "x" in self._modules else h


class ByPath(Empty):
    def used(self, h):
        try:
            return self.get_submodule("x")(h)
        except AttributeError:
            return h


class Missing(Empty):
    def used(self, h):
        return self.x(h) if hasattr(self, "x") else h


class Growing(Looped):
    def begin(self):
        self.extra = nn.ModuleList([_layer()])


def _adapter(net):
    net.extra["a"] = _layer()


def _append(net):
    net.extra.append(_layer())


def _child(net):
    net.x = _layer()


CHANGES = {
    "in": (Adapters, _adapter),
    "in, of uncalled ones": (Uncalled, _adapter),
    "keys": (Keys, _adapter),
    "values": (Values, _adapter),
    "items": (Items, _adapter),
    "len": (Counted, _adapter),
    "another container": (Adapters, lambda n: setattr(n, "extra", nn.ModuleDict({"a": _layer()}))),
    "block that calls nothing": (InABlock, lambda n: _adapter(n.apart)),
    "container in a container": (Nested, lambda n: n.extra[0].update({"a": _layer()})),
    "loop": (Looped, _append),
    "truth": (Truth, _append),
    "empty Sequential": (Called, _append),
    "hasattr": (Missing, _child),
    "registry": (ByRegistry, _child),
    "get_submodule": (ByPath, _child),
    "growing": (Growing, _append),
}


@pytest.mark.parametrize("inside", [False, True], ids=["root", "block"])
@pytest.mark.parametrize(("kind", "change"), CHANGES.values(), ids=CHANGES)
def test_what_comes_into_a_container_acts_at_the_next_call(kind, change, inside):
    demand_following(kind, change, inside)


def test_copies_and_pickles_compare_too():
    cut = surgeon.apply(network_of(Keys, True), "noise", input_size=(3, 12, 12))
    for other in (copy.deepcopy(cut), pickle.loads(pickle.dumps(cut))):
        before = other(IMAGES)
        _adapter(other.block)
        assert (other(IMAGES) - before).abs().max() > 0.01


def test_what_cannot_be_made_anew_is_named():
    cut = surgeon.apply(network_of(Keys, True), "noise", input_size=(3, 12, 12))
    cut.recompile()  # as after an edit by hand
    _adapter(cut.block)
    with pytest.raises(SurgeryError, match=r"block.extra: a \(Linear\) is new"):
        cut(IMAGES)


def test_modules_that_nobody_calls_may_be_exchanged():
    cut = surgeon.apply(network_of(Uncalled, True), "noise", input_size=(3, 12, 12))
    cut(IMAGES)
    cut.block.extra["z"] = _layer()
    cut(IMAGES)
    assert "_remade" not in cut.__dict__


def test_networks_without_such_attributes_compare_no_more_than_before():
    cut = surgeon.apply(surgeon.create_model("zoo/cifar_resnet20"), "noise", input_size=(3, 32, 32))
    kinds = {type(one).__name__ for one in cut._read}
    assert not kinds & {"Given", "Grown", "LookedInto"}
