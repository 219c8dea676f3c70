"""Attributes that a network's code reads act after the cut as in the stock network: numbers, texts, lists, functions,
settings of objects, methods, and modules where there were none."""

import argparse
import copy
import dataclasses
import functools
import pickle
import types
from collections import OrderedDict, UserDict

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import surgeon
from surgeon.errors import SurgeryError
from tests.graph.test_asked import Net
from tests.own_models.checks import SIZE, images


@dataclasses.dataclass
class Options:
    gain: float = 1.0
    inner: "Options | None" = None


class Block(nn.Module):
    """A container that the graphs go through."""

    shift = 0.0  # of the class

    def __init__(self):
        super().__init__()
        self.conv, self.down, self.act, self.gain = nn.Conv2d(8, 8, 1), None, F.relu, 1.0
        self.kept, self.parts = [0, 1, 2], OrderedDict(a=(1.0, [2.0]))

    def scaled(self, x):
        return x * self.gain

    def forward(self, x):
        h = self.act(self.conv(x)) + self.shift
        h = h if self.down is None else h + self.down(x)
        total = h[:, self.kept].mean((1, 2, 3))
        return self.scaled(h) + total[:, None, None, None] * self.parts["a"][1][0]


class Reading(Net):
    def __init__(self):
        super().__init__()
        self.block, self.options, self.temperature = Block(), Options(inner=Options()), 1.0
        self.mode = "mean"

    def forward(self, x):
        h = self.block(self.features(x))
        h = h.mean((2, 3)) if self.mode == "mean" else h.amax((2, 3))
        return self.fc(h) * self.options.gain * self.options.inner.gain / self.temperature


def _set(path, value):
    def change(net):
        owner, _, name = path.rpartition(".")
        target = net
        for part in filter(None, owner.split(".")):
            target = getattr(target, part)
        setattr(target, name, value)

    return change


CHANGES = {
    "number of the network": _set("temperature", 0.25),
    "text of the network": _set("mode", "max"),
    "number of a block": _set("block.gain", 3.0),
    "value of a class": _set("block.shift", 0.5),
    "object": _set("options", Options(2.0, Options())),
    "object's number": _set("options.gain", 2.0),
    "number of an object within": _set("options.inner.gain", 2.0),
    "list": _set("block.kept", [3, 4]),
    "item of a list": lambda net: net.block.kept.append(5),
    "item of a list in a dict": lambda net: net.block.parts["a"][1].__setitem__(0, -3.0),
    "function": _set("block.act", torch.tanh),
    "module for a function": _set("block.act", nn.GELU()),
    "module for None": lambda net: setattr(net.block, "down", copy.deepcopy(DOWN)),
    "method": lambda net: setattr(net.block, "scaled", types.MethodType(lambda self, x: x * 5, net.block)),
    "method of the network": _set("logits", lambda h: h.mean((2, 3))),
    "forward of a block": lambda net: setattr(
        net.block, "forward", types.MethodType(lambda self, x: self.conv(x) * 2, net.block)
    ),
}
DOWN = nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU())


class Scale:
    """An object with a tensor."""

    def __init__(self):
        self.by = torch.ones(5)


class Holding(Net):
    """Reads tensors and configurations that lie in lists, dicts and objects, and tensors that may be absent."""

    def __init__(self):
        super().__init__()
        self.listed, self.named, self.pair = [torch.ones(5)], {"a": {"b": torch.ones(5)}}, (torch.ones(5),)
        self.scale, self.plain, self.times = (
            Scale(),
            torch.ones(2, 5),
            functools.partial(torch.mul, other=2.0),
        )
        self.stages, self.by_name = [Options(), Options()], {"head": Options()}
        self.config = argparse.Namespace(
            model=argparse.Namespace(head=types.SimpleNamespace(a=argparse.Namespace(gain=1.0)))
        )
        self.dict = UserDict(gain=1.0)
        self.register_buffer("queue", torch.ones(2, 5))
        self.register_buffer("fixed", torch.full((5,), 2.0), persistent=False)
        self.register_buffer("late", None)
        self.register_parameter("gamma", None)

    def forward(self, x):
        h = self.fc(self.features(x).mean((2, 3)))
        h = self.times(h * self.listed[0] * self.named["a"]["b"] + self.pair[0]) * self.scale.by
        h = h * self.queue.mean(0) * len(self.queue) * self.by_name["head"].gain * self.dict["gain"]
        for stage in self.stages:
            h = h * stage.gain
        h = h * self.config.model.head.a.gain
        if self.plain is not None:
            h = h + self.plain.sum(0)
        for factor in (self.fixed, self.late, self.gamma):
            h = h if factor is None else h * factor
        return h


