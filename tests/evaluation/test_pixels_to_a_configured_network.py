"""A network whose configuration normalises images is told of where it is given pixels as it is."""

import warnings

import pytest
import torch

import surgeon
from surgeon.errors import CalibrationWarning
from surgeon.evaluation import Normalized, certify, evaluate, noise_accuracy, suite
from surgeon.recipe import Evaluation

pytest.importorskip("torchattacks")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return surgeon.create_model("test_resnet", num_classes=4, input_size=(3, 32, 32)).eval()


IMAGES, LABELS = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 4
DOORS = {
    "evaluate": lambda m: evaluate(m, IMAGES, LABELS, suite(Evaluation(suite="basic", attacks=["fgsm"]))),
    "noise": lambda m: noise_accuracy(m, IMAGES, LABELS, [0.1]),
    "certify": lambda m: certify(m, IMAGES[:1], LABELS[:1], sigma=0.1, n0=10, n=10),
}


@pytest.mark.parametrize("door", DOORS)
def test_it_is_told(network, door):
    mean, std = surgeon.models.normalization_of(network)
    with pytest.warns(CalibrationWarning, match="is given pixels in .*Normalized") as told:
        DOORS[door](network)
    assert f"{mean}, {std}" in str(told[0].message)


@pytest.mark.parametrize("door", DOORS)
def test_one_that_normalises_itself_is_not(network, door):
    with warnings.catch_warnings():
        warnings.simplefilter("error", CalibrationWarning)
        DOORS[door](Normalized(network, *surgeon.models.normalization_of(network)))
        DOORS[door](torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 4)))
