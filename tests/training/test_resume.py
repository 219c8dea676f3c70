"""A training that is killed at any moment ends, when it is called again, as one that was not."""

import itertools
import signal
from pathlib import Path

import numpy
import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import TensorDataset

import surgeon
from surgeon.data import Images
from surgeon.recipe import Adversary, Training, WeightAverage, WeightPerturbation
from surgeon.training import fit, loop
from tests.conftest import Tiny
from tests.killed import at_checkpoint
from tests.started import Started

pytest.importorskip("accelerate")
SIZE = (3, 8, 8)


def training(folder, *delay):
    """Four epochs into a folder; with a delay the process kills itself at its seventh checkpoint."""
    torch.manual_seed(0)
    model = surgeon.apply(Tiny(), "canl", input_size=SIZE, seed=1)
    if delay:
        at_checkpoint(7, float(*delay))
    data = Images(torch.rand(160, *SIZE), torch.arange(160) % 5)
    settings = Training(epochs=4, batch_size=16, lr=0.05, pad=1, flip=True, ema=0.9, noise_share=0.7)
    fit(model, data, data, settings, folder=folder, seed=5, save_every=0)
    torch.save(model.state_dict(), Path(folder, "end.pt"))


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(0)
    return Images(torch.rand(80, *SIZE, generator=generator), torch.arange(80) % 5)


CASES = {
    "canl": ("canl", {}),
    "lat": ("lat", {"clip_grad": 1.0}),
    "kap": ("kap", {"optimizer": "adamw", "lr": 1e-3}),
    "anneal": ({"op": "weight-map", "start": "anneal"}, {"anneal_share": 0.6}),
    "masks": ({"op": "defective", "start": "anneal", "keep": 0.5}, {}),
    "average": ("anl", {"ema": 0.9, "schedule": "plateau"}),
    "attacked": ("kap", {"adversary": Adversary(method="fgsm-rs", eps=0.02), "keep": "best"}),
    "perturbed": (
        "kap+anl",
        {
            "adversary": Adversary(method="n-fgsm", eps=0.02),
            "awp": WeightPerturbation(),
            "swa": WeightAverage(),
        },
    ),
    "mixed": ("anl", {"mixup": 0.5, "accumulate": 2, "pad": 1, "flip": True, "warmup_epochs": 1}),
}


@pytest.mark.parametrize("case", CASES)
def test_stopped_in_an_epochs_middle_it_goes_on_at_that_step(tiny, data, tmp_path, case, monkeypatch):
    surgery, more = CASES[case]
    settings = Training(**{"epochs": 3, "batch_size": 16, "lr": 0.05, "noise_share": 1.0, **more})

    def network():
        return surgeon.apply(tiny, surgery, input_size=SIZE, seed=2)

    whole = network()
    rows = fit(whole, data, data, settings, folder=tmp_path / "whole", seed=5)
    steps, step = itertools.count(1), loop._Training._step

    def stops(self, *arguments):
        if next(steps) == 9:  # the fourth of the second epoch's five
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(loop._Training, "_step", stops)
    with pytest.raises(KeyboardInterrupt):
        fit(network(), data, data, settings, folder=tmp_path / "stopped", seed=5, save_every=0)
    state = torch.load(tmp_path / "stopped" / "checkpoint.pt", weights_only=True)
    assert (state["progress"]["epoch"], state["progress"]["step"]) == (1, 3)
    seen = []
    monkeypatch.setattr(loop._Training, "_step", lambda self, *a: seen.append(a[1:]) or step(self, *a))
    again = network()
    resumed = fit(again, data, data, settings, folder=tmp_path / "stopped", seed=5)
    assert seen[0] == (1, 3)
    assert len(seen) == 7
    same = [(r.loss, r.lr, r.val_loss, r.val_accuracy) for r in rows]
    assert [(r.loss, r.lr, r.val_loss, r.val_accuracy) for r in resumed] == same
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in whole.state_dict().items())
    for name in ("last.safetensors", "best.safetensors"):
        one, two = (load_file(tmp_path / f / name) for f in ("whole", "stopped"))
        assert all(torch.equal(v, two[k]) for k, v in one.items())