def _write(find, by=3.0):
    return lambda net: find(net).mul_(by)


HELD = {
    "tensor in a list, written": _write(lambda n: n.listed[0]),
    "tensor in a list, exchanged": lambda n: n.listed.__setitem__(0, torch.full((5,), 3.0)),
    "tensor in dicts, written": _write(lambda n: n.named["a"]["b"]),
    "tensor in a tuple, written": _write(lambda n: n.pair[0]),
    "tensor of an object, written": _write(lambda n: n.scale.by),
    "tensor of an object, exchanged": _set("scale.by", torch.full((5,), 3.0)),
    "argument of a function": lambda n: n.times.keywords.__setitem__("other", 5.0),
    "object in a list": lambda n: setattr(n.stages[1], "gain", 3.0),
    "object in a dict": lambda n: setattr(n.by_name["head"], "gain", 3.0),
    "settings four names deep": _set("config.model.head.a.gain", 3.0),
    "entry of a UserDict": lambda n: n.dict.__setitem__("gain", 3.0),
    "buffer that was computed with, written": _write(lambda n: n.queue),
    "buffer of another shape": _set("queue", torch.ones(6, 5)),
    "buffer that is gone": _set("fixed", None),
    "buffer that was none": lambda n: n.register_buffer("late", torch.full((5,), 3.0)),
    "parameter that was none": _set("gamma", nn.Parameter(torch.full((5,), 3.0))),
    "tensor that was computed with, written": _write(lambda n: n.plain),
    "tensor of another shape": _set("plain", torch.ones(6, 5)),
    "tensor that is gone": _set("plain", None),
}


@pytest.fixture(scope="module")
def holding():
    torch.manual_seed(0)
    stock = Holding().eval()
    return stock, surgeon.apply(stock, "noise", input_size=SIZE).eval()


@pytest.mark.parametrize("change", HELD.values(), ids=HELD)
def test_tensors_and_settings_wherever_they_lie_act_at_the_next_call(holding, change):
    stock, cut = map(copy.deepcopy, holding)
    x = images()
    before = cut(x)
    torch.testing.assert_close(before, stock(x))
    change(stock)
    change(cut)
    assert not torch.allclose(stock(x), before)
    torch.testing.assert_close(cut(x), stock(x))


def test_a_tensor_that_is_written_with_the_same_values_makes_no_graph_anew(holding):
    cut = copy.deepcopy(holding[1])
    x, graph = images(), cut.eval_graph
    cut(x)
    for buffer in cut.buffers():  # as DistributedDataParallel does before each call
        buffer.copy_(buffer.clone())
    cut.listed[0] = cut.listed[0].clone()
    cut.load_state_dict(cut.state_dict())
    cut(x)
    assert cut.eval_graph is graph and not cut.__dict__.get("_remade")


class ByMethod(Reading):
    def forward(self, x):
        return self.logits(self.features(x))


