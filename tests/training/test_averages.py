"""Averages of weights: the closed formula over the steps, what is kept and evaluated, and batch norms measured anew."""

import copy
import itertools

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import surgeon
from surgeon.data import Images
from surgeon.recipe import Training, WeightAverage
from surgeon.training import fit, loop
from surgeon.training.average import EqualAverage
from surgeon.training.norm_update import update_norms
from surgeon.training.validation import validate
from tests.sensitivity import doubled

pytest.importorskip("accelerate")
SIZE = (3, 8, 8)


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(0)
    return Images(torch.rand(40, *SIZE, generator=generator, dtype=torch.float64), torch.arange(40) % 5)


def recorded(monkeypatch):
    """The weights before the first step and after each."""
    seen, step = [], loop._Training._step

    def noted(self, *arguments):
        if not seen:
            seen.append(copy.deepcopy(self.model.state_dict()))
        loss = step(self, *arguments)
        seen.append(copy.deepcopy(self.model.state_dict()))
        return loss

    monkeypatch.setattr(loop._Training, "_step", noted)
    return seen


def weights(model):
    return {n: p.detach().clone() for n, p in model.named_parameters()}


def close(found, wanted):
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, atol=1e-12, rtol=1e-12, msg=name)


def test_the_moving_average_is_the_sum_of_all_weights_with_their_powers(tiny, data, monkeypatch):
    seen = recorded(monkeypatch)
    model = doubled(tiny)
    fit(model, data, None, Training(epochs=3, batch_size=8, lr=0.05, ema=0.8), progress=False)
    n = len(seen) - 1
    shares = [0.8**n, *(0.2 * 0.8 ** (n - k) for k in range(1, n + 1))]
    assert n == 15 and sum(shares) == pytest.approx(1)
    own = weights(model)
    close(own, {k: sum(a * w[k] for a, w in zip(shares, seen, strict=True)) for k in own})


def test_the_equal_average_is_the_mean_of_the_last_epochs_and_is_what_is_kept_and_validated(
    tiny, data, monkeypatch, tmp_path
):
    seen = recorded(monkeypatch)
    model, stock = doubled(tiny), doubled(copy.deepcopy(tiny))
    settings = Training(epochs=5, batch_size=8, lr=0.05, swa=WeightAverage(start=0.5, lr=0.02), keep="best")
    rows = fit(model, data, data, settings, folder=tmp_path, progress=False)
    assert [r.lr for r in rows[2:]] == [0.02] * 3 and rows[0].lr > 0.04
    ends = seen[5::5]
    own = weights(model)
    kept = load_file(tmp_path / "last.safetensors")
    close(kept, {k: sum(w[k] for w in ends[2:]) / 3 for k in own})
    assert max(r.val_accuracy for r in rows[2:]) == max(rows[2:], key=lambda r: r.val_accuracy).val_accuracy
    for name, file in (("last", rows[-1]), ("best", max(rows[2:], key=lambda r: r.val_accuracy))):
        stock.load_state_dict(load_file(tmp_path / f"{name}.safetensors"))
        loss, accuracy = validate(stock, data, torch.device("cpu"))
        assert (loss, accuracy) == (pytest.approx(file.val_loss, rel=1e-9), file.val_accuracy)
    again = fit(doubled(copy.deepcopy(tiny)), data, data, settings, folder=tmp_path, progress=False)
    assert [r[:5] for r in again] == [r[:5] for r in rows]


def test_batch_norms_are_those_of_the_averaged_weights_on_the_training_images(data):
    torch.manual_seed(0)
    model = doubled(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 5)))
    settings = Training(epochs=2, batch_size=10, lr=0.05, swa=WeightAverage(start=0.0))
    fit(model, data, None, settings, seed=4, progress=False)
    order = loop.Batches(data, 10, 4).order(1)
    with torch.no_grad():
        parts = [model[0](data.x[i].float().double()).transpose(0, 1).flatten(1) for i in order]
    close(
        {"mean": model[1].running_mean, "var": model[1].running_var},
        {
            "mean": torch.stack([p.mean(1) for p in parts]).mean(0),
            "var": torch.stack([p.var(1) for p in parts]).mean(0),
        },
    )


