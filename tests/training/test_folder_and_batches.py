"""What a training finds in its folder, and images that are wrong later than the first one."""

import random
import warnings

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from surgeon.data import Images
from surgeon.errors import (
    ArgumentError,
    ArtifactError,
    ArtifactWarning,
    DataError,
    RecipeError,
    SurgeonError,
    TrainingError,
)
from surgeon.recipe import Training
from surgeon.training import fit
from tests.test_damaged_checkpoints import flipped

pytest.importorskip("accelerate")
X, Y = torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(24) % 4
ONCE = {"device": "cpu", "progress": False}


class Read(Dataset):
    """Images that are read one by one, each changed on the way."""

    def __init__(self, change):
        self.change = change

    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        return self.change(index, X[index]), int(Y[index])


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4))


def settings(**more):
    return Training(epochs=2, batch_size=8, **more)


@pytest.mark.parametrize("more", [{}, {"ema": 0.9}, {"keep": "best"}], ids=["last", "average", "best"])
def test_a_folder_of_other_initial_weights_is_told(more, tmp_path):
    first, other = network(0), network(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ArtifactWarning)
        fit(first, Images(X, Y), Images(X, Y), settings(**more), folder=tmp_path / "a", **ONCE)
        fit(first, Images(X, Y), Images(X, Y), settings(**more), folder=tmp_path / "a", **ONCE)
        fit(network(0), Images(X, Y), Images(X, Y), settings(**more), folder=tmp_path / "a", **ONCE)
    with pytest.warns(ArtifactWarning, match="began with other weights than this network has"):
        fit(other, Images(X, Y), Images(X, Y), settings(**more), folder=tmp_path / "a", **ONCE)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda i, x: x * 255 if i == 13 else x, "0–255"),
        (lambda i, x: (x * 255).byte() if i % 2 else x, "0–255"),
    ],
    ids=["bytes-like", "bytes-and-floats"],
)
def test_images_of_a_dataset_are_checked_as_they_are_read(change, told):
    with pytest.raises(DataError, match=f"train.*{told}"):
        fit(network(), Read(change), None, settings(), **ONCE)
    with pytest.raises(DataError, match=f"val.*{told}"):
        fit(network(), Images(X, Y), Read(change), settings(), **ONCE)


def test_images_of_a_dataset_that_are_no_numbers_are_told_by_the_loss_and_before_a_validation():
    broken = Read(lambda i, x: x * float("nan") if i == 13 else x)
    with pytest.raises(SurgeonError, match="the loss is nan in epoch 0, step .* it is in the images already"):
        fit(network(), broken, None, settings(), **ONCE)
    with pytest.raises(DataError, match="val.*not a number"):
        fit(network(), Images(X, Y), broken, settings(), **ONCE)


def test_random_transforms_of_validation_images_are_the_same_at_each_time():
    val = Read(lambda i, x: x + random.gauss(0, 0.5))
    random.seed(1)
    one = fit(network(), Images(X, Y), val, settings(), **ONCE)
    random.seed(2)
    other = fit(network(), Images(X, Y), val, settings(), **ONCE)
    assert [(r.val_loss, r.val_accuracy) for r in one] == [(r.val_loss, r.val_accuracy) for r in other]
    state = random.getstate()
    fit(network(), Images(X, Y), val, settings(), **ONCE)
    assert random.getstate() == state


def test_padding_as_wide_as_the_images_is_refused():
    with pytest.raises(RecipeError, match=r"training.pad=8 on images of 8×8 pixels.*give less than 8"):
        fit(network(), Images(X, Y), None, settings(pad=8), **ONCE)
    fit(network(), Images(X, Y), None, settings(pad=7), **ONCE)


@pytest.mark.parametrize("how", [{"batch_size": 1}, {"batch_size": 4, "accumulate": 4}])
def test_a_batch_norm_of_one_value_is_told_with_the_settings(how):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4))
    with pytest.raises(TrainingError, match=r"batch_size=\d and accumulate=\d a micro-batch has one image"):
        fit(model, Images(X, Y), None, Training(epochs=1, **how), **ONCE)


