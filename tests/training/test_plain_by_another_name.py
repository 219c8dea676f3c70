"""Settings that would make a training a plain one, while its name says otherwise, are refused or told in one line."""

import pytest
import torch
from torch import nn

import surgeon
from surgeon.data import Images
from surgeon.errors import RecipeError
from surgeon.recipe import Adversary, Training, WeightPerturbation, load_recipe
from surgeon.training import fit
from tests.cli.commandline import invoke

SIZE = (1, 8, 8)


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 2)
    )


@pytest.fixture
def images():
    return Images(torch.rand(8, *SIZE, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 2)


@pytest.mark.parametrize("method", ["fgsm", "fgsm-rs", "n-fgsm", "pgd", "trades", "mart"])
def test_an_adversary_of_no_size_is_refused(method):
    with pytest.raises(RecipeError, match="eps=0 attacks nothing.*adversary=null"):
        Adversary(method=method, eps=0)


@pytest.mark.parametrize(
    ("recipe", "setting", "told"),
    [
        ("at-pgd", "training.adversary.eps=0", "eps=0 attacks nothing"),
        ("mart", "training.adversary.eps=0/255", "eps=0 attacks nothing"),
        ("trades", "training.adversary.beta=0", "beta=0 and method='trades'"),
        ("trades-awp", "training.adversary.beta=0", "beta=0 and method='trades'"),
        ("awp", "training.awp.gamma=0", "training.awp.gamma: Input should be greater than 0"),
    ],
)
def test_so_is_a_loss_of_clean_images_alone(recipe, setting, told):
    with pytest.raises(RecipeError, match=told):
        load_recipe(recipe, [setting])
    code, out, err = invoke("recipes", "show", recipe, "--set", setting)
    assert (code, out, err.count("\n")) == (2, "", 1) and told in err


def test_marts_first_term_alone_is_of_attacked_images_and_so_is_taken():
    assert Adversary(method="mart", beta=0).beta == 0
    with pytest.raises(RecipeError, match="gamma"):
        WeightPerturbation(gamma=0)


@pytest.mark.parametrize("source", ["anl", "canl", "lat", "gaussian"])
def test_noise_layers_that_are_never_on_are_refused(images, source):
    pytest.importorskip("accelerate")
    operation = {"op": "adversarial-noise", "source": source, "num_classes": 2}
    cut = surgeon.apply(network(), operation, input_size=SIZE)
    before = {k: v.clone() for k, v in cut.state_dict().items()}
    with pytest.raises(RecipeError, match="noise_share=0 leaves the network's adversarial noise layers off"):
        fit(cut, images, None, Training(epochs=1, noise_share=0), progress=False)
    assert all(torch.equal(v, before[k]) for k, v in cut.state_dict().items())
    assert fit(network(), images, None, Training(epochs=1, noise_share=0), progress=False)


def test_they_are_refused_before_anything_is_written(tmp_path, monkeypatch):
    pytest.importorskip("accelerate")
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    code, _, err = invoke(
        *(
            "train",
            "anl",
            "resnet18",
            "-o",
            "run",
            "--input-size",
            "1,16,16",
            "--model-arg",
            "channels=[4,4,4,4]",
        ),
        *("--set", "training.noise_share=0", "--set", "training.epochs=1"),
    )
    assert code == 2 and err.splitlines()[-1].startswith("Error: noise_share=0 leaves"), err
    assert not (tmp_path / "run").exists()


def test_layers_that_a_training_does_not_use_are_told_in_one_line(tmp_path, monkeypatch):
    pytest.importorskip("accelerate")
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    code, out, err = invoke(
        *(
            "train",
            "advprop",
            "resnet18",
            "-o",
            "run",
            "--input-size",
            "1,16,16",
            "--model-arg",
            "channels=[4,4,4,4]",
        ),
        *("--set", "training.adversary=null", "--set", "training.epochs=1", "--set", "data.per_class=4"),
    )
    assert code == 0 and out.count("training.adversary is null: they stay as they are") == 1, err


def test_noise_of_no_size_is_told_by_the_plan():
    planned = surgeon.plan(network(), "anl", settings={"adversarial-noise.epsilon": 0}, input_size=SIZE)
    assert ["epsilon=0 adds no noise" in n.text for n in planned.notes] == [True]