def test_measuring_norms_draws_nothing_and_leaves_modes_and_norms_that_are_not_called(data):
    stock = nn.Sequential(
        nn.Conv2d(3, 9, 3), nn.BatchNorm2d(9), nn.Dropout(0.5), nn.Flatten(), nn.Linear(324, 5)
    )
    model = surgeon.apply(stock, {"op": "kap", "sigma": 1.0}, input_size=SIZE).train()
    model.get_submodule("2").eval()
    model.get_submodule("2").add_module("spare", nn.BatchNorm2d(2))
    spare = model.get_submodule("2.spare")
    spare.running_mean.fill_(3.0)
    modes = [m.training for m in model.modules()]
    random = torch.get_rng_state()
    update_norms(model, [data.x[:20].float(), data.x[20:].float()], lambda x: x)
    once = model.get_submodule("1").running_var.clone()
    update_norms(model, [data.x[:20].float(), data.x[20:].float()], lambda x: x)
    assert torch.equal(once, model.get_submodule("1").running_var) and float(once.max()) < 0.9
    assert torch.equal(torch.get_rng_state(), random) and [m.training for m in model.modules()] == modes
    assert float(spare.running_mean.min()) == 3.0
    assert model.get_submodule("1").momentum == 0.1


def test_a_moving_average_has_its_own_statistics_unless_they_are_asked_for(tiny, data):
    both = []
    for update in (None, True):
        model = doubled(copy.deepcopy(tiny))
        fit(
            model,
            data,
            None,
            Training(epochs=1, batch_size=8, ema=0.9, update_norms=update),
            progress=False,
        )
        both.append(model)
    close(weights(both[0]), weights(both[1]))
    assert not torch.allclose(both[0].bn1.running_mean, both[1].bn1.running_mean)


@pytest.mark.parametrize("stop", [8, 23])
def test_stopped_before_or_within_the_average_it_ends_as_one_that_was_not(
    tiny, data, tmp_path, monkeypatch, stop
):
    settings = Training(
        epochs=5, batch_size=8, lr=0.05, swa=WeightAverage(start=0.4), pad=1, flip=True, keep="best"
    )
    small = Images(data.x.float(), data.y)

    def network():
        return surgeon.apply(tiny, "kap", input_size=SIZE, seed=2)

    whole = network()
    rows = fit(whole, small, small, settings, folder=tmp_path / "whole", seed=5, progress=False)
    steps, step = itertools.count(1), loop._Training._step

    def stops(self, *arguments):
        if next(steps) == stop:
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(loop._Training, "_step", stops)
    with pytest.raises(KeyboardInterrupt):
        fit(network(), small, small, settings, folder=tmp_path / "cut", seed=5, save_every=0, progress=False)
    monkeypatch.setattr(loop._Training, "_step", step)
    again = network()
    resumed = fit(again, small, small, settings, folder=tmp_path / "cut", seed=5, progress=False)
    assert [r[:5] for r in resumed] == [r[:5] for r in rows]
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in whole.state_dict().items())


def test_noise_off_does_not_lower_the_rate_that_the_average_has(tiny, data):
    model = surgeon.apply(tiny, "anl", input_size=SIZE)
    settings = Training(epochs=4, batch_size=20, swa=WeightAverage(start=0.75, lr=0.03), noise_share=0.5)
    rows = fit(model, Images(data.x.float(), data.y), None, settings, progress=False)
    assert [r.lr for r in rows[2:]] == [1e-3, 0.03]


def test_an_average_of_one_epoch_is_its_weights(tiny):
    average = EqualAverage(tiny, 3, torch.device("cpu"))
    with torch.no_grad():
        tiny.head.weight.fill_(2.0)
    average.epoch(tiny, 2)
    assert float(average.module.head.weight.mean()) != 2.0
    average.epoch(tiny, 3)
    assert float(average.module.head.weight.mean()) == 2.0


class Tied(nn.Module):
    """A network whose weights have two names."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 16)
        self.second.weight = self.first.weight
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.second(self.first(x.flatten(1)).relu()).relu())


def test_weights_with_two_names_move_once_into_their_average():
    from surgeon.training.average import MovingAverage

    model = Tied()
    average = MovingAverage(model, 0.75, torch.device("cpu"))
    wanted = {k: v.double() for k, v in model.state_dict().items()}
    for _ in range(3):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn(p.shape))
        average.step(model)
        wanted = {k: 0.75 * w + 0.25 * model.state_dict()[k].double() for k, w in wanted.items()}
    for k, v in average.module.state_dict().items():
        assert torch.allclose(v.double(), wanted[k], atol=1e-6), k