def test_killed_again_and_again_it_ends_with_the_same_weights(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for delay in (0.0, 0.02):  # in the middle of a step, or of writing
        done = Started(training, str(killed), str(delay))
        assert done.wait(600) == -signal.SIGKILL, done.said()
    for folder in (killed, whole):
        done = Started(training, str(folder))
        assert done.wait(600) == 0, done.said()
    one, two = (torch.load(f / "end.pt", weights_only=True) for f in (whole, killed))
    assert all(torch.equal(v, two[k]) for k, v in one.items())
    assert (whole / "last.safetensors").read_bytes() == (killed / "last.safetensors").read_bytes()
    lines = [
        [r.rsplit(",", 2)[0] for r in (f / "metrics.csv").read_text().splitlines()] for f in (whole, killed)
    ]
    assert lines[0] == lines[1]
    assert len(lines[0]) == 5


def test_another_number_of_epochs_or_other_images_are_another_training(tiny, data, tmp_path):
    settings = Training(epochs=1, batch_size=16)
    fit(tiny, data, None, settings, folder=tmp_path)
    other = Images(data.x, data.y.flip(0))
    for changed, images in ((settings.model_copy(update={"epochs": 2}), data), (settings, other)):
        with pytest.raises(surgeon.SurgeonError, match="holds another training"):
            fit(tiny, images, None, changed, folder=tmp_path)


def network(act=torch.nn.ReLU):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), act(), torch.nn.Flatten(), torch.nn.Linear(144, 5))


def frozen():
    model = network()
    model[0].requires_grad_(False)
    return model


def test_other_validation_images_or_another_network_of_equal_shapes_are_another_training(data, tmp_path):
    settings = Training(epochs=1, batch_size=40)
    done = fit(network(), data, data, settings, folder=tmp_path)
    assert repr(fit(network(), data, data, settings, folder=tmp_path)) == repr(done)
    relabelled = Images(data.x, (data.y + 1) % 5)
    for model, val, told in (
        (network(), relabelled, "validation images: other labels"),
        (network(), None, "validation images: is not there"),
        (network(torch.nn.Tanh), data, r"layer 1: ReLU\(\) there, Tanh\(\) here"),
        (frozen(), data, "frozen"),
    ):
        with pytest.raises(surgeon.SurgeonError, match=f"holds another training .*{told}"):
            fit(model, data, val, settings, folder=tmp_path)


class Indexed(torch.utils.data.Dataset):
    """A Dataset of one's own, with chance of its own where `shaken`."""

    def __init__(self, x, y, shaken=False):
        self.x, self.y, self.shaken = x, y, shaken

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        noise = numpy.random.default_rng().random() if self.shaken else 0.0
        return (self.x[index] + 1e-3 * noise).clamp(0, 1), self.y[index]


@pytest.mark.parametrize("kind", ["TensorDataset", "of one's own", "shaken"])
def test_another_dataset_of_the_same_length_is_another_training(data, tmp_path, kind):
    def made(x, y):
        return TensorDataset(x, y) if kind == "TensorDataset" else Indexed(x, y, kind == "shaken")

    settings = Training(epochs=1, batch_size=40)
    done = fit(network(), made(*data), None, settings, folder=tmp_path)
    assert repr(fit(network(), made(*data), None, settings, folder=tmp_path)) == repr(done)
    others = [made(data.x, (data.y + 3) % 5)] + ([] if kind == "shaken" else [made(data.x.flip(0), data.y)])
    for other in others:
        with pytest.raises(surgeon.SurgeonError, match="holds another training .*sample"):
            fit(network(), other, None, settings, folder=tmp_path)
