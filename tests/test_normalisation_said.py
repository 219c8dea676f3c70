"""How images are normalised can be said where nothing records it, travels along, and is never said in two ways."""

import json

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import DataError, ModelError
from surgeon.models import normalization_of, set_normalization
from tests.cli.commandline import invoke

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)
SAID = ["--mean", "0.4914,0.4822,0.4465", "--std", "0.247,0.2435,0.2616"]
OTHER = ["--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5"]
SIZE = (3, 16, 16)
NARROW = ["--num-classes", "10", "--input-size", "3,16,16", "--model-arg", "channels=[8,8,8,8]"]


class Own(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)
        )


@pytest.mark.parametrize("name", ["resnet10t", "torchvision/squeezenet1_1", "zoo/cifar_resnet20"])
def test_it_goes_where_the_network_goes(name, tmp_path):
    stock = surgeon.create_model(name, mean=MEAN, std=STD)
    assert normalization_of(stock) == (MEAN, STD)
    assert normalization_of(surgeon.create_model(name)) != (MEAN, STD)
    again = surgeon.load(surgeon.save(stock, tmp_path / "stock"))
    assert normalization_of(again) == (MEAN, STD)
    cut = surgeon.load(surgeon.save(surgeon.apply(again, "noise", input_size=(3, 64, 64)), tmp_path / "cut"))
    for network in (cut, surgeon.fold(cut), surgeon.revert(cut)):
        assert normalization_of(network) == (MEAN, STD)
    assert normalization_of(surgeon.load(tmp_path / "cut", model=surgeon.create_model(name))) == (MEAN, STD)


@pytest.mark.filterwarnings("ignore::surgeon.errors.ArtifactWarning")
def test_a_network_that_no_name_makes_gets_its_folders(tmp_path):
    stock = Own()
    set_normalization(stock, MEAN, STD)
    surgeon.save(surgeon.apply(stock, "noise", input_size=SIZE), tmp_path / "own")
    given = Own()
    assert normalization_of(surgeon.load(tmp_path / "own", model=given)) == (MEAN, STD)
    assert normalization_of(given) is None


def test_torchvisions_weights_say_theirs(monkeypatch, tmp_path):
    from torchvision.models import SqueezeNet1_1_Weights, squeezenet1_1

    state = squeezenet1_1().state_dict()
    monkeypatch.setattr(SqueezeNet1_1_Weights, "get_state_dict", lambda *args, **more: state)
    imagenet = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    made = surgeon.create_model("torchvision/squeezenet1_1", pretrained=True)
    named = surgeon.create_model("torchvision/squeezenet1_1", model_args={"weights": "IMAGENET1K_V1"})
    assert normalization_of(made) == normalization_of(named) == imagenet
    assert normalization_of(surgeon.load(surgeon.save(made, tmp_path / "out"))) == imagenet
    with pytest.raises(ModelError, match=r"pretrained weights says .*0\.485.* and mean=\(0\.5, 0\.5, 0\.5\)"):
        surgeon.create_model("torchvision/squeezenet1_1", pretrained=True, mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"mean": MEAN}, DataError, "std is missing: mean is given"),
        ({"std": STD}, DataError, "mean is missing: std is given"),
        ({"mean": MEAN, "std": (0.2, 0.2)}, DataError, "one number a channel"),
        ({"mean": MEAN, "std": (0.2, 0.2, 0.0)}, DataError, "std above 0"),
        (
            {"mean": (0.5,), "std": (0.5,)},
            ModelError,
            "one number each, and zoo/cifar_resnet20 takes images of 3",
        ),
        ({"mean": (125.3, 123.0, 113.9), "std": (63.0, 62.1, 66.7)}, DataError, "divide them by 255"),
    ],
)
def test_what_is_no_normalisation_is_refused(given, error, text):
    with pytest.raises(error, match=text):
        surgeon.create_model("zoo/cifar_resnet20", **given)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (["--mean", "0.5;0.5;0.5", "--std", "0.5,0.5,0.5"], "'0.5;0.5;0.5' is not one number per channel"),
        (["--mean", "0.5,0.5,0.5"], "--std is missing: --mean was given"),
        (["--mean", "125.3,123.0,113.9", "--std", "63,62.1,66.7"], "divide them by 255"),
    ],
)
def test_the_command_line_says_so_in_its_words(given, text, tmp_path):
    code, _, err = invoke("apply", "kap", "zoo/cifar_resnet20", *given, "-o", tmp_path / "out")
    assert code != 0 and text in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["apply", "plan", "evaluate", "train"])
