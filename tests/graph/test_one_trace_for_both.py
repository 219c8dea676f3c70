"""One trace serves for training and evaluation where nothing reads or sets a module's mode, and only there."""

import operator

import pytest
import torch
from torch import nn

from surgeon.errors import TraceError
from surgeon.graph.tracing import trace as tracing
from surgeon.graph.tracing.trace import trace


class Parts(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.attention = (
            nn.Conv2d(3, 4, 3),
            nn.BatchNorm2d(4),
            nn.MultiheadAttention(4, 1),
        )

    def forward(self, x):
        return self.bn(self.conv(x)) + self.more(x)

    def more(self, x):
        return x.mean()


def read(x, trains):
    return x.mean() if trains else x.sum()


class Property(Parts):
    @property
    def trains(self):
        return self.training

    def more(self, x):
        return read(x, self.trains)


class Slots:
    """Another object, which asks for the network."""

    def __init__(self, network):
        self.of = [network]

    def trains(self):
        return self.of[0].training


class OfAnother(Parts):
    def __init__(self):
        super().__init__()
        self.other = Slots(self)

    def more(self, x):
        return read(x, self.other.trains())


READS = {
    "itself": lambda self, x: read(x, self.training),
    "of a layer": lambda self, x: read(x, self.bn.training),
    "getattr": lambda self, x: read(x, getattr(self, "training", True)),
    "vars": lambda self, x: read(x, vars(self)["training"]),
    "__dict__": lambda self, x: read(x, self.__dict__.get("training")),
    "object": lambda self, x: read(x, object.__getattribute__(self, "training")),
    "operator": lambda self, x: read(x, operator.attrgetter("bn.training")(self)),
    "all of them": lambda self, x: read(x, any(m.training for m in self.modules())),
    "dropout": lambda self, x: nn.functional.dropout(x, 0.1, self.training).mean(),
    "dropout of torch's": lambda self, x: nn.Dropout.forward(self.drop, x).mean(),
}
SETS = {
    "attribute": lambda self, x: setattr(self.bn, "training", False),
    "eval": lambda self, x: self.bn.eval(),
    "train": lambda self, x: self.train(False),
    "vars": lambda self, x: vars(self.bn).update(training=False),
    "object": lambda self, x: object.__setattr__(self.bn, "training", False),
    "of all": lambda self, x: [operator.methodcaller("eval")(m) for m in self.children()],
}


def network(more):
    model = type("Own", (Parts,), {"more": more})()
    model.drop = nn.Dropout(0.1)
    return model


@pytest.fixture
def traces(monkeypatch):
    """The modes that graphs were traced in."""
    modes, known = [], tracing.trace_once

    def counted(model, *rest):
        modes.append(model.training)
        return known(model, *rest)

    monkeypatch.setattr(tracing, "trace_once", counted)
    return modes


def test_where_nothing_asks_for_the_mode_one_trace_is_enough(traces):
    model = Parts()
    graphs = trace(model)
    assert traces == [False] and graphs.train is not graphs.eval
    assert tracing._written(graphs.train) == tracing._written(graphs.eval)
    x = torch.rand(2, 3, 8, 8)
    for graph, training in ((graphs.train, True), (graphs.eval, False)):
        made = torch.fx.GraphModule(model.train(training), graph)
        assert torch.equal(made(x), model(x))


@pytest.mark.parametrize("more", [*READS.values(), Property, OfAnother], ids=[*READS, "property", "object's"])
def test_where_something_reads_it_each_mode_has_its_own(more, traces):
    model = more() if isinstance(more, type) else network(more)
    graphs = trace(model)
    assert set(traces) == {False, True}
    assert tracing._written(graphs.train) != tracing._written(graphs.eval)


@pytest.mark.parametrize("sets", SETS.values(), ids=SETS)
def test_where_something_sets_it_the_network_keeps_its_code(sets):
    def more(self, x):
        sets(self, x)
        return x.mean()

    for training in (True, False):
        with pytest.raises(TraceError, match="training|mode"):
            trace(network(more).train(training))
