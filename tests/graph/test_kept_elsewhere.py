"""Attributes that were not there at the cut, or that no `__dict__` has by name: set after it, they act as in the stock
network."""

import argparse
import collections
import copy
import dataclasses
import pickle
import weakref

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import SurgeryError


class Net(nn.Module):
    """Multiplies what it computes by what it reads."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, 8)
        self.begin()

    def begin(self):
        self.gain = 3.0

    def forward(self, x):
        return self.used(self.fc(self.conv(x).mean((2, 3))))

    def used(self, h):
        return h * self.read()


class Around(nn.Module):
    def __init__(self, block):
        super().__init__()
        self.first, self.block = nn.Conv2d(3, 3, 1), block

    def forward(self, x):
        return self.block(self.first(x))


class Empty(Net):
    def begin(self):
        pass


class ByDefault(Empty):
    def read(self):
        return getattr(self, "gain", 1.0)


class IfThere(Empty):
    def read(self):
        return self.gain if hasattr(self, "gain") else 1.0


class Tried(Empty):
    def read(self):
        try:
            return self.gain
        except AttributeError:
            return 1.0


class OfALayer(Empty):
    def read(self):
        return getattr(self.conv, "gain", 1.0)


class OfAnObject(Empty):
    def begin(self):
        self.options = argparse.Namespace()

    def read(self):
        return getattr(self.options, "gain", 1.0)


class AmongBuffers(Empty):
    def read(self):
        return self.gain if "gain" in self._buffers else 1.0


class FromTheDict(Empty):
    def read(self):
        return vars(self).get("gain", 1.0)


class InTheDict(Empty):
    def read(self):
        return self.gain if "gain" in self.__dict__ else 1.0


class OfTheClass(Empty):
    gain = 1.0

    def read(self):
        return self.gain


class Deleted(IfThere):
    def begin(self):
        self.gain = 3.0


class Method(Empty):
    def read(self):
        return self.scale() if hasattr(self, "scale") else 1.0


@dataclasses.dataclass(slots=True)
class Inner:
    gain: float = 3.0
    kept: list = dataclasses.field(default_factory=lambda: [3.0])


@dataclasses.dataclass(slots=True)
class Outer:
    inner: Inner = dataclasses.field(default_factory=Inner)


class InSlots(Net):
    def begin(self):
        self.options = Outer()

    def read(self):
        return self.options.inner.gain


class ListInASlot(InSlots):
    def read(self):
        return self.options.inner.kept[0]


class ByCopying(InSlots):
    def read(self):
        return dataclasses.asdict(self.options)["inner"]["gain"]


class Bare:
    __slots__ = ("gain",)


class UnsetSlot(Net):
    def begin(self):
        self.options = Bare()

    def read(self):
        return getattr(self.options, "gain", 1.0)


class OwnSlot(Net):
    __slots__ = ("gain",)

    def read(self):
        return self.gain


class TensorInASlot(Net):
    __slots__ = ("gain",)

    def begin(self):
        self.gain = torch.tensor(3.0)

    def read(self):
        return self.gain


class Field:
    """A descriptor that keeps its values in the object's own dict."""

    def __set_name__(self, owner, name):
        self.name = f"_{name}"

    def __get__(self, owner, kind=None):
        return self if owner is None else owner.__dict__[self.name]

    def __set__(self, owner, value):
        owner.__dict__[self.name] = value


class Elsewhere:
    """A descriptor that keeps its values itself, by object."""

    def __init__(self):
        self.values = weakref.WeakKeyDictionary()

    def __get__(self, owner, kind=None):
        return self if owner is None else self.values.get(owner, 1.0)

    def __set__(self, owner, value):
        self.values[owner] = value


class ByDescriptor(Net):
    gain = Field()

    def read(self):
        return self.gain


class KeptByDescriptor(Empty):
    gain = Elsewhere()

    def read(self):
        return self.gain


class ByVars(Net):
    def read(self):
        return vars(self)["gain"]


class VarsOfAnObject(OfAnObject):
    def begin(self):
        self.options = argparse.Namespace(gain=3.0)

    def read(self):
        return vars(self.options)["gain"]


class Unheard(Net):
    def read(self):
        return object.__getattribute__(self, "gain")


def _unheard(owner):
    return object.__getattribute__(owner, "gain")


class UnheardInAFunction(Net):
    def read(self):
        return _unheard(self)


class Renaming(Net):
    def __getattribute__(self, name):
        return object.__getattribute__(self, "gain") if name == "factor" else super().__getattribute__(name)

    def read(self):
        return self.factor


class Scaling(Net):
    def begin(self):
        self.gain, self.scale = 3.0, 1.0

    def __getattribute__(self, name):
        value = super().__getattribute__(name)
        return value * object.__getattribute__(self, "scale") if name == "gain" else value

    def read(self):
        return self.gain


class Store:
    def __init__(self):
        self._values = {"gain": 3.0}

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return object.__getattribute__(self, "_values")[name]


class FromAStore(Net):
    def begin(self):
        self.options = Store()

    def read(self):
        return self.options.gain


class Chained(Net):
    def begin(self):
        self.options = collections.ChainMap({}, {"gain": 3.0})

    def read(self):
        return self.options["gain"]


class AsProperty(Net):
    @property
    def factor(self):
        return self.gain

    def read(self):
        return self.factor