def test_a_folder_and_an_option_agree_or_are_refused(command, tmp_path):
    for package in ("accelerate", "sklearn", "torchattacks"):
        pytest.importorskip(package)
    folder = tmp_path / "net"
    code, _, err = invoke("apply", "noise", "resnet18", *NARROW, *SAID, "-o", folder)
    assert code == 0, err
    assert json.loads((folder / "config.json").read_text())["pretrained_cfg"]["mean"] == list(MEAN)
    recipe = {"apply": ["kap"], "plan": ["kap"], "train": ["plain"]}.get(command, [])
    more = {
        "apply": ["--stack", "-o", tmp_path / "out"],
        "plan": ["--stack"],
        "train": ["--data", "digits", "--input-size", "3,16,16", "--epochs", "1", "-o", tmp_path / "out"],
        "evaluate": ["--data", "digits", "--suite", "basic", "--samples", "8", "--set", "attacks=[fgsm]"],
    }[command]
    more += ["-o", tmp_path / "out"] if command == "evaluate" else []
    code, _, err = invoke(command, *recipe, folder, *more, *OTHER)
    assert code != 0
    assert f"{folder} says that images are normalised by --mean 0.4914,0.4822,0.4465 --std" in err
    assert "--mean 0.5,0.5,0.5 --std 0.5,0.5,0.5 says otherwise" in err
    assert not (tmp_path / "out").exists()
    code, _, err = invoke(command, *recipe, folder, *more, *SAID)
    assert code == 0, err


@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_of_torchvisions_for_said_channels_comes_back(channels, tmp_path):
    made = surgeon.create_model("torchvision/squeezenet1_1", in_chans=channels)
    again = surgeon.load(surgeon.save(made, tmp_path / "net"))
    assert surgeon.models.in_channels_of(again) == channels


def test_what_is_said_is_what_is_trained_on(tmp_path):
    for package in ("accelerate", "sklearn", "torchattacks"):
        pytest.importorskip(package)
    command = ["train", "plain", "torchvision/squeezenet1_1", "--input-size", "3,32,32", "--epochs", "1"]
    command += ["--set", "training.batch_size=512", "-o", tmp_path / "run"]
    code, _, err = invoke(*command, *SAID)
    assert code == 0, err
    assert normalization_of(surgeon.load(tmp_path / "run" / "trained")) == (MEAN, STD)
    code, _, err = invoke(*command)
    assert code != 0 and "a run with other settings (mean, std)" in err
    code, _, err = invoke("verify", tmp_path / "run")
    assert code == 0, err


