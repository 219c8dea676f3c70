"""What somebody meets who tries things out: errors that name the right thing, and work that shows itself."""

import subprocess
import sys
import warnings

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import ArtifactError, ArtifactWarning, SurgeonError
from surgeon.progress import Lines, shown_by, step, tell
from tests.cli.commandline import invoke


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out" / "c21").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        "evaluate {} -o x",
        "train plain {} -o x",
        "run plain {} -o x",
        "doctor {}",
        "inspect {}",
        "plan kap {}",
        "apply kap {} -o x",
        "fold {} -o x",
        "revert {} -o x",
        "export {} -o x.onnx",
        "push {} a/b --dry-run",
        "report {} -o x.html",
        "verify {}",
    ],
)
def test_a_missing_folder_is_called_missing_by_every_command(here, command):
    pytest.importorskip("accelerate")
    code, _, err = invoke(*command.format("out/c20").split())
    assert code and ("nothing is there" in err or "is not there" in err), err
    assert "valid:" not in err and "which images" not in err and not (here / "x").exists()


def test_a_path_is_told_what_lies_beside_it_and_a_repository_how_it_is_written(here):
    assert "did you mean 'out/c21'?" in invoke("doctor", "out/c20")[2]
    err = invoke("doctor", "nobody/qqqq")[2]
    assert "'hf-hub:nobody/qqqq'" in err and "valid:" not in err
    assert "did you mean 'resnet18'" in invoke("doctor", "timm/resnett18")[2]


@pytest.mark.parametrize(
    "name", ["resnet18", "torchvision/resnet18", "zoo/cifar_resnet20", "vit_tiny_patch16_224"]
)
def test_a_library_network_is_made_for_the_channels_of_its_size(name):
    size = (1, 224, 224) if "vit" in name else (1, 32, 32)
    torch.manual_seed(5)
    model = surgeon.create_model(name, input_size=size, num_classes=4).eval()
    assert model(torch.zeros(1, *size)).shape == (1, 4)
    torch.manual_seed(5)
    said = surgeon.create_model(name, input_size=size, num_classes=4, in_chans=1).eval()
    for key, value in said.state_dict().items():
        assert torch.equal(value, model.state_dict()[key]), key
    assert surgeon.create_model(name, num_classes=4, in_chans=3, input_size=(3, *size[1:]))(
        torch.zeros(2, 3, *size[1:])
    ).shape == (2, 4)


def test_channels_that_contradict_the_size_are_an_error():
    with pytest.raises(surgeon.SurgeonError, match="in_chans=3 contradicts the input size"):
        surgeon.create_model("resnet18", in_chans=3, input_size=(1, 32, 32))
    given = surgeon.create_model("resnet18", model_args={"in_chans": 4}, input_size=(1, 32, 32))
    assert surgeon.models.in_channels_of(given) == 4


@pytest.mark.parametrize("command", ["plan kap", "inspect", "doctor", "apply kap -o cut"])
def test_commands_take_gray_images_as_training_does(here, command):
    verb, *rest = command.split()
    code, _, err = invoke(verb, *rest, "zoo/cifar_resnet20", "--input-size", "1,16,16")
    assert "channels" not in err and (code == 0 or verb == "doctor"), err
    if verb == "apply":
        assert surgeon.load("cut")(torch.zeros(1, 1, 16, 16)).shape == (1, 10)


def test_a_saved_network_keeps_the_channels_of_its_size(here):
    model = surgeon.create_model(
        "resnet18", input_size=(1, 32, 32), model_args={"channels": [8, 8, 8, 8]}
    ).eval()
    x = torch.rand(2, 1, 32, 32)
    assert torch.equal(surgeon.load(surgeon.save(model, "gray"))(x), model(x))


def test_own_code_is_told_to_build_for_its_channels(here, monkeypatch):
    (here / "mine.py").write_text(
        "from torch import nn\ndef net(): return nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16))\n"
    )
    monkeypatch.syspath_prepend(here)
    code, _, err = invoke("plan", "kap", "mine:net", "--input-size", "1,16,16")
    assert code == 2 and "write --input-size 3,16,16, or build it for them: --in-chans 1" in err


