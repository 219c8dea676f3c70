"""Further graphs are made by one thread at a time, and threads that compute meanwhile see nothing of it."""

import threading

import pytest
import timm
import torch

import surgeon
from tests.own_models.checks import SIZE, BySize, Plain, images


def test_threads_that_compute_meanwhile_see_nothing_of_it():
    model = BySize().eval()
    cut = surgeon.apply(model, "noise", input_size=SIZE).eval()
    x = torch.randn(2, *SIZE)
    wanted, stop, wrong = model(x), threading.Event(), []
    before = {k: v.clone() for k, v in cut.state_dict().items()}

    def compute():
        while not stop.is_set():
            with torch.no_grad():
                if not torch.equal(cut(x), wanted):
                    wrong.append(1)

    def ask(side):
        y = torch.randn(2, 3, side, side)
        with torch.no_grad():
            if not torch.equal(cut(y), model(y)):
                wrong.append(side)

    worker = threading.Thread(target=compute)
    worker.start()
    askers = [threading.Thread(target=ask, args=(s,)) for s in (4, 5, 6, 4, 5, 9)]
    [t.start() for t in askers]
    [t.join() for t in askers]
    stop.set()
    worker.join()
    assert not wrong
    assert all(torch.equal(v, before[k]) for k, v in cut.state_dict().items())


class Looks(Plain):
    """Calls `look` whenever the code of a further method runs."""

    look = staticmethod(lambda: None)

    def forward_features(self, x):
        Looks.look()
        return self.features(x)

    def forward(self, x):
        return self.head(self.forward_features(x).mean((2, 3)))

    def set_grad_checkpointing(self, enable=True):
        self.grad_checkpointing = enable


@pytest.mark.parametrize(
    "ask",
    [lambda m: m.forward_features(images().double()), lambda m: m.set_grad_checkpointing()],
    ids=["features", "checkpointing"],
)
def test_a_further_method_leaves_what_another_thread_computes_in_alone(ask, monkeypatch):
    model = Looks().double().eval()
    cut = surgeon.apply(model, "kap", input_size=SIZE).eval()
    before = {k: v.clone() for k, v in cut.state_dict().items()}
    x = images().double()
    wanted, seen = cut(x), []

    def look():
        seen.append([n for n, m in cut.named_modules() if m.training])
        # a trace patches the call of all modules, so that pooling leaves the weights alone: equal up to rounding
        other = threading.Thread(
            target=lambda: seen.append([] if torch.allclose(cut(x), wanted, atol=1e-12) else ["wrong"])
        )
        other.start()
        other.join()

    monkeypatch.setattr(Looks, "look", staticmethod(look))
    ask(cut)
    assert not any(seen)
    assert all(torch.equal(v, before[k]) for k, v in cut.state_dict().items())


def test_threads_that_ask_for_the_same_method_at_once_make_it_once():
    model = timm.create_model("test_resnet", num_classes=3).eval()
    cut = surgeon.apply(model, "kap", input_size=(3, 32, 32)).eval()
    x, found, failed = torch.randn(2, 3, 32, 32), [], []

    def ask():
        try:
            found.append(cut.forward_head(cut.forward_features(x)))
        except Exception as error:
            failed.append(error)

    askers = [threading.Thread(target=ask) for _ in range(6)]
    [t.start() for t in askers]
    [t.join() for t in askers]
    assert not failed
    assert all(torch.equal(y, cut(x)) for y in found)
    assert len(cut.graphs) == 6