def _gain(net):
    net.gain = 7.0


def _buffer(net):
    net.register_buffer("gain", torch.tensor(7.0))


CHANGES = {
    "a default": (ByDefault, _gain),
    "hasattr": (IfThere, _gain),
    "an error": (Tried, _gain),
    "hasattr, a buffer": (IfThere, _buffer),
    "hasattr, a parameter": (
        IfThere,
        lambda n: n.register_parameter("gain", nn.Parameter(torch.tensor(7.0))),
    ),
    "hasattr, a tensor": (IfThere, lambda n: setattr(n, "gain", torch.tensor(7.0))),
    "hasattr, a function": (Method, lambda n: setattr(n, "scale", lambda: 7.0)),
    "of a layer": (OfALayer, lambda n: setattr(n.conv, "gain", 7.0)),
    "of an object": (OfAnObject, lambda n: setattr(n.options, "gain", 7.0)),
    "among buffers": (AmongBuffers, _buffer),
    "in the dict": (FromTheDict, _gain),
    "name in the dict": (InTheDict, _gain),
    "of the class": (OfTheClass, _gain),
    "deleted": (Deleted, lambda n: delattr(n, "gain")),
    "slot of an object": (InSlots, lambda n: setattr(n.options.inner, "gain", 7.0)),
    "slot exchanged": (InSlots, lambda n: setattr(n.options, "inner", Inner(7.0))),
    "object with slots exchanged": (InSlots, lambda n: setattr(n, "options", Outer(Inner(7.0)))),
    "list in a slot": (ListInASlot, lambda n: n.options.inner.kept.__setitem__(0, 7.0)),
    "copied as a dict": (ByCopying, lambda n: setattr(n.options.inner, "gain", 7.0)),
    "slot that was not set": (UnsetSlot, lambda n: setattr(n.options, "gain", 7.0)),
    "slot of the module": (OwnSlot, _gain),
    "tensor in a slot": (TensorInASlot, lambda n: setattr(n, "gain", torch.tensor(7.0))),
    "tensor in a slot, written": (TensorInASlot, lambda n: n.gain.fill_(7.0)),
    "descriptor": (ByDescriptor, _gain),
    "vars": (ByVars, _gain),
    "vars of an object": (VarsOfAnObject, lambda n: setattr(n.options, "gain", 7.0)),
    "object's own reading": (Unheard, _gain),
    "in a function": (UnheardInAFunction, _gain),
    "renaming": (Renaming, _gain),
    "scaling": (Scaling, lambda n: setattr(n, "scale", 2.0)),
    "store": (FromAStore, lambda n: n.options._values.update(gain=7.0)),
    "chain": (Chained, lambda n: n.options.maps[0].update(gain=7.0)),
    "property": (AsProperty, _gain),
}


def network_of(kind, inside):
    torch.manual_seed(0)
    net = kind()
    return (Around(net) if inside else net).eval()


IMAGES = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def demand_following(kind, change, inside):
    """Compare a network and its cut after a change to both."""
    stock = network_of(kind, inside)
    cut = surgeon.apply(stock, "noise", input_size=(3, 12, 12))
    before = cut(IMAGES), cut(IMAGES)
    assert "_remade" not in cut.__dict__  # calls alone make no graph anew
    change(stock.block if inside else stock)
    change(cut.block if inside else cut)
    with torch.no_grad():
        after, wanted = cut(IMAGES), stock(IMAGES)
        assert cut._remade == 1 and cut(IMAGES).equal(after) and cut._remade == 1
    assert (after - before[0]).abs().max() > 0.01
    torch.testing.assert_close(after, wanted)


@pytest.mark.parametrize("inside", [False, True], ids=["root", "block"])
@pytest.mark.parametrize(("kind", "change"), CHANGES.values(), ids=CHANGES)
def test_what_comes_or_changes_after_the_cut_acts_at_the_next_call(kind, change, inside):
    demand_following(kind, change, inside)


def test_copies_and_pickles_compare_too():
    for kind, change in (CHANGES["a default"], CHANGES["slot of an object"]):
        cut = surgeon.apply(network_of(kind, True), "noise", input_size=(3, 12, 12))
        for other in (copy.deepcopy(cut), pickle.loads(pickle.dumps(cut))):
            before = other(IMAGES)
            change(other.block)
            assert (other(IMAGES) - before).abs().max() > 0.01


def test_a_descriptor_that_keeps_its_values_itself_is_asked_again():
    stock = network_of(KeptByDescriptor, True)
    cut = surgeon.apply(stock, "noise", input_size=(3, 12, 12))
    before = cut(IMAGES)
    cut.block.gain = 7.0
    torch.testing.assert_close(cut(IMAGES), before * 7)


def test_what_cannot_be_made_anew_is_named():
    for name, text in (
        ("a default", "block.gain: it was set to 7.0 after the surgery"),
        ("slot of an object", "block.options.inner.gain: 7.0 in place of 3.0"),
        ("name in the dict", "block.gain: it was set to 7.0"),
    ):
        kind, change = CHANGES[name]
        cut = surgeon.apply(network_of(kind, True), "noise", input_size=(3, 12, 12))
        cut.recompile()  # as after an edit by hand
        change(cut.block)
        with pytest.raises(SurgeryError, match=text):
            cut(IMAGES)
