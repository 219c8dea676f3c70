"""Attributes that code reads by `object.__getattribute__`, which nobody hears, wherever it stands: set after the cut,
they act as in the stock network."""

import functools
import types

import pytest
from torch import nn

from tests.graph.test_kept_elsewhere import Empty, Net, _gain, _unheard, demand_following


def _far(owner):
    return _unheard(owner)


class UnheardTwoCallsAway(Net):
    def read(self):
        return _far(self)


class UnheardByStatic(Net):
    @staticmethod
    def raw(owner):
        return object.__getattribute__(owner, "gain")

    def read(self):
        return self.raw(self)


_raw = object.__getattribute__


class UnheardByAnotherName(Net):
    def read(self):
        return _raw(self, "gain")


class Reader:
    def get(self, owner):
        return object.__getattribute__(owner, "gain")


class UnheardByAnObject(Net):
    def begin(self):
        self.gain, self.reader = 3.0, Reader()

    def read(self):
        return self.reader.get(self)


_READERS = types.SimpleNamespace(of={"gain": functools.partial(Reader().get)})


class UnheardInADict(Net):
    def read(self):
        return _READERS.of["gain"](self)


class Part(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = 3.0

    def forward(self, x):
        return x


class UnheardOfAPart(Empty):
    def begin(self):
        self.part = Part()

    def read(self):
        return object.__getattribute__(self.part, "gain")


CHANGES = {
    "two calls away": (UnheardTwoCallsAway, _gain),
    "by a static method": (UnheardByStatic, _gain),
    "under another name": (UnheardByAnotherName, _gain),
    "by an object": (UnheardByAnObject, _gain),
    "in a dict of functions": (UnheardInADict, _gain),
    "of a part": (UnheardOfAPart, lambda n: setattr(n.part, "gain", 7.0)),
}


@pytest.mark.parametrize("inside", [False, True], ids=["root", "block"])
@pytest.mark.parametrize(("kind", "change"), CHANGES.values(), ids=CHANGES)
def test_what_is_read_unheard_is_compared_too(kind, change, inside):
    demand_following(kind, change, inside)