def test_what_is_said_is_what_is_evaluated(tmp_path):
    """Of a folder that says nothing, and of a file of weights: whose default it then replaces."""
    for package in ("accelerate", "sklearn", "torchattacks", "pyarrow"):
        pytest.importorskip(package)
    from surgeon.evaluation import read_assessment

    torch.manual_seed(0)
    made = surgeon.create_model(
        "resnet18", num_classes=10, input_size=SIZE, model_args={"channels": [8, 8, 8, 8]}
    ).eval()
    torch.save(made.state_dict(), tmp_path / "own.pth")
    how = [
        "--data",
        "digits",
        "--suite",
        "basic",
        "--samples",
        "8",
        "--set",
        "attacks=[fgsm]",
        "--no-pictures",
    ]
    weights = ["resnet18", "--weights", tmp_path / "own.pth", *NARROW]
    surgeon.save(surgeon.create_model("torchvision/squeezenet1_1", num_classes=10), tmp_path / "bare")
    for target in (weights, [tmp_path / "bare", "--input-size", "3,32,32"]):
        out = tmp_path / f"{len(target)}"
        code, _, err = invoke("evaluate", *target, *how, *SAID, "-o", out)
        assert code == 0, err
        found = read_assessment(out)
        assert (found.subject.mean, found.subject.std) == (MEAN, STD)
        assert not [n for n in found.notes if "is not recorded" in n and "normalised" in n]
        code, _, err = invoke("evaluate", *target, *how, *OTHER, "-o", out)
        assert code != 0 and "other settings" in err
    code, _, err = invoke("verify", out)
    assert code == 0, err
    code, _, err = invoke("evaluate", *weights, *how, "-o", tmp_path / "unsaid")
    (note,) = [
        n
        for n in read_assessment(tmp_path / "unsaid").notes
        if "normalised were" in n or "is not recorded" in n
    ]
    assert note.endswith("as resnet18 is configured; --mean and --std say otherwise")


def test_a_conversion_is_calibrated_and_measured_so(tmp_path):
    pytest.importorskip("sklearn")
    made = surgeon.create_model(
        "resnet18", num_classes=10, input_size=SIZE, model_args={"channels": [16, 16, 16, 16]}
    )
    torch.save(made.state_dict(), tmp_path / "own.pth")
    command = ["convert", "kap", tmp_path / "own.pth", "--model", "resnet18", "--num-classes", "10"]
    command += ["--input-size", "3,16,16", "--model-arg", "channels=[16,16,16,16]", "--data", "digits"]
    command += ["--calibration-count", "32", "--samples", "16", "--seed", "0", "-o", tmp_path / "out"]
    code, _, err = invoke(*command, *SAID)
    assert code == 0, err
    assert normalization_of(surgeon.load(tmp_path / "out")) == (MEAN, STD)
    code, _, err = invoke(*command, *OTHER)
    assert code != 0 and "(mean, std)" in err


def test_a_normalisation_that_a_training_did_without_is_a_warning(tmp_path):
    for package in ("accelerate", "sklearn", "torchattacks", "pyarrow"):
        pytest.importorskip(package)
    run, out = tmp_path / "run", tmp_path / "evaluation"
    given = ["--set", "training.epochs=1", "--input-size", "1,16,16"]
    code, _, error = invoke("train", "plain", "zoo/shallow1", "--data", "digits", *given, "-o", run)
    assert code == 0, error
    attack = ["--attack", "fgsm", "--eps", "0.1", "--samples", "12", "--set", "adaptive=false"]
    code, said, error = invoke(
        "evaluate", run, *attack, "--set", "diagnostics=0", "--mean", "0.5", "--std", "0.25", "-o", out
    )
    assert code == 0, error
    notes = json.loads((out / "evaluation.json").read_text())["notes"]
    assert [n for n in notes if n.startswith("warning: ") and "trained without a normalisation" in n], notes


def test_both_of_timms_names_of_a_configuration_say_it(tmp_path):
    """`default_cfg`, by which older code of timm's reads the mean, kept what the name of the architecture has."""
    stock = surgeon.create_model("resnet10t", num_classes=3, input_size=(3, 32, 32))
    assert stock.default_cfg["mean"] == stock.pretrained_cfg["mean"]
    set_normalization(stock, MEAN, STD)
    assert stock.default_cfg["mean"] == stock.pretrained_cfg["mean"] == MEAN
    loaded = surgeon.load(surgeon.save(stock, tmp_path / "said"))
    assert loaded.default_cfg["mean"] == loaded.pretrained_cfg["mean"] == MEAN
