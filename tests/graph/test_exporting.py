"""Code that asks whether it is traced or exported: its graphs hold one answer."""

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


def test_a_network_that_asks_beside_its_layers_is_refused_by_the_question():
    """Its convolutions are of a part, but none of its own code can be followed."""
    with pytest.raises(
        SurgeryError, match=r"asks torch.jit.is_tracing\(\) and computes otherwise then.*module of its own"
    ):
        surgeon.apply(Alone(), "kap", input_size=SIZE)
    assert surgeon.apply(Root("torch.jit.is_tracing"), "kap", input_size=SIZE).surgery.edits


class Alone(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = nn.Conv2d(3, 16, 3, padding=1)

    def forward(self, x):
        y = self.c(x).mean((2, 3))
        return y.softmax(1) if torch.jit.is_tracing() else y


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
