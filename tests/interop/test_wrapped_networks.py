"""Networks in what torch and timm put around them, and in modules of other code: they keep their normalisation."""

import re
import warnings

import pytest
import timm
import torch
from timm.utils import ModelEmaV2, ModelEmaV3
from torch import nn

import surgeon
from surgeon.data import Images
from surgeon.errors import ArgumentError, CalibrationWarning
from surgeon.evaluation import assess
from surgeon.models.facts import input_size_of, name_of, normalized
from surgeon.recipe import Evaluation, Training
from surgeon.training import fit
from surgeon.wrappers import unwrapped

MEAN, STD = (0.2, 0.4, 0.6), (0.25, 0.5, 0.125)
SETTINGS = Evaluation(suite="basic", attacks=["fgsm"], diagnostics=0)
WRAPPERS = {
    "compiled": torch.compile,
    "data parallel": nn.DataParallel,
    "average": torch.optim.swa_utils.AveragedModel,
    "timm's average": ModelEmaV2,
    "timm's third average": ModelEmaV3,
    "compiled twice around": lambda network: torch.compile(nn.DataParallel(network)),
}


class Handing(nn.Module):
    """Hands images on as they are, or normalised."""

    def __init__(self, network, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)):
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, x):
        return self.network((x - self.mean) / self.std)


@pytest.fixture
def network():
    network = surgeon.create_model("zoo/shallow2").eval()
    surgeon.models.set_normalization(network, MEAN, STD)
    return network


@pytest.fixture
def images():
    x = torch.rand(12, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return x, torch.arange(12) % 10


@pytest.fixture(params=WRAPPERS)
def wrapped(request, network):
    return WRAPPERS[request.param](network)


def test_facts_are_those_of_the_network_inside(wrapped, network, images):
    assert torch.equal(normalized(images[0], wrapped), normalized(images[0], network))
    assert not torch.equal(normalized(images[0], wrapped), images[0])
    assert (name_of(wrapped), input_size_of(wrapped)) == (name_of(network), input_size_of(network))
    surgeon.models.set_normalization(wrapped, (0.5,) * 3, (0.5,) * 3)
    assert surgeon.models.normalization_of(unwrapped(wrapped)) == ((0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize("around", WRAPPERS.values(), ids=WRAPPERS)
def test_an_evaluation_is_of_the_network_inside(around, network, images, tmp_path):
    cut = surgeon.apply(network, "kap", input_size=(3, 16, 16)).eval()
    alone, inside = (
        assess(model, *images, SETTINGS, tmp_path / place)
        for place, model in (("alone", cut), ("inside", around(cut)))
    )
    assert inside.subject.operations and inside.subject.name == alone.subject.name == "zoo/shallow2"
    for part in ("clean", "worst", "lowest"):
        assert getattr(inside.summary, part) == getattr(alone.summary, part)


def test_no_folder_and_no_file_is_of_a_wrapper(wrapped, tmp_path):
    inside = "_orig_mod" if hasattr(wrapped, "_orig_mod") else "module"
    with pytest.raises(ArgumentError, match=re.escape(f"surgeon.save(model.{inside}, …) takes it")):
        surgeon.save(wrapped, tmp_path / "saved")
    with pytest.raises(ArgumentError, match=re.escape(f"surgeon.export(model.{inside}, …) takes it")):
        surgeon.export(wrapped, tmp_path / "saved.pt2", format="torch-export", input_size=(3, 16, 16))
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_nor_of_torchscript(network, tmp_path):
    traced = torch.jit.trace(network, torch.rand(1, 3, 16, 16))
    with pytest.raises(ArgumentError, match="compiled by TorchScript"):
        surgeon.save(traced, tmp_path / "saved")
    with pytest.raises(ArgumentError, match="compiled by TorchScript"):
        surgeon.export(traced, tmp_path / "saved.pt2", format="torch-export", input_size=(3, 16, 16))


def test_a_training_is_told_by_the_network_inside(wrapped, images):
    settings = Training(epochs=1, batch_size=6)
    with pytest.warns(
        CalibrationWarning, match="does not normalise images, and by the configuration of zoo/shallow2"
    ):
        fit(wrapped, Images(*images), settings=settings, device="cpu", progress=False)


@pytest.mark.parametrize("around", [nn.Sequential, Handing])
def test_a_module_that_hands_images_on_is_told_of(network, images, tmp_path, around):
    words = f"(0|network) in this {around.__name__}, a zoo/shallow2,? "
    with pytest.warns(CalibrationWarning, match=words + "is given pixels"):
        assess(around(network), *images, SETTINGS, tmp_path / "pixels")
    settings = Training(epochs=1, batch_size=6)
    with pytest.warns(CalibrationWarning, match=words.removesuffix(",? ")):
        fit(around(network), Images(*images), settings=settings, device="cpu", progress=False)


def test_a_module_that_normalises_itself_is_not(network, images, tmp_path):
    own = Handing(network, MEAN, STD)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CalibrationWarning)
        itself = assess(own, *images, SETTINGS, tmp_path / "own")
        settings = Training(epochs=1, batch_size=6)
        fit(own, Images(*images), settings=settings, device="cpu", progress=False)
        fit(
            nn.Sequential(network),
            Images(*images),
            None,
            settings,
            normalize=(MEAN, STD),
            device="cpu",
            progress=False,
        )
    assert itself.summary.clean.n == 12


def test_a_library_network_inside(images, tmp_path):
    with pytest.warns(CalibrationWarning, match="model in this Around, a "):
        assess(Around(), images[0].repeat(1, 1, 2, 2), images[1], SETTINGS, tmp_path / "timm")


class Around(nn.Module):
    """Like the wrappers that other libraries write around timm."""

    def __init__(self):
        super().__init__()
        self.model = timm.create_model("test_resnet", num_classes=10)

    def forward(self, x):
        return {"logits": self.model(x)}
