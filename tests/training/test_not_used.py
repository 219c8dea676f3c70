"""What a training is given that it cannot use is refused, and never left out without a word."""

import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset

from surgeon.data import Images
from surgeon.errors import ArgumentError, ArtifactError, DataError, RecipeError
from surgeon.recipe import Training
from surgeon.training import fit


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )


def images(n=16):
    torch.manual_seed(1)
    return Images(torch.rand(n, 1, 8, 8), torch.arange(n) % 2)


def test_half_precision_that_a_processor_does_not_do_is_refused():
    with pytest.raises(ArgumentError, match="'fp16' is not done on a CPU: give 'bf16'"):
        fit(network(), images(), None, Training(epochs=1), mixed_precision="fp16", device="cpu")


def test_a_momentum_of_an_optimizer_without_one_is_refused():
    with pytest.raises(RecipeError, match=r"momentum=0\.5 and optimizer='adamw', which takes no momentum"):
        fit(network(), images(), None, Training(epochs=1, optimizer="adamw", momentum=0.5))
    fit(network(), images(), None, Training(epochs=1, optimizer="rmsprop", momentum=0.5), device="cpu")


def test_empty_validation_images_are_refused():
    with pytest.raises(DataError, match="val has no images; give None"):
        fit(network(), images(), images(0), Training(epochs=1, keep="best"))


class Items(Dataset):
    def __init__(self, item):
        self.item = item

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return self.item


IMAGE = torch.rand(1, 8, 8)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"image": IMAGE, "label": 0}, r"train: sample 0 is a dict; a Dataset gives \(image, label\)"),
        ((IMAGE, 0, 5), r"train: sample 0 is 3 values"),
        ((Image.new("L", (8, 8)), 0), r"the image of sample 0 is a Image; give a tensor .*to_tensor"),
        ((IMAGE, "cat"), r"train has labels such as 'cat'; give class indices"),
    ],
)
def test_samples_of_another_form_are_named(item, message):
    with pytest.raises(DataError, match=message):
        fit(network(), Items(item), None, Training(epochs=1, batch_size=4), device="cpu")


class Odd(Items):
    def __getitem__(self, index):
        if index == 5:
            return self.item()
        return IMAGE, 0


def ended():
    raise StopIteration


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (lambda: (torch.rand(1, 9, 9), 0), r"train has images of several sizes in one batch \(.*\[1, 9, 9\]"),
        (ended, "train: sample 5 raised StopIteration"),
    ],
)
def test_one_sample_that_is_unlike_the_others_is_told(item, message):
    with pytest.raises(DataError, match=message):
        fit(network(), Odd(item), None, Training(epochs=1, batch_size=8), device="cpu")


def test_a_number_of_workers_below_zero_is_refused():
    with pytest.raises(ArgumentError, match="workers"):
        fit(network(), images(), None, Training(epochs=1), workers=-1)


def test_a_normalisation_of_single_numbers_is_named():
    with pytest.raises(DataError, match=r"mean=0\.5 and std=0\.5 must be one number a channel each"):
        fit(network(), images(), None, Training(epochs=1), normalize=(0.5, 0.5))


class Scaled(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.scale, self.calls = scale, 0
        self.body = network()

    def forward(self, x):
        self.calls += 1  # what code sets while it runs is no setting
        return self.body(x) * self.scale


def test_a_folder_goes_on_with_the_settings_of_own_code_alone(tmp_path):
    settings = Training(epochs=1, batch_size=8)
    for _ in range(2):
        fit(Scaled(1.0), images(), None, settings, folder=tmp_path / "run", device="cpu")
    with pytest.raises(
        ArtifactError, match=r"layer of the whole: Scaled\(scale=1\.0\) there, Scaled\(scale=5\.0\)"
    ):
        fit(Scaled(5.0), images(), None, settings, folder=tmp_path / "run", device="cpu")