@pytest.mark.parametrize("size, wanted", [((28, 28), (1, 28, 28)), (28, (1, 28, 28))])
def test_a_size_without_channels_is_told_those_of_the_network(size, wanted):
    gray = nn.Sequential(nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16))
    with pytest.raises(SurgeonError) as told:
        surgeon.apply(gray, "kap", input_size=size)
    assert f"write input_size={wanted}" in str(told.value)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16)

    def forward(self, x):
        return self.norm(self.conv(x))


def test_an_own_network_says_how_it_loads_when_it_is_saved_and_when_it_is_not_given(tmp_path):
    cut = surgeon.apply(Net(), "kap", input_size=(1, 8, 8)).eval()
    with pytest.warns(
        ArtifactWarning,
        match=r"Net is of own code.*surgeon\.load\(folder, model=…\) alone.*package\.module:factory",
    ):
        surgeon.save(cut, tmp_path / "net")
    with pytest.raises(ArtifactError) as told:
        surgeon.load(tmp_path / "net")
    assert "model=Net(…)" in str(told.value) and "package.module:factory" in str(told.value)
    assert "did you mean" not in str(told.value) and "unknown model" not in str(told.value)
    code, _, err = invoke("doctor", tmp_path / "net")
    assert code == 2 and "model=Net(…)" in err and "did you mean" not in err
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(surgeon.load(tmp_path / "net", model=Net())(x), cut(x))


def test_a_network_by_name_is_saved_without_a_word(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", ArtifactWarning)
        surgeon.save(surgeon.create_model("zoo/lenet5"), tmp_path / "a")


def test_weights_of_another_network_are_called_so_first(tmp_path):
    torch.save(surgeon.create_model("zoo/cifar_resnet20").state_dict(), tmp_path / "r20.pth")
    other = surgeon.create_model("resnet18", num_classes=10)
    with pytest.raises(
        ArtifactError,
        match=r"does not fit ResNet: it is probably of another network, as \d+ of 122 tensors fit; ",
    ):
        surgeon.load_weights(other, tmp_path / "r20.pth")
    torch.save({k: v for k, v in other.state_dict().items() if k != "fc.bias"}, tmp_path / "nearly.pth")
    with pytest.raises(ArtifactError, match="does not fit ResNet: 1 missing: fc.bias"):
        surgeon.load_weights(other, tmp_path / "nearly.pth")


@pytest.mark.parametrize("command", ["plan", "apply", "train", "run", "convert", "evaluate"])
def test_a_wrong_recipe_is_told_before_torch_is_imported(command):
    args = [
        command,
        *(["kapp", "resnet18"] if command != "evaluate" else ["kap"]),
        *(["-o", "x"] if command != "plan" else []),
    ]
    code = f"import sys\nfrom surgeon.cli import main\ntry: main({args!r})\nfinally: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and ("did you mean 'kap'" in done.stderr or "is a recipe" in done.stderr)
    assert done.stdout.strip() == "False"


def test_a_part_between_others_keeps_its_own_time(capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("surgeon.progress.time.monotonic", lambda: clock[0])
    lines = Lines("cut")
    with shown_by(lines), step("start lstsq"):
        for done in range(3):
            tell("layers", done, 2)
            clock[0] += 4
    tell("nobody looks on", 0, 1)
    assert capsys.readouterr().err.splitlines() == [
        "cut: start lstsq",
        "cut: layers, 2 in all",
        "cut: layers: 2 of 2, 8 s",
        "cut: start lstsq: done, 12 s",
    ]


def test_a_training_and_an_evaluation_say_which_images_they_take(here):
    pytest.importorskip("accelerate")
    pytest.importorskip("sklearn")
    code, _, err = invoke(
        "train",
        "plain",
        "zoo/lenet5",
        "--input-size",
        "1,28,28",
        "--epochs",
        1,
        "--batch-size",
        256,
        "-o",
        "run",
    )
    assert code == 0, err
    assert (
        "run: images: scikit-learn's scanned digits: 1,077 to train on, 360 for validation, 360 for testing"
        in err
    )
    given = ["--suite", "basic", "--samples", 10, "--set", "steps=1", "--set", "diagnostics=0"]
    code, _, err = invoke("evaluate", "run", *given, "-o", "e")
    assert code == 0 and "run: images: scikit-learn's scanned digits: 10 of the test split" in err, err
