"""Annealed layers at their end: they are saved, chosen as the best only when whole, and stay whole afterwards."""

import pytest
import torch
from torch import nn

import surgeon
from surgeon.data import Images
from surgeon.errors import SurgeryWarning
from surgeon.evaluation import Attack, Normalized, evaluate
from surgeon.methods.annealed import growing, unfinished
from surgeon.recipe import Training
from surgeon.training import anneal, fit

pytest.importorskip("accelerate")
SIZE = (3, 8, 8)
ANNEALED = {
    "kap": ("kap", "kap.start"),  # with the recipe's noise at the input, which has no share
    "weight-map": ("wm-smoothing", "weight-map.start"),
    "defective": ("defective", "defective.start"),
}


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(0)
    return Images(torch.rand(64, *SIZE, generator=generator), torch.arange(64) % 5)


@pytest.fixture(params=ANNEALED)
def cut(request, tiny):
    recipe, key = ANNEALED[request.param]
    return surgeon.apply(tiny, recipe, input_size=SIZE, settings={key: "anneal"})


def same(one, other):
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(v, b[k]) for k, v in a.items())


def test_what_was_annealed_is_saved_and_a_further_training_leaves_it_whole(cut, tiny, data, tmp_path):
    assert growing(cut)
    fit(cut, data, None, Training(epochs=1, batch_size=32, anneal_share=0.5))
    assert not growing(cut)
    again = surgeon.load(surgeon.save(cut, tmp_path / "trained"), model=tiny)
    assert same(again, cut) and not growing(again)
    seen = []
    again.register_forward_pre_hook(lambda *_: seen.append(growing(again)))
    fit(again, data, None, Training(epochs=1, batch_size=32))
    assert seen and not any(seen)


def test_the_best_weights_are_of_a_network_in_which_the_method_is_whole(cut, data, tmp_path):
    settings = Training(epochs=4, batch_size=32, anneal_share=0.6, keep="best", lr=1e-9)
    rows = fit(cut, data, data, settings, folder=tmp_path)
    assert len({r.val_accuracy for r in rows[2:]}) == 1, (
        "the first whole epoch is the best at a rate of next to nothing"
    )
    assert not growing(cut)


def test_a_later_surgery_grows_and_what_was_whole_before_it_stays(tiny, data):
    first = surgeon.apply(tiny, "kap", input_size=SIZE, settings={"kap.start": "anneal"})
    anneal(first, 1)
    both = surgeon.apply(
        first, "defective", input_size=SIZE, settings={"defective.start": "anneal"}, stack=True
    )
    places = growing(both)
    assert places and all(p.endswith("mask") for p in places)
    anneal(both, 0.25, places)
    assert all(float(m.alpha) == 1 for m in both.modules() if hasattr(m, "alpha"))


WRAPPERS = {
    "sequential": lambda q: nn.Sequential(nn.Identity(), q),
    "DataParallel": nn.DataParallel,
    "Normalized": lambda q: Normalized(q, (0.0,) * 3, (1.0,) * 3),
    "compile": lambda q: torch.compile(q, backend="eager"),
    "AveragedModel": torch.optim.swa_utils.AveragedModel,
    "inside of others": lambda q: nn.Sequential(nn.DataParallel(nn.Sequential(q))),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_layers_are_annealed_in_the_networks_inside_a_module(tiny, wrap):
    """`anneal` set nothing there, without a word."""
    network = surgeon.apply(tiny, "kap", input_size=SIZE, settings={"kap.start": "anneal"})
    wrapped = wrap(network)
    assert unfinished(wrapped).startswith("2 of 2 annealed layers have 0 % of their effect")
    for share in (0.5, 1.0):
        anneal(wrapped, share)
        layers = [m for m in wrapped.modules() if hasattr(m, "alpha")]
        assert len(layers) == 2 and all(float(layer.alpha) == share for layer in layers)
    assert not unfinished(wrapped) and not growing(wrapped)


@pytest.mark.parametrize(
    "wrap", [WRAPPERS["sequential"], WRAPPERS["Normalized"]], ids=["sequential", "Normalized"]
)
def test_a_training_grows_them_there_and_an_evaluation_tells_of_them(tiny, data, wrap):
    network = surgeon.apply(tiny, "kap", input_size=SIZE, settings={"kap.start": "anneal"})
    wrapped, attack = wrap(network), Attack(name="a", kind="fgsm", eps=0.1)
    anneal(network, 0.5)
    with pytest.warns(SurgeryWarning, match="2 of 2 annealed layers have 50 % of their effect"):
        evaluate(wrapped.eval(), data.x[:8].float(), data.y[:8], [attack])
    anneal(network, 0.0)
    fit(
        wrapped, data, None, Training(epochs=2, batch_size=16, anneal_share=0.5), progress=False, device="cpu"
    )
    assert not growing(network)
