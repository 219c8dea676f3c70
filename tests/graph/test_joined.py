"""Calls of a module and the layer behind it, joined in the code and not in the graph."""

import copy

import pytest
import torch
from torch import fx, nn

import surgeon
from surgeon.graph.rewritten import joined as joined_file

SIZE = (3, 8, 8)


@pytest.fixture
def cut(tiny):
    return surgeon.apply(tiny, {"op": "kap", "start": "naive"}, input_size=SIZE).eval()


@pytest.fixture
def together(monkeypatch):
    """Which modules were called together with the layer behind them."""
    calls = []
    from surgeon.methods.kap.module import KernelAveragePool

    real = KernelAveragePool.after
    monkeypatch.setattr(KernelAveragePool, "after", lambda s, m, x: calls.append(m) or real(s, m, x))
    return calls


def test_the_graph_shows_both_calls_and_the_code_makes_one(cut, images, together):
    targets = [n.target for n in cut.graph.nodes if n.op == "call_module"]
    assert targets[:2] == ["conv1", "conv1.kap"]
    wanted = fx.Interpreter(cut).run(images)
    assert not together
    torch.testing.assert_close(cut(images), wanted)
    assert together[0] is cut.conv1


def test_hooks_hear_what_they_would(cut, images, together):
    heard = {}
    hooks = [
        cut.conv1.register_forward_hook(lambda m, i, o: heard.update(conv=o)),
        cut.conv1.kap.register_forward_pre_hook(lambda m, i: heard.update(pooled=i[0])),
    ]
    cut(images)
    assert cut.conv1 not in together
    assert torch.equal(heard["conv"], heard["pooled"])
    assert torch.equal(heard["conv"], nn.Conv2d.forward(cut.conv1, images))
    for hook in hooks:
        hook.remove()
    cut(images)
    assert cut.conv1 in together
    together.clear()
    everywhere = nn.modules.module.register_module_forward_hook(lambda m, i, o: None)
    cut(images)
    everywhere.remove()
    assert not together


def test_an_exchanged_module_is_the_one_that_is_called(cut, images):
    new = nn.Conv2d(3, 16, 3, padding=1)
    new.kap = cut.conv1.kap
    cut.conv1 = new
    torch.testing.assert_close(cut(images), fx.Interpreter(cut).run(images))


def test_copies_call_their_own(cut, images, together):
    twin = copy.deepcopy(cut)
    with torch.no_grad():
        twin.conv1.weight.zero_()
    twin(images)
    assert together[0] is twin.conv1


def test_a_module_with_other_users_is_called_by_itself():
    class Layer(nn.Module):
        def forward(self, x):
            return 2 * x

        def after(self, module, x):
            raise AssertionError

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.layer = nn.Conv2d(3, 4, 1), Layer()

        def forward(self, x):
            y = self.conv(x)
            return self.layer(y) + y

    tracer = fx.Tracer()
    tracer.is_leaf_module = lambda m, name: True
    graph = tracer.trace(Twice())
    assert joined_file.joined(graph, Twice()) is graph


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (nn.Conv2d, "forward"),
        (nn.Conv2d, "_conv_forward"),
        (nn.Conv2d, "__call__"),
        (nn.Module, "__call__"),
        (nn.Module, "_call_impl"),
        ("conv", "_conv_forward"),
        ("conv", "_call_impl"),
        ("layer", "forward"),
    ],
)
def test_a_patched_call_is_called(cut, images, monkeypatch, owner, name):
    """Other code may exchange what a class does; each call then goes its own way."""
    heard = []
    held = {"conv": cut.conv1, "layer": type(cut.conv1.kap)}.get(owner, owner)
    real = getattr(held, name)

    def patched(*args, **kwargs):
        heard.append(args)
        out = real(*args, **kwargs)
        is_ours = isinstance(out, torch.Tensor) and (
            owner in ("conv", "layer") or isinstance(args[0], nn.Conv2d)
        )
        return out * out if is_ours else out  # which pooling does not commute with

    monkeypatch.setattr(held, name, patched, raising=False)
    found = cut(images)
    wanted = fx.Interpreter(cut).run(images)
    assert heard
    torch.testing.assert_close(found, wanted)
    monkeypatch.undo()
    assert not torch.allclose(cut(images), wanted)
