"""RobustBench's networks as MODEL: a stand-in for its package, weights that the tests write, and no download."""

import importlib
import sys
import types
from enum import Enum
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import nn

import surgeon
from surgeon.cli import group
from surgeon.errors import ArtifactError, MissingPackageError, ModelError
from surgeon.models import input_size_of, list_models, name_of, normalization_of, num_classes_of
from surgeon.models import robustbench as zoo
from surgeon.models.pixels import normalized
from surgeon.pipeline.verifying import verify_folder

NAME = "robustbench:cifar10/Linf/Small2020"


class _Dataset(Enum):
    cifar_10 = "cifar10"
    imagenet = "imagenet"


class _Threat(Enum):
    Linf = "Linf"
    L2 = "L2"


class Small(nn.Module):
    """Normalises inside, and has a configuration of timm's kind that says how, as RobustBench's XCiT have."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mu", torch.full((1, 3, 1, 1), 0.5))
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.fc = nn.Linear(16, 10)
        self.pretrained_cfg = {"mean": (0.1, 0.2, 0.3), "std": (0.2, 0.2, 0.2), "input_size": (3, 32, 32)}

    def forward(self, x):
        return self.fc(self.conv((x - self.mu) / 0.25).relu().mean((2, 3)))


def _loads(model_name, model_dir="./models", dataset=_Dataset.cifar_10, threat_model=_Threat.Linf):
    """What `robustbench.utils.load_model` does, in short."""
    utils = sys.modules["robustbench.utils"]
    entry = MODELS[_Dataset(dataset)][_Threat(threat_model)][model_name]
    model = entry["model"]()
    if entry["gdrive_id"] is None:
        torch.hub.load_state_dict_from_url("https://nowhere.invalid/of_torch-hub.pth")
    files = [Path(model_dir) / _Dataset(dataset).value / _Threat(threat_model).value / f"{model_name}.pt"]
    if isinstance(entry["gdrive_id"], list):
        files = [Path(f"{files[0]}_m{i}.pt") for i in range(len(entry["gdrive_id"]))]
    for part, file in zip(model if len(files) > 1 else [model], files, strict=True):
        if not file.is_file():
            utils.download_gdrive("id", file)
        state = torch.load(file, map_location="cpu")
        part.load_state_dict(state.get("state_dict", state))
    return model.eval()


class Pair(nn.ModuleList):
    def __init__(self):
        super().__init__([Small(), Small()])

    def forward(self, x):
        return self[0](x) + self[1](x)


MODELS = {
    _Dataset.cifar_10: {
        _Threat.Linf: {
            "Small2020": {"model": Small, "gdrive_id": "abc"},
            "Twice2021": {"model": Small, "gdrive_id": "abc"},
            "Pair2020": {"model": Pair, "gdrive_id": ["a", "b"]},
            "Cached2022": {"model": Small, "gdrive_id": None},
        },
        _Threat.L2: {"Twice2021": {"model": Small, "gdrive_id": "abc"}},
    },
    _Dataset.imagenet: {},
}


@pytest.fixture
def package(monkeypatch, tmp_path):
    def downloads(*args, **kwargs):
        raise AssertionError("a download was begun")

    modules = {n: types.ModuleType(n) for n in ("robustbench", "robustbench.model_zoo", "robustbench.utils")}
    modules["robustbench.model_zoo"].model_dicts = MODELS
    modules["robustbench.utils"].load_model = _loads
    modules["robustbench.utils"].download_gdrive = downloads
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.hub, "download_url_to_file", downloads)
    return modules


@pytest.fixture
def weights(package, tmp_path):
    """Weights of a small network, where RobustBench looks for them."""
    torch.manual_seed(5)
    network, file = Small(), tmp_path / "models/cifar10/Linf/Small2020.pt"
    file.parent.mkdir(parents=True)
    torch.save({"state_dict": network.state_dict()}, file)
    return network.eval()


def test_a_network_has_the_weights_at_hand_and_takes_pixels_as_they_are(weights):
    network = surgeon.create_model(NAME)
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(network(x), weights(x))
    assert (name_of(network), input_size_of(network), num_classes_of(network)) == (NAME, (3, 32, 32), 10)
    assert normalization_of(network) is None
    assert torch.equal(normalized(x, network), x)


def test_a_short_name_means_the_only_network_so_called(weights):
    assert name_of(surgeon.create_model("robustbench:Small2020")) == NAME
    with pytest.raises(ModelError, match="one of several: .*Linf/Twice2021, .*L2/Twice2021"):
        surgeon.create_model("robustbench:Twice2021")


def test_another_folder_of_weights_is_an_argument_that_no_folder_keeps(package, tmp_path):
    file = tmp_path / "elsewhere/cifar10/Linf/Small2020.pt"
    file.parent.mkdir(parents=True)
    torch.save(Small().state_dict(), file)
    network = surgeon.create_model(NAME, model_args={"model_dir": str(tmp_path / "elsewhere")})
    cut = surgeon.apply(network, "input-noise", input_size=(3, 32, 32))
    folder = surgeon.save(cut, tmp_path / "cut")
    assert "elsewhere" not in (folder / "config.json").read_text()


@pytest.mark.parametrize(
    "name, said",
    [
        ("robustbench:Smal2020", "did you mean 'Small2020'"),
        ("robustbench:cifar10/Linf/Smal2020", "did you mean 'cifar10/Linf/Small2020'"),
        ("robustbench:cifar10/Linf", "write robustbench:DATASET/THREAT/NAME"),
        ("robustbench:cifar10/L2/Small2020", "no 'cifar10/L2/Small2020'"),
    ],
)
def test_unknown_names_are_told_with_the_nearest(package, name, said):
    with pytest.raises(ModelError, match=said):
        surgeon.create_model(name)


@pytest.mark.parametrize(
    "name, file",
    [
        ("cifar10/Linf/Small2020", "models/cifar10/Linf/Small2020.pt"),
        ("cifar10/L2/Twice2021", "models/cifar10/L2/Twice2021.pt"),
        ("Pair2020", "models/cifar10/Linf/Pair2020.pt_m0.pt"),
        ("Cached2022", "of_torch-hub.pth"),
    ],
)
def test_absent_weights_are_told_with_their_path_and_nothing_is_made_or_downloaded(
    package, tmp_path, name, file, capsys
):
    with pytest.raises(ArtifactError, match="nothing is downloaded") as told:
        surgeon.create_model(f"robustbench:{name}")
    assert file in str(told.value) and "\n" not in str(told.value)
    assert not [*tmp_path.iterdir()]
    assert not capsys.readouterr().out


def test_the_second_file_of_an_ensemble_is_told_too(package, tmp_path):
    torch.save(Small().state_dict(), tmp_path / "one")
    file = tmp_path / "models/cifar10/Linf/Pair2020.pt_m0.pt"
    file.parent.mkdir(parents=True)
    (tmp_path / "one").rename(file)
    with pytest.raises(ArtifactError, match=r"Pair2020\.pt_m1\.pt"):
        surgeon.create_model("robustbench:Pair2020")


class Evil:
    def __reduce__(self):
        return Path.touch, (Path("executed"),)


def test_code_in_a_file_of_weights_is_not_executed(weights, tmp_path):
    torch.save({"state_dict": Evil()}, tmp_path / "models/cifar10/Linf/Small2020.pt")
    with pytest.raises(ArtifactError, match="nothing in it was executed"):
        surgeon.create_model(NAME)
    assert not (tmp_path / "executed").exists()


def test_weights_of_another_network_are_told(weights, tmp_path):
    torch.save({"other": torch.ones(1)}, tmp_path / "models/cifar10/Linf/Small2020.pt")
    with pytest.raises(ArtifactError, match=r"cannot be loaded from .*Missing key"):
        surgeon.create_model(NAME)


@pytest.mark.parametrize(
    "given, said",
    [
        ({"num_classes": 7}, "num_classes=10, and 7"),
        ({"in_chans": 1}, "in_chans=3, and 1"),
        ({"input_size": (1, 32, 32)}, "3 channels, not 1"),
        ({"weights": "mine.pt"}, "has weights of its own"),
        ({"model_args": {"width": 3}}, "takes no argument 'width'"),
        ({"mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)}, "normalises them itself"),
    ],
)
def test_what_it_is_not_is_refused(weights, given, said):
    with pytest.raises(ModelError, match=said):
        surgeon.create_model(NAME, **given)


def test_a_cut_network_is_saved_loaded_verified_and_folded_without_the_weights_of_robustbench(
    weights, tmp_path
):
    x = torch.rand(2, 3, 32, 32)
    cut = surgeon.apply(surgeon.create_model(NAME), "kap").eval()
    folder = surgeon.save(cut, tmp_path / "cut")
    (tmp_path / "models/cifar10/Linf/Small2020.pt").unlink()
    again = surgeon.load(folder)
    assert torch.equal(again(x), cut(x)) and name_of(again) == NAME
    assert normalization_of(again) is None
    assert not [c for c in verify_folder(folder) if c.ok is not True]
    folded = surgeon.save(surgeon.fold(again), tmp_path / "folded")
    torch.testing.assert_close(surgeon.load(folded)(x), cut(x), atol=1e-5, rtol=1e-5)


def test_the_command_line_names_it(weights, tmp_path):
    done = CliRunner().invoke(group, ["apply", "kap", NAME, "-o", "out"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    listed = CliRunner().invoke(group, ["models", "robustbench:*Linf*"])
    assert NAME in listed.output.split()


def test_it_is_attacked_on_its_pixels(weights):
    from surgeon.evaluation import evaluated

    subject, x = evaluated(surgeon.create_model(NAME), torch.rand(3, 3, 32, 32)), torch.rand(3, 3, 32, 32)
    assert torch.equal((subject[0] if isinstance(subject, tuple) else subject)(x), weights(x))


def test_an_absent_package_is_told(monkeypatch):
    for name in [n for n in sys.modules if n.partition(".")[0] == "robustbench"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(zoo, "_installed", lambda: None)
    monkeypatch.setattr(sys, "meta_path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    with pytest.raises(MissingPackageError, match="need its package: pip install git"):
        surgeon.create_model(NAME)


def test_a_package_that_cannot_be_imported_is_told(package, monkeypatch, tmp_path):
    for name in [n for n in sys.modules if n.partition(".")[0] == "robustbench"]:
        monkeypatch.delitem(sys.modules, name)
    broken = tmp_path / "robustbench"
    broken.mkdir()
    (broken / "__init__.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    with pytest.raises(MissingPackageError, match="cannot be imported .*a_package_that_is_not_there"):
        list_models("robustbench:*")
