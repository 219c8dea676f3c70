"""Networks with attributes of names that a rewritten network has for itself."""

import copy
import pickle

import pytest
import torch
from torch import fx, nn

import surgeon
from surgeon.errors import SurgeryError

SIZE = (3, 8, 8)
# torch's own, of which older ones have fewer
LENT = [n for n in ("meta", "shape_env") if n in vars(fx.GraphModule(nn.Module(), fx.Graph()))]
NAMES = [
    *LENT,
    "graph",
    "graphs",
    "code",
    "anchor",
    "points",
    "surgery",
    "displaced",
    "recompile",
    "retrace",
    "_inputs",
    "_example",
    "_types",
    "_held",
    "_programs",
    "_stock_class",
    "to_folder",
    "eval_graph",
]
PLAIN = [n for n in NAMES if n not in LENT]


class Named(nn.Module):
    """A network whose second convolution has a given name."""

    def __init__(self, name="second"):
        super().__init__()
        self.called, self.c, self.fc = name, nn.Conv2d(3, 4, 3), nn.Linear(4, 2)
        self.add_module(name, nn.Conv2d(4, 4, 3))

    def forward(self, x):
        return self.fc(getattr(self, self.called)(self.c(x)).mean((2, 3)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["child", "buffer", "parameter"])
def test_a_child_buffer_or_parameter_of_such_a_name_is_refused_by_name(kind, name):
    if kind == "child":
        model = Named(name)
    else:
        model = Named()
        value = torch.ones(1)
        model.register_buffer(name, value) if kind == "buffer" else model.register_parameter(
            name, nn.Parameter(value)
        )
    for call in (surgeon.apply, surgeon.plan):
        with pytest.raises(SurgeryError, match=f"the {kind} '{name}' of this Named .*rename it"):
            call(model, "noise", input_size=SIZE)


@pytest.mark.parametrize("name", PLAIN)
def test_so_is_an_attribute_that_would_be_lost_or_in_the_way(name):
    model = Named()
    model.__dict__[name] = {"mean": [1]}
    with pytest.raises(SurgeryError, match=f"the attribute '{name}' of this Named .*rename it"):
        surgeon.apply(model, "noise", input_size=SIZE)
    assert model.__dict__[name] == {"mean": [1]}


@pytest.mark.parametrize("name", LENT)
def test_what_torch_fx_alone_calls_so_stays_and_comes_back(name):
    model = Named().eval()
    setattr(model, name, {"mean": [1]})
    cut = surgeon.apply(model, "noise", input_size=SIZE)
    for network in (cut, copy.deepcopy(cut), pickle.loads(pickle.dumps(cut))):
        assert getattr(network, name) == {"mean": [1]}
        for after in (surgeon.revert(network), surgeon.fold(network)):
            assert getattr(after, name) == {"mean": [1]}
    plain = surgeon.revert(surgeon.apply(Named(), "noise", input_size=SIZE))
    assert name not in plain.__dict__


def test_a_child_below_may_have_any_name():
    model = nn.Sequential(Named("graph"), nn.Identity()).eval()
    cut = surgeon.apply(model, "noise", input_size=SIZE).eval()
    images = torch.randn(2, *SIZE)
    torch.testing.assert_close(cut(images), model(images))


def test_a_graph_module_has_those_names_itself():
    model = fx.symbolic_trace(Named()).eval()
    model.meta["mine"] = 1
    cut = surgeon.apply(model, "noise", input_size=SIZE).eval()
    images = torch.randn(2, *SIZE)
    torch.testing.assert_close(cut(images), model(images))
    assert isinstance(surgeon.revert(cut), fx.GraphModule)
