"""Networks whose code does what no trace sees: graphs are run beside the code, and where they give anything else, the
code is kept."""

import copy
import pickle
import random

import numpy as np
import pytest
import timm
import torch
import torch.utils.checkpoint
from torch import nn

import surgeon
from surgeon.graph.comparing.comparison import Comparison
from surgeon.graph.comparing.differing import difference
from surgeon.graph.comparing.side_by_side import SERIES, Seen
from surgeon.graph.comparing.witness import Witness
from surgeon.graph.rewritten.network import Rewritten
from surgeon.graph.sites.survey import find_regions
from surgeon.surgery import look
from tests.own_models.unseen_code import KINDS, SIZE, Base, Block


def shows(network, training, names):
    """Outputs, gradients, the buffers of these names, and streams of a series of calls on one network."""
    network.train(training)
    torch.manual_seed(7)
    found = []
    for i, n in enumerate((4, 4, 2, 5)):
        x = torch.randn(n, *SIZE, generator=torch.Generator().manual_seed(i))
        network.zero_grad()
        output = network(x)
        output.square().sum().backward()
        found.append(output.detach())
        found += [p.grad.clone() for name, p in network.named_parameters() if p.grad is not None]
        found += [network.get_buffer(name).clone() for name in names]
        found.append(torch.get_rng_state().double())
        found.append(torch.tensor(float(network.count)))
    return found


def by_hooks(stock, cut):
    """The stock network with the layers of a cut one hung behind the same modules, by hooks."""
    for edit in cut.surgery.edits:
        layer = cut.get_submodule(edit.layer)
        module = stock.get_submodule(edit.site)
        module.register_forward_hook(lambda m, given, result, layer=layer: layer(result))
    return stock


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("recipe", ["anl", "defective"])
@pytest.mark.parametrize("name", KINDS)
def test_it_computes_what_its_code_says(name, recipe, training):
    torch.manual_seed(0)
    net = KINDS[name]()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    cut = surgeon.apply(net, recipe, input_size=SIZE)
    assert {e.site for e in cut.surgery.edits} >= {"b1.bn", "b2.bn"}  # below what keeps its code
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    stock = copy.deepcopy(net)
    if recipe == "defective":  # anl computes what the stock network does, but in a second round
        by_hooks(stock, cut)
    names = [n for n, _ in net.named_buffers()]
    wanted, found = shows(stock, training, names), shows(cut, training, names)
    assert len(wanted) == len(found)
    for one, other in zip(wanted, found, strict=True):
        assert torch.allclose(
            one.double(), other.double(), rtol=1e-4, atol=1e-5 * max(1.0, float(one.abs().max()))
        )


ANSWERED = {
    "asks_whether_it_is_a_tensor",
    "asks_torch_whether_it_is_a_tensor",
    "asks_whether_a_side_is_a_number",
}
"""Questions that are answered as they are of real tensors."""


@pytest.mark.parametrize("name", KINDS)
def test_the_reason_is_told(name):
    seen = look(KINDS[name](), input_size=SIZE)
    if name in ANSWERED:
        assert [r.name for r in seen.regions] == [""] and not seen.refused
        return
    assert [r.name for r in seen.regions] == ["b1", "b2"]
    plan = surgeon.plan(KINDS[name](), "anl", input_size=SIZE)
    assert dict(plan.refused) == seen.refused
    reason = seen.refused.get("") or seen.hidden.get("b1.conv", "cannot be traced")
    assert [
        n.text for n in plan.notes if n.code == "partial" and (reason in n.text or "cannot follow" in n.text)
    ]


def test_entropy_of_the_machine_is_drawn_at_each_call():
    class Drawing(Base):
        def forward(self, x):
            h = self.features(x)
            return self.head(h * np.random.default_rng().random())

    cut = surgeon.apply(Drawing(), "anl", input_size=SIZE).eval()
    assert {e.site for e in cut.surgery.edits} >= {"b1.bn", "b2.bn"}
    x = torch.randn(2, *SIZE)
    assert len({round(float(cut(x).sum()), 6) for _ in range(5)}) > 1


# -- where the difference lies --------------------------------------------------------------------


class Asking(Block):
    def forward(self, x):
        h = super().forward(x)
        return h * 2 if type(h) is torch.Tensor else h


class Stage(nn.Module):
    def __init__(self, block):
        super().__init__()
        self.block, self.conv = block(), nn.Conv2d(8, 8, 1)

    def forward(self, x):
        return self.conv(self.block(x))


