"""Every type that a network gives is given back after a cut, also nested, and also between its own parts."""

from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import surgeon
from tests.own_models.checks import SIZE, Plain, images, works


class Both(OrderedDict):
    """A dict and a dataclass in one, as transformers' outputs are: `.logits`, `[0]`, `["logits"]`."""

    def __post_init__(self):
        for f in fields(self):
            if getattr(self, f.name) is not None:
                super().__setitem__(f.name, getattr(self, f.name))

    def __getitem__(self, key):
        return super().__getitem__(key) if isinstance(key, str) else tuple(self.values())[key]

    def __reduce__(self):
        make, _, *rest = super().__reduce__()
        return make, tuple(getattr(self, f.name) for f in fields(self)), *rest


@dataclass
class Logits(Both):
    logits: Tensor | None = None
    loss: Tensor | None = None
    hidden: Any = None


@dataclass
class Plainly:
    logits: Tensor
    label: str = "a"


@dataclass(frozen=True, slots=True)
class Frozen:
    logits: Tensor
    names: tuple[str, ...] = ("a", "b")


@dataclass
class Doubles:
    """Its constructor changes what it is given: run a second time on the same value it would be wrong."""

    logits: Tensor
    made: Tensor = field(init=False)

    def __post_init__(self):
        self.logits = self.logits * 2
        self.made = self.logits + 1


class Named(NamedTuple):
    logits: Tensor
    rest: Any


class Longer(list):
    """A list with an attribute."""

    def __init__(self, values=(), note=""):
        super().__init__(values)
        self.note = note


class Free:
    """Any object with attributes."""

    def __init__(self, logits):
        self.logits, self.count = logits, 3


def _default(y):
    made = defaultdict(list)
    made["logits"] = y
    return made


def _longer(y):
    return Longer([y, {"again": y}], "a note")


MAKERS = {
    "dict and dataclass": lambda y: Logits(logits=y, hidden=(y, y * 2)),
    "dict and dataclass with one more": lambda y: _with_more(Logits(logits=y)),
    "nested": lambda y: Logits(logits=y, hidden=[Plainly(y), Named(y, {"a": Plainly(y * 3)})]),
    "ordered dict": lambda y: OrderedDict(logits=y, more=OrderedDict(a=y)),
    "default dict": _default,
    "dataclass": lambda y: Plainly(y, "b"),
    "frozen dataclass with slots": lambda y: Frozen(y),
    "dataclass that changes what it is given": lambda y: Doubles(y),
    "list with an attribute": _longer,
    "any object": lambda y: Free(y),
}


def _with_more(made):
    made["more"] = made.logits * 2
    return made


class Returns(Plain):
    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, x):
        return self.make(super().forward(x))


def alike(a: Any, b: Any) -> None:
    """Two outputs are of the same types with the same values, all the way down."""
    assert type(a) is type(b)
    if isinstance(a, Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            alike(dict.__getitem__(a, key), dict.__getitem__(b, key))
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            alike(one, other)
    elif not hasattr(a, "__dict__") and not hasattr(a, "__slots__"):
        assert a == b
    for name in (*getattr(a, "__dict__", ()), *(getattr(type(a), "__slots__", ()))):
        alike(getattr(a, name), getattr(b, name))


@pytest.mark.parametrize("kind", MAKERS)
def test_an_output_is_of_the_same_types_with_the_same_values(kind):
    model = Returns(MAKERS[kind]).eval()
    cut = surgeon.apply(model, "noise", input_size=SIZE).eval()
    alike(cut(images()), model(images()))
    alike(cut(images() * 2), model(images() * 2))
    alike(surgeon.fold(cut).eval()(images()), model(images()))


def test_a_model_output_is_indexed_by_attribute_name_and_number():
    cut = surgeon.apply(Returns(MAKERS["dict and dataclass"]), "kap", input_size=SIZE).eval()
    out = cut(images())
    assert out.logits is out[0] is out["logits"] and out.loss is None and list(out) == ["logits", "hidden"]


def test_a_copy_and_a_pickle_keep_the_types(tmp_path):
    import copy
    import pickle

    model = Returns(_nested).eval()
    cut = surgeon.apply(model, "noise", input_size=SIZE).eval()
    for other in (copy.deepcopy(cut), pickle.loads(pickle.dumps(cut))):
        alike(other(images()), model(images()))


def _nested(y):
    return Logits(logits=y, hidden=[Plainly(y)])


class Part(nn.Module):
    """A part that torch.fx cannot follow without sizes, and that gives an output of its own class."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)

    def forward(self, x):
        if x.shape[1] != 3:
            raise ValueError("three channels")
        return Logits(logits=self.conv(x))


class Between(nn.Module):
    def __init__(self):
        super().__init__()
        self.part = Part()
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        out = self.part(x)
        return Logits(logits=self.head(out.logits.mean((2, 3))), hidden=out)


def test_what_one_part_gives_another_keeps_its_class(tmp_path):
    model = Between().eval()
    cut = surgeon.apply(model, "noise", input_size=SIZE).eval()
    alike(cut(images()), model(images()))
    works(Between(), tmp_path)


class Takes(nn.Module):
    """A part that is called with an output of another, with sizes that its code branches on."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.register_buffer("offset", torch.ones(16, 1, 1))

    def forward(self, x):
        if x.shape[-1] < 8:
            raise ValueError("too small")
        return Free(self.conv(x) + self.offset).logits.mean((2, 3))


def test_buffers_are_values_where_code_branches_on_sizes():
    model = Takes().eval()
    cut = surgeon.apply(model, "noise", input_size=SIZE).eval()
    assert "conv" in [e.site for e in cut.surgery.edits]
    assert torch.equal(cut(images()), model(images()))


@pytest.mark.parametrize("kind", ["dict and dataclass", "nested", "dataclass"])
def test_torch_compile_gives_the_same_types(kind):
    torch._dynamo.reset()
    model = Returns(MAKERS[kind]).eval()
    cut = surgeon.apply(model, "noise", input_size=SIZE).eval()
    compiled = torch.compile(cut, backend="eager")
    alike(compiled(images()), model(images()))