class Interrupts(nn.Module):
    """Breaks a training off, as Ctrl-C does, after so many calls."""

    def __init__(self, calls):
        super().__init__()
        self.calls = calls

    def forward(self, x):
        self.calls -= self.training
        if self.training and self.calls == 0:
            raise KeyboardInterrupt
        return x


def test_the_network_of_a_training_that_was_broken_off_is_known_again(tmp_path):
    model = nn.Sequential(Interrupts(5), *network(0))
    with pytest.raises(KeyboardInterrupt):
        fit(model, Images(X, Y), None, settings(), folder=tmp_path / "a", **ONCE)
    other = {k: v + 1 for k, v in model.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error", ArtifactWarning)
        model[0].calls = 2
        with pytest.raises(KeyboardInterrupt):
            fit(model, Images(X, Y), None, settings(), folder=tmp_path / "a", **ONCE)
        model[0].calls = 3
        with pytest.raises(KeyboardInterrupt):
            fit(model, Images(X, Y), None, settings(), folder=tmp_path / "a", **ONCE)
    model.load_state_dict(other)
    with pytest.warns(ArtifactWarning, match="began with other weights than this network has"):
        fit(model, Images(X, Y), None, settings(), folder=tmp_path / "a", **ONCE)


def test_a_checkpoint_with_a_flipped_bit_is_refused(tmp_path):
    """Also where the caller has told torch to write no sums."""
    data, settings = Images(X, Y), Training(epochs=1, batch_size=8)

    def train():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
        return fit(network, data, None, settings, folder=tmp_path / "run", **ONCE)

    torch.serialization.set_crc32_options(False)
    try:
        train()
        assert not torch.serialization.get_crc32_options()
    finally:
        torch.serialization.set_crc32_options(True)
    train()  # it is finished: its checkpoint is read
    flipped(tmp_path / "run" / "checkpoint.pt", "data/0")
    with pytest.raises(ArtifactError, match="is damaged .*data/0 has other bytes than were written"):
        train()


def test_a_file_is_no_folder_of_a_training(tmp_path):
    (tmp_path / "run.py").write_text("1\n")
    with pytest.raises(ArtifactError, match=r"run\.py is a file; choose a folder"):
        fit(nn.Conv2d(1, 4, 8), Images(X, Y), None, Training(epochs=1), folder=tmp_path / "run.py", **ONCE)


@pytest.mark.parametrize(
    ("name", "value"),
    [("WORLD_SIZE", "2"), ("ACCELERATE_USE_DEEPSPEED", "true"), ("ACCELERATE_TORCH_DEVICE", "meta")],
)
def test_what_a_launcher_left_in_the_environment_is_named(monkeypatch, name, value):
    import os

    monkeypatch.setenv(name, value)
    before = dict(os.environ)
    with pytest.raises(
        ArgumentError, match=f"could not be started: .* the environment has {name}={value}: unset"
    ):
        fit(nn.Conv2d(1, 4, 8), Images(X, Y), None, Training(epochs=1), progress=False)
    assert dict(os.environ) == before


def test_no_number_of_steps_in_the_environment_divides_gradients(monkeypatch):
    def weights():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
        fit(network, Images(X, Y), None, Training(epochs=1, batch_size=8), **ONCE)
        return network[1].weight

    before = weights()
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    assert torch.equal(weights(), before)


@pytest.mark.parametrize("form", [torch.clone, torch.Tensor.numpy], ids=["tensors", "arrays"])
def test_a_dataset_of_other_images_is_another_training(form, tmp_path):
    """Images in arrays were known by their type alone."""
    fit(network(), Read(lambda i, x: form(x)), None, settings(), folder=tmp_path, **ONCE)
    fit(network(), Read(lambda i, x: form(x)), None, settings(), folder=tmp_path, **ONCE)
    with pytest.raises(ArtifactError, match="holds another training .*sample"):
        fit(network(), Read(lambda i, x: form(1 - x)), None, settings(), folder=tmp_path, **ONCE)
