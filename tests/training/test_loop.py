"""The loop: it learns, resumes, anneals, and stops on a loss that is none."""

import csv

import pytest
import torch
from torch import nn

import surgeon
from surgeon.data import Images
from surgeon.errors import SurgeonError
from surgeon.recipe import Training
from surgeon.training import anneal, fit

pytest.importorskip("accelerate")
SIZE = (3, 8, 8)


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(0, 5, (96,), generator=generator)
    x = torch.rand(96, *SIZE, generator=generator) * 0.3
    x[torch.arange(96), 0, y] += 0.7
    return Images(x, y)


def test_it_learns_and_writes_metrics(tiny, data, tmp_path):
    rows = fit(tiny, data, data, Training(epochs=15, batch_size=16, lr=0.1), folder=tmp_path)
    assert rows[-1].val_accuracy > 0.9 > rows[0].val_accuracy
    with (tmp_path / "metrics.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [int(r["epoch"]) for r in written] == list(range(15))


@pytest.mark.parametrize("recipe", ["noise", "canl", "lat", "defective"])
def test_a_training_that_was_stopped_ends_like_one_that_was_not(tiny, data, tmp_path, recipe):
    settings = Training(epochs=4, batch_size=32, lr=0.05, noise_share=1.0)

    def network():
        return surgeon.apply(tiny, recipe, input_size=SIZE, seed=2)

    whole = network()
    fit(whole, data, data, settings, folder=tmp_path / "whole", seed=5)
    stopped = network()
    calls = 0

    def stop(*_):
        nonlocal calls
        calls += 1
        if calls == 8:
            raise KeyboardInterrupt

    stopped.register_forward_pre_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        fit(stopped, data, data, settings, folder=tmp_path / "stopped", seed=5)
    again = network()
    fit(again, data, data, settings, folder=tmp_path / "stopped", seed=5)
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in whole.state_dict().items())


def test_noise_is_off_at_the_minimum_rate_in_the_second_half(tiny, data):
    model = surgeon.apply(tiny, "anl", input_size=SIZE)
    rows = fit(model, data, None, Training(epochs=4, batch_size=32, lr=0.05, min_lr=1e-4, noise_share=0.5))
    assert [r.lr for r in rows[2:]] == [1e-4, 1e-4]
    assert rows[1].lr > 1e-3
    assert model.bn1.anl.enabled


@pytest.mark.parametrize("operation", [{"op": "kap", "start": "anneal"}, {"op": "defective", "start": "anneal", "keep": 0.25}])
def test_anneals_begin_with_the_old_network_and_end_with_the_method(tiny, data, operation):
    model = surgeon.apply(tiny, operation, input_size=SIZE).eval()
    assert model.surgery.effect == "exact"
    assert torch.allclose(model(data.x[:4]), tiny(data.x[:4]), atol=1e-6)
    fit(model, data, None, Training(epochs=2, batch_size=32, anneal_share=0.5))
    if operation["op"] == "kap":
        assert float(model.conv1.kap.alpha) == 1
    else:
        assert int(model.bn1.mask.mask.sum()) == round(0.25 * 16 * 64)


def test_annealed_masks_are_nested(tiny):
    model = surgeon.apply(tiny, {"op": "defective", "start": "anneal", "keep": 0.2}, input_size=SIZE)
    before = model.bn1.mask.mask.clone()
    for progress in (0.25, 0.5, 1.0):
        anneal(model, progress)
        now = model.bn1.mask.mask
        assert bool((before | ~now).all())
        before = now.clone()


def test_a_loss_that_is_no_number_stops_with_its_place(tiny, data):
    with pytest.raises(SurgeonError, match=r"the loss is nan in epoch 0, step 0, at learning rate 0.1"):
        fit(tiny, Images(data.x * float("nan"), data.y), None, Training(epochs=1, lr=0.1))


def test_networks_with_several_outputs_train(data):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.a, self.b = nn.Linear(4, 5), nn.Linear(4, 5)

        def forward(self, x):
            x = self.conv(x).mean((2, 3))
            return (self.a(x), self.b(x)) if self.training else self.a(x)

    model = Two()
    before = model.b.weight.clone()
    fit(model, data, data, Training(epochs=1, batch_size=32))
    assert not torch.equal(model.b.weight, before)
