"""Code that asks whether it is traced or exported: its graphs hold one answer."""

import copy

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import SurgeryError

SIZE = (3, 8, 8)
QUESTIONS = {
    "torch.jit.is_tracing": lambda: torch.jit.is_tracing(),
    "torch.onnx.is_in_onnx_export": lambda: torch.onnx.is_in_onnx_export(),
    "torch.compiler.is_exporting": lambda: torch.compiler.is_exporting(),
}


class Tail(nn.Module):
    def __init__(self, asks):
        super().__init__()
        self.fc, self.asks = nn.Linear(16, 5), asks

    def forward(self, x):
        y = self.fc(x.mean((2, 3)))
        return y.softmax(1) if QUESTIONS[self.asks]() else y


class Net(nn.Module):
    def __init__(self, asks):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU())
        self.tail = Tail(asks)

    def forward(self, x):
        return self.tail(self.body(x))


class Root(Net):
    def forward(self, x):
        y = self.tail.fc(self.body(x).mean((2, 3)))
        return y.softmax(1) if torch.jit.is_tracing() else y


class Guarded(Net):
    """The question guards what no graph has."""

    def forward(self, x):
        if not torch.jit.is_tracing():
            assert x.dim() == 4
        return self.tail.fc(self.body(x).mean((2, 3)))


@pytest.mark.parametrize("asks", QUESTIONS)
def test_a_module_that_asks_keeps_its_python(asks):
    cut = surgeon.apply(Net(asks), "kap", input_size=SIZE)
    assert [e.site for e in cut.surgery.edits if e.layer and e.site != "input"] == ["body.0"]
    assert type(cut.tail) is Tail
    called = {str(n.target) for n in cut.eval_graph.nodes if n.op == "call_module"}
    assert "tail" in called


def test_the_branch_for_tracing_runs_where_the_cut_network_is_traced():
    cut = surgeon.apply(Net("torch.jit.is_tracing"), "kap", input_size=SIZE).eval()
    x = torch.randn(2, *SIZE)
    rows = torch.jit.trace(cut, x)(x).sum(1)
    torch.testing.assert_close(rows, torch.ones(2))
    assert not torch.allclose(cut(x).sum(1), torch.ones(2))


def test_the_branch_for_export_runs_where_the_cut_network_is_exported():
    cut = surgeon.apply(Net("torch.compiler.is_exporting"), "kap", input_size=SIZE).eval()
    x = torch.randn(2, *SIZE)
    torch.testing.assert_close(torch.export.export(cut, (x,)).module()(x).sum(1), torch.ones(2))


def test_a_root_that_asks_keeps_its_python_where_its_parts_can_be_cut():
    cut = surgeon.apply(Root("torch.jit.is_tracing"), "kap", input_size=SIZE)
    assert [e.site for e in cut.surgery.edits] == ["body.0"] and type(cut) is Root


class Alone(nn.Module):
    """Its convolution is no part's: there is no module that could keep its Python."""

    def __init__(self, asks):
        super().__init__()
        self.c, self.head, self.asks = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 5, 1), asks

    def forward(self, x, scale=1.0):
        y = self.head(self.c(x)).mean((2, 3)) * scale
        return y.softmax(1) if QUESTIONS[self.asks]() else y


class Blocks(nn.Module):
    def __init__(self, asks):
        super().__init__()
        self.blocks = nn.Sequential(Alone(asks), nn.Unflatten(1, (5, 1, 1)), nn.Flatten())

    def forward(self, x):
        return self.blocks(x)


@pytest.mark.parametrize("kind", [Alone, Blocks])
def test_layers_beside_a_question_are_cut_and_an_export_is_refused(kind, tmp_path):
    torch.manual_seed(0)
    stock, x = kind("torch.jit.is_tracing").eval(), torch.randn(2, *SIZE)
    cut = surgeon.apply(stock, "kap", sigma=0.0, input_size=SIZE).eval()
    assert cut.surgery.edits and any("asks torch.jit.is_tracing()" in n.text for n in cut.surgery.notes)
    surgeon.save(cut, tmp_path / "saved")
    for network in (
        cut,
        copy.deepcopy(cut),
        surgeon.load(tmp_path / "saved", model=kind("torch.jit.is_tracing")),
    ):
        assert not torch.equal(network.eval()(x), stock(x)) and torch.equal(network(x), cut(x))
        with pytest.raises(
            SurgeryError, match=r"Alone asks torch\.jit\.is_tracing\(\), .* a module of its own"
        ):
            torch.jit.trace(network, x)
    if kind is Alone:
        assert torch.equal(cut(x, scale=2.0), 2 * cut(x))  # graphs that are made for the call
        with pytest.raises(SurgeryError, match="asks torch.jit"):
            torch.jit.trace(lambda x: cut(x, scale=2.0), x)
    folded = surgeon.fold(cut).eval()
    torch.testing.assert_close(folded(x), cut(x))
    torch.testing.assert_close(torch.jit.trace(folded, x)(x).sum(1), torch.ones(2))


def test_another_question_than_the_one_that_was_asked_is_no_matter():
    cut = surgeon.apply(Alone("torch.compiler.is_exporting"), "kap", input_size=SIZE).eval()
    x = torch.randn(2, *SIZE)
    torch.testing.assert_close(torch.jit.trace(cut, x)(x), cut(x))
    with pytest.raises(SurgeryError, match=r"asks torch\.compiler\.is_exporting\(\), which is true here"):
        torch.export.export(cut, (x,))


def test_a_question_that_changes_no_graph_costs_nothing():
    cut = surgeon.apply(Guarded("torch.jit.is_tracing"), "kap", input_size=SIZE)
    assert isinstance(cut, torch.fx.GraphModule)
    called = {str(n.target) for n in cut.eval_graph.nodes if n.op == "call_module"}
    assert {"body.0", "tail.fc"} <= called


def test_timms_code_that_asks_gives_the_same_values_either_way():
    import timm

    torch.manual_seed(0)
    stock = timm.create_model("levit_128s", num_classes=5).eval()
    with torch.no_grad():
        for parameter in stock.parameters():
            parameter.normal_(0, 0.1)
    x = torch.randn(1, 3, 224, 224)
    cut = surgeon.apply(stock, "noise", input_size=(3, 224, 224)).eval()
    with torch.no_grad():
        wanted = stock(x)
        assert wanted.abs().max() > 0.1
        for network in (stock, cut):
            assert torch.equal(torch.jit.trace(network, x, check_trace=False)(x), wanted)
