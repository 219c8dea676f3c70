"""Other sizes and other arguments than those that a network was cut for: graphs are made when they first come."""

import copy
import logging
import pickle

import pytest
import timm
import torch
from torch import fx, nn
from torch.nn import functional as F

import surgeon
from surgeon.errors import LayerError, SurgeryError
from surgeon.graph.changes import variants
from tests.own_models.checks import SIZE, BySize, Plain, images

OTHER = (3, 4, 4)


class WithLoss(Plain):
    def forward(self, x, labels=None, *, double=False, **more):
        y = self.head(self.features(x).mean((2, 3)) * (2 if double else 1))
        if more.get("twice"):
            y = y * 2
        if labels is None:
            return {"logits": y}
        if labels.dtype == torch.long:
            return {"loss": F.cross_entropy(y, labels), "logits": y}
        return {"loss": F.binary_cross_entropy_with_logits(y, labels), "logits": y}


class Wrapper(nn.Module):
    """Calls a part with arguments that are not its defaults."""

    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, x):
        if x.sum() < -1e9:
            return x
        return self.part(x, double=True)["logits"]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("recipe", ["noise", "anl"])
def test_each_size_gives_what_the_stock_network_gives(recipe, training):
    model = BySize().double().train(training)
    cut = surgeon.apply(model, recipe, input_size=SIZE).train(training)
    if training:
        for layer in (m for m in cut.modules() if hasattr(m, "sigma")):
            layer.sigma = 0.0
    for size in (SIZE, OTHER, (3, 6, 5), SIZE, OTHER, (3, 16, 16)):
        stock, x = copy.deepcopy(model), torch.randn(5, *size, dtype=torch.double)
        assert torch.equal(cut(x), stock(x)), size
        cut.load_state_dict(model.state_dict())
    assert len(cut._variants.kept) == 3


def test_the_cut_is_in_every_graph():
    cut = surgeon.apply(BySize(), {"op": "kap", "start": "lstsq"}, input_size=SIZE).eval()
    folded = surgeon.fold(cut).eval()
    for size in (OTHER, (3, 12, 12)):
        x = torch.randn(2, *size)
        assert torch.allclose(cut(x), folded(x), atol=1e-5)
        assert not torch.allclose(cut(x), surgeon.revert(cut).eval()(x), atol=1e-3)


@pytest.mark.parametrize("name", ["mobilevit_xxs", "vgg11", "tiny_vit_5m_224"])
def test_real_networks_take_smaller_images(name):
    model = timm.create_model(name, num_classes=3).eval().double()
    sizes = [(3, 64, 64), (3, 32, 32)]
    if "vgg" in name:
        sizes = [(3, 224, 224), (3, 96, 96)]
    cut = surgeon.apply(model, "noise", input_size=sizes[0]).eval()
    with torch.no_grad():
        for size in sizes:
            x = torch.randn(1, *size, dtype=torch.double)
            assert torch.allclose(cut(x), model(x), rtol=1e-10, atol=1e-12)


def test_copies_keep_the_graphs_and_pickles_make_them_again():
    model = BySize().eval()
    cut = surgeon.apply(model, "noise", input_size=SIZE).eval()
    x = torch.randn(2, *OTHER)
    wanted = cut(x)
    for other, kept in ((copy.deepcopy(cut), 1), (copy.copy(cut), 1), (pickle.loads(pickle.dumps(cut)), 0)):
        assert len(other._variants.kept) == kept
        assert torch.equal(other(x), wanted) and torch.equal(wanted, model(x))
    other = copy.deepcopy(cut)
    with torch.no_grad():
        other.conv.weight.zero_()
    assert not torch.equal(other(x), wanted) and torch.equal(cut(x), wanted)
    assert list(cut.state_dict()) == list(model.state_dict())
    assert type(surgeon.fold(cut)) is BySize and not [
        n for n, _ in surgeon.fold(cut).named_buffers() if "constant" in n
    ]


def test_modules_that_are_exchanged_later_are_in_later_graphs():
    model = BySize().eval()
    cut = surgeon.apply(model, "noise", input_size=SIZE).eval()
    cut(torch.randn(2, *OTHER))
    cut.head = nn.Linear(16, 2)
    assert cut(torch.randn(2, *OTHER)).shape == cut(torch.randn(2, 3, 5, 5)).shape == (2, 2)