@pytest.fixture(scope="module")
def pairs():
    found = {}
    for kind in (Reading, ByMethod):
        torch.manual_seed(0)
        stock = kind().eval()
        found[kind] = stock, surgeon.apply(stock, "noise", input_size=SIZE).eval()
    return found


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize(
    "way", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["copy", "pickle"]
)
def test_what_the_code_reads_acts_at_the_next_call(pairs, change, way):
    stock, cut = map(way, pairs[ByMethod if change is CHANGES["method of the network"] else Reading])
    x = images()
    before = cut(x)
    torch.testing.assert_close(before, stock(x))
    change(stock)
    change(cut)
    wanted = stock(x)
    assert wanted.shape != before.shape or not torch.allclose(wanted, before)
    for network in (cut, way(cut) if way is copy.deepcopy else cut):
        torch.testing.assert_close(network(x), wanted)
    assert "conv.noise" in dict(cut.named_modules()) or any("noise" in n for n, _ in cut.named_modules())


def test_graphs_are_made_anew_where_something_changed_alone(pairs):
    cut = copy.deepcopy(pairs[Reading][1])
    graph, x = cut.eval_graph, images()
    cut(x)
    cut.temperature, cut.block.kept, cut.never_read = 1.0, [0, 1, 2], 3
    cut(x)
    assert cut.eval_graph is graph
    cut.temperature = 2.0
    cut(x)
    assert cut.eval_graph is not graph


def test_what_is_asked_behind_a_change_that_makes_no_other_graph_is_asked_too():
    class Twice(Net):
        def __init__(self):
            super().__init__()
            self.one = self.two = False

        def forward(self, x):
            h = self.logits(self.features(x))
            return h * 2 if self.one and self.two else h

    torch.manual_seed(0)
    stock = Twice().eval()
    cut = surgeon.apply(stock, "noise", input_size=SIZE).eval()
    x = images()
    for name in ("one", "two"):
        setattr(stock, name, True)
        setattr(cut, name, True)
        torch.testing.assert_close(cut(x), stock(x))


def test_it_acts_in_graphs_for_other_sizes_and_other_methods():
    import timm

    stock = timm.create_model("test_resnet", num_classes=5, drop_rate=0.0).eval()
    cut = surgeon.apply(stock, "noise", input_size=(3, 32, 32)).eval()
    x = images((3, 32, 32))
    cut.forward_head(cut.forward_features(x))
    for net in (stock, cut):
        net.train()
        net.drop_rate = 0.999
    with torch.no_grad():
        few = (cut.forward_head(cut.forward_features(x)) == stock.fc.bias).float().mean()
        assert few > 0.5 and (cut(x) == stock.fc.bias).float().mean() > 0.5


def test_what_the_graphs_leave_themselves_makes_none_anew():
    class Leaving(Net):
        def __init__(self):
            super().__init__()
            self.held, self.size, self.last = {}, (0, 0), None

        def forward(self, x):
            h = self.features(x)
            self.held["h"], self.size, self.last = h, h.shape[2:], h.mean()
            return self.logits(self.held["h"] + self.size[0] + self.last)

    torch.manual_seed(0)
    stock = Leaving().eval()
    cut = surgeon.apply(stock, "noise", input_size=SIZE).eval()
    x = images()
    graph = cut.eval_graph
    for size in (SIZE, (3, 12, 12), SIZE):
        x = images(size)
        torch.testing.assert_close(cut(x), stock(x))
        assert cut.size == stock.size
    assert cut.eval_graph is graph


def test_what_no_graph_can_be_made_for_is_named(pairs):
    cut = copy.deepcopy(pairs[Reading][1])
    cut.block.kept = lambda x: x
    with pytest.raises(SurgeryError, match=r"block\.kept: <lambda> in place of \[0, 1, 2\]"):
        cut(images())


def test_an_attribute_that_changes_at_each_call_is_told_once(pairs, caplog):
    cut = copy.deepcopy(pairs[Reading][1])
    for step in range(10):
        cut.temperature = 1.0 + step
        cut(images())
    assert [r.message for r in caplog.records if "made anew for the 8th time (temperature: 9.0" in r.message]
    assert len(caplog.records) == 1