class Staged(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.fc = Block(3), nn.Linear(8, 5)
        self.stages = nn.Sequential(Stage(Asking), Stage(Block), Stage(Asking))

    def forward(self, x):
        return self.fc(self.stages(self.stem(x)).mean((2, 3)))


def test_only_the_class_whose_code_differs_keeps_it():
    net = Staged()
    seen = look(net, input_size=SIZE)
    assert set(seen.refused) == {"stages.0.block", "stages.2.block"}
    assert [r.name for r in seen.regions] == [""]
    assert set(seen.hidden) == {f"stages.{i}.block.{m}" for i in (0, 2) for m in ("conv", "bn")}
    assert all(reason == seen.refused["stages.0.block"] for reason in seen.hidden.values())
    assert {"stem.bn", "stages.0.conv", "stages.1.block.bn", "stages.2.conv"} <= {s.name for s in seen.sites}


def test_the_code_is_kept_through_files_pickles_copies_and_further_cuts(tmp_path):
    net = Staged().eval()
    cut = surgeon.apply(net, "defective", input_size=SIZE).eval()
    assert isinstance(cut, Rewritten) and cut.surgery.refused
    x = torch.randn(3, *SIZE)
    wanted = cut(x)
    assert torch.equal(by_hooks(copy.deepcopy(net), cut)(x), wanted)
    surgeon.save(cut, tmp_path / "cut")
    loaded = surgeon.load(tmp_path / "cut", model=net).eval()
    assert loaded.surgery.refused == cut.surgery.refused
    stacked = surgeon.apply(cut, "anl", input_size=SIZE, stack=True).eval()
    assert stacked.surgery.refused == cut.surgery.refused
    by_plan = surgeon.apply(net, surgeon.plan(net, "defective", input_size=SIZE)).eval()
    for again in (loaded, stacked, by_plan, copy.deepcopy(cut), pickle.loads(pickle.dumps(cut))):
        assert all(torch.equal(again(x), wanted) for _ in range(2))
    assert torch.equal(surgeon.revert(cut)(x), net(x))


def test_without_an_input_size_a_common_one_is_tried():
    assert set(look(Staged()).refused) == {"stages.0.block", "stages.2.block"}
    assert set(look(KINDS["asks_for_its_type"]()).refused) == {""}


# -- who is compared, and what it leaves ----------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: timm.create_model("resnet18", num_classes=3),
        lambda: surgeon.create_model("torchvision/resnet18", num_classes=3),
        lambda: surgeon.create_model("zoo/shallow2"),
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)),
    ],
)
def test_networks_of_checked_libraries_are_not_run(make, monkeypatch):
    def refuse(*args):
        raise AssertionError("it was run")

    monkeypatch.setattr(Comparison, "__init__", refuse)
    assert look(make(), input_size=(3, 32, 32)).refused == {}


def test_what_a_timm_network_inherits_or_holds_is_compared():
    class Own(timm.models.ResNet):
        def forward_head(self, x, pre_logits=False):
            found = super().forward_head(x)
            return found * 2 if type(found) is torch.Tensor else found

    own = Own(timm.models.resnet.BasicBlock, (1, 1, 1, 1), num_classes=5)
    assert set(look(own, input_size=(3, 32, 32)).refused) == {""}
    holding = timm.create_model("resnet18", num_classes=3)
    holding.layer1 = nn.Sequential(nn.Conv2d(64, 8, 1), Asking(), nn.Conv2d(8, 64, 1))
    assert set(look(holding, input_size=(3, 32, 32)).refused) == {"layer1.1"}


def test_a_network_with_code_of_its_own_that_graphs_can_hold_is_one_region():
    class Cached(Base):
        """A grid that is made once is no difference, and neither is a result that is left on the network."""

        grid = None

        def forward(self, x):
            if self.grid is None:
                self.grid = torch.linspace(0, 1, 12)
            self.last = self.features(x + self.grid)
            return {"logits": self.head(self.last), "loss": (self.last.square().mean(),)}

    for net in (Base(), Cached()):
        seen = look(net, input_size=SIZE)
        assert (seen.refused, [r.name for r in seen.regions]) == ({}, [""])


def test_a_call_that_code_refuses_is_left_out():
    class Pairs(Base):
        def forward(self, x):
            if self.training:
                one, other = x.reshape(2, -1, *SIZE)
                x = torch.cat([one - other, other])
            return self.head(self.features(x))

    assert look(Pairs(), input_size=SIZE).refused == {}
    comparison = Comparison(Pairs(), [SIZE])
    assert [c.images for c in comparison.code.series if c.training] == [2, 2]


def test_comparing_leaves_everything_as_it_was():
    called = []
    net = KINDS["averages_into_a_buffer"]()
    net.b1.conv.register_forward_hook(lambda *args: called.append(args))
    net.b2.eval()
    net.fc.weight.grad = torch.ones_like(net.fc.weight)
    tensors = {k: (v, v.clone()) for k, v in net.state_dict(keep_vars=True).items()}
    modes, hooks = [m.training for m in net.modules()], len(net.b1.conv._forward_hooks)
    regions = find_regions(copy.deepcopy(net), SIZE)
    streams = random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state()
    called.clear()
    Witness(net, SIZE).refuses(regions, lambda name: regions[0])
    assert not called
    assert modes == [m.training for m in net.modules()] and len(net.b1.conv._forward_hooks) == hooks
    now = net.state_dict(keep_vars=True)
    assert all(now[k] is v and torch.equal(v, was) for k, (v, was) in tensors.items())
    assert torch.equal(net.fc.weight.grad, torch.ones_like(net.fc.weight))
    assert streams[0] == random.getstate() and torch.equal(streams[2], torch.get_rng_state())
    assert streams[1] == np.random.get_state()[1].tobytes()


@pytest.mark.parametrize(
    ("apart", "found", "small"), [(1e-6, False, False), (3e-3, True, True), (0.1, True, False)]
)
def test_a_difference_is_more_than_rounding(apart, found, small):
    values = torch.randn(50, generator=torch.Generator().manual_seed(0))
    code, graph = ([Seen(SERIES[0], output={"": v})] for v in (values, values + apart * values.abs().max()))
    told = difference(code, graph, {})
    assert (told is not None) == found
    assert not found or told.small == small
    assert difference(code, code, {}) is None