def test_the_least_recent_graphs_go_and_a_log_says_so_once(monkeypatch, caplog):
    monkeypatch.setattr(variants, "MOST", 2)
    model = BySize().eval()
    cut = surgeon.apply(model, "noise", input_size=SIZE).eval()
    buffers = len(list(cut.buffers()))
    with caplog.at_level(logging.WARNING):
        for side in (4, 5, 4, 6, 7, 4):
            x = torch.randn(2, 3, side, side)
            assert torch.equal(cut(x), model(x))
            assert len(cut._variants.kept) <= 2
    assert len(caplog.records) == 1 and "more than 2 other sizes" in caplog.text
    assert len(list(cut.buffers())) <= 3 * buffers


def test_labels_give_the_loss_of_the_stock_network():
    model = WithLoss().eval()
    cut = surgeon.apply(model, "noise", input_size=SIZE).eval()
    labels, soft = torch.tensor([1, 3]), torch.rand(2, 5)
    for more in (
        {"labels": labels},
        {"labels": soft},
        {},
        {"labels": labels, "double": True},
        {"twice": True},
        {"twice": 1, "labels": labels + 1},
    ):
        new, old = cut(images(), **more), model(images(), **more)
        assert list(new) == list(old) and all(torch.equal(new[k], old[k]) for k in old)
    cut.train()
    cut(images(), labels=labels)["loss"].backward()
    assert cut.conv.weight.grad.abs().sum() > 0


def test_a_part_gets_the_arguments_that_it_is_called_with():
    model = Wrapper(WithLoss()).eval()
    cut = surgeon.apply(model, "noise", input_size=SIZE).eval()
    assert torch.equal(cut(images()), model(images()))
    assert any(e.site == "part.conv" for e in cut.surgery.edits)


def test_methods_whose_parameters_belong_to_a_size_stay_bound_and_say_so():
    model = BySize()
    for recipe in ("wm-smoothing", "defective", "wm-input-scale"):
        plan = surgeon.plan(model, recipe, input_size=SIZE)
        (note,) = [n for n in plan.notes if n.code == "bound"]
        assert "belong to images of (3, 8, 8)" in note.text and "no other" in note.text
        cut = surgeon.apply(model, plan).eval()
        with pytest.raises(LayerError, match=r"got an input of shape"):
            cut(torch.randn(2, 3, 12, 12))
        assert cut(images()).shape == (2, 5)
    for recipe in ("kap", "noise", "anl"):
        assert not [n for n in surgeon.plan(model, recipe, input_size=SIZE).notes if n.code == "bound"]


def test_where_a_call_is_recorded_an_unknown_size_is_an_error_that_says_what_to_do():
    torch._dynamo.reset()
    model = BySize().eval()
    cut = surgeon.apply(model, "noise", input_size=SIZE).eval()
    x = torch.randn(2, *OTHER)
    with pytest.raises(Exception, match=r"rewritten for \(3, 8, 8\); it was given \(3, 4, 4\)"):
        torch.export.export(cut, (x,))
    program = torch.export.export(cut, (images(),)).module()
    assert torch.equal(program(images()), model(images()))
    with (
        torch.no_grad(),
        pytest.raises(SurgeryError, match=r"given \(3, 4, 4\): call it so once before torch.compile"),
    ):
        torch.jit.trace(cut, (x,), check_trace=False)
    assert torch.equal(cut(x), model(x))
    compiled = torch.compile(cut, backend="eager", fullgraph=True)
    assert torch.equal(compiled(images()), model(images()))
    assert torch.equal(compiled(x), model(x))
    assert torch.equal(torch.jit.trace(cut, (x,))(x), model(x))


def test_a_graph_that_was_edited_by_hand_is_not_made_anew():
    cut = surgeon.apply(BySize(), "noise", input_size=SIZE).eval()
    cut(torch.randn(2, *OTHER))
    graph = cut.graph
    end = next(n for n in graph.nodes if n.op == "output")
    with graph.inserting_before(end):
        end.args = (graph.call_method("mul", (end.args[0], 2)),)
    cut.recompile()
    with pytest.raises(SurgeryError, match=r"given \(3, 6, 6\): its graph was edited by hand"):
        cut(torch.randn(2, 3, 6, 6))
    cut.retrace()
    assert cut(torch.randn(2, 3, 6, 6)).shape == (2, 5)


def test_tensors_without_numbers_leave_nothing_behind():
    from torch._subclasses.fake_tensor import FakeTensorMode

    model = BySize().eval()
    cut = surgeon.apply(model, "noise", input_size=SIZE).eval()
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert cut(torch.empty(2, *OTHER)).shape == (2, 5)
    x = torch.randn(2, *OTHER)
    assert torch.equal(cut(x), model(x))


def test_another_tracer_of_torch_fx_records_the_defaults_of_optional_arguments():
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=3, depth=2).eval()
    cut = surgeon.apply(model, "defective", input_size=(3, 32, 32)).eval()
    x, seen = torch.randn(2, 3, 32, 32), []
    cut.norm.register_forward_hook(lambda module, args, out: seen.append(out))
    wanted = cut(x)
    from timm.models._features_fx import create_feature_extractor

    found = create_feature_extractor(cut, ["norm"])(x)
    assert torch.equal(next(iter(found.values())), seen[0])
    again = fx.symbolic_trace(cut)
    assert torch.equal(again(x), wanted)
    with pytest.raises(SurgeryError, match="VisionTransformer.forward was traced with attn_mask=None"):
        again(x, torch.zeros(5, 5))


def test_another_value_within_another_trace_is_refused_until_it_was_called():
    class Holds(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x, double=True)["logits"]

    holds = Holds(surgeon.apply(WithLoss().eval(), "noise", input_size=SIZE).eval())
    with pytest.raises(
        SurgeryError, match="WithLoss.forward was traced with double=False.*call it so once before"
    ):
        fx.symbolic_trace(holds)
    wanted = holds(images())
    assert torch.equal(fx.symbolic_trace(holds)(images()), wanted)


class Collects(Plain):
    """Gives what hooks collect while it runs, as transformers' hidden states are."""

    def forward(self, x, collect=False):
        kept = []
        handles = [
            m.register_forward_hook(lambda m, i, o: kept.append(o))
            for m in (self.conv, self.conv2)
            if collect
        ]
        y = super().forward(x)
        for handle in handles:
            handle.remove()
        return {"logits": y, "kept": tuple(kept)}


def test_what_only_hooks_collect_is_refused_and_not_left_out():
    model = Collects().eval()
    cut = surgeon.apply(model, "noise", input_size=SIZE).eval()
    assert len(model(images(), collect=True)["kept"]) == 2
    with pytest.raises(
        SurgeryError, match=r"Collects.forward with collect .*under hooks.*; leave collect out"
    ):
        cut(images(), collect=True)
    assert cut(images())["kept"] == ()


class Inner(nn.Module):
    """A part whose code needs the values of what it is called with."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(16)
        self.shift = 0

    def forward(self, x, resolution, scale=1, **more):
        if min(resolution) < 6:
            x = x * 2
        if more.get("flip"):
            x = x.flip(-1)
        return self.norm(x) * scale


class Calls(Plain):
    def __init__(self):
        super().__init__()
        self.inner = Inner()

    def features(self, x):
        x = self.norm(self.conv(x)).relu()
        return self.conv2(self.inner(x, (x.shape[2], x.shape[3]), scale=3, flip=True))


def test_parts_are_traced_with_the_values_that_they_are_called_with():
    model = Calls().eval().double()
    cut = surgeon.apply(model, {"op": "adversarial-noise"}, input_size=SIZE).eval()
    assert "inner.norm" in [e.site for e in cut.surgery.edits]
    for size in (SIZE, OTHER, (3, 5, 9)):
        x = torch.randn(2, *size, dtype=torch.double)
        assert torch.equal(cut(x), model(x))
    assert not cut.inner._variants.find(variants.ForwardCall({"x": None}, {"resolution": (8, 8)}))
    assert len(cut.inner._variants.kept) == 2


class Demanding(Plain):
    def forward(self, x):
        assert x.shape[1] == 3, f"bad shape {x.shape}"
        return super().forward(x)


def test_what_the_code_says_of_a_wrong_input_names_its_size():
    cut = surgeon.apply(Demanding().eval(), "noise", input_size=SIZE).eval()
    with pytest.raises(SurgeryError, match=r"bad shape torch.Size\(\[2, 4, 8, 8\]\)"):
        cut(torch.zeros(2, 4, 8, 8))


def test_more_by_position_than_the_code_names_is_refused():
    class More(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 16, 3)

        def forward(self, x, *more, scale=1.0):
            return sum((m.mean() for m in more), self.conv(x)) * scale

    x = torch.randn(2, 3, 8, 8)
    stock = More().eval()
    cut = surgeon.apply(stock, {"op": "noise", "sigma": 0.1}, input_size=(3, 8, 8)).eval()
    assert torch.equal(cut(x), stock(x)) and torch.equal(cut(x, scale=2.0), stock(x, scale=2.0))
    assert torch.equal(torch.fx.symbolic_trace(cut)(x), stock(x))
    with pytest.raises(SurgeryError, match="More.forward was given 2 more by position than it names"):
        cut(x, x, x)
