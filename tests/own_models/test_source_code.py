"""Networks of one's own whose code changes while their weights stay: folders and trainings know it."""

import importlib
import sys
import warnings

import pytest
import torch

import surgeon
from surgeon.errors import ArtifactError, ArtifactWarning
from surgeon.models.source_code import changed_code, code_of
from surgeon.pipeline.verifying import verify_folder
from surgeon.recipe import Training
from surgeon.training import fit

NETS = """
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 16, 3), nn.Linear(16, 2)

    def forward(self, x):
        return self.head(self.conv(x).{name}().mean((2, 3)))
"""


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Write `mynets.py` with another activation, and import it anew."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(name, comment=""):
        (tmp_path / "mynets.py").write_text(comment + NETS.format(name=name))
        sys.modules.pop("mynets", None)
        importlib.invalidate_caches()
        return importlib.import_module("mynets").Net

    yield write
    sys.modules.pop("mynets", None)


@pytest.mark.parametrize("recipe", [None, "kap"])
@pytest.mark.parametrize("by_name", [True, False])
def test_a_folder_tells_that_code_has_changed(written, tmp_path, recipe, by_name):
    written("relu")
    network = surgeon.create_model("mynets:Net")
    if recipe:
        network = surgeon.apply(network, recipe, input_size=(1, 8, 8))
    surgeon.save(network, tmp_path / "net")

    def load(kind):
        given = {"allow_code": ["mynets"]} if by_name else {"model": kind()}
        return surgeon.load(tmp_path / "net", **given)

    images = torch.rand(2, 1, 8, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(load(written("relu", "# a word more\n\n"))(images), network.eval()(images))
    with pytest.warns(ArtifactWarning, match="code of mynets has changed since"):
        load(written("tanh"))


def test_verify_says_that_code_has_changed(written, tmp_path):
    written("relu")
    network = surgeon.apply(surgeon.create_model("mynets:Net"), "kap", input_size=(1, 8, 8))
    surgeon.save(network, tmp_path / "net")
    checks = {c.name: c for c in verify_folder(tmp_path / "net", allow_code=["mynets"])}
    assert checks["code"].ok and checks["code"].detail == "mynets as at saving"
    written("tanh")
    with pytest.warns(ArtifactWarning, match="code of mynets has changed"):
        checks = {c.name: c for c in verify_folder(tmp_path / "net", allow_code=["mynets"])}
    assert checks["code"].ok is False and "the code of mynets has changed" in checks["code"].detail


def test_a_training_is_not_gone_on_with_in_other_code(written, tmp_path):
    images = torch.rand(16, 1, 8, 8)
    labels = torch.arange(16) % 2
    data = torch.utils.data.TensorDataset(images, labels)
    settings = Training(epochs=1, batch_size=8)
    torch.manual_seed(0)
    fit(written("relu")(), data, None, settings, folder=tmp_path / "run")
    torch.manual_seed(0)
    fit(written("relu")(), data, None, settings, folder=tmp_path / "run")
    with pytest.raises(ArtifactError, match="code of mynets has changed; put it back"):
        fit(written("tanh")(), data, None, settings, folder=tmp_path / "run")


PACKAGE = {
    "__init__": "",
    "consts": "SCALE = {scale}\nOTHER = {other}\n",
    "acts": "import torch\n\n\ndef act(x):\n    return deeper(x)\n\n\ndef deeper(x):\n    return torch.{name}(x)\n",
    "passed": "from .acts import {passed} as act\n",
    "nets": """
from torch import nn

from . import passed
from .consts import SCALE


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)

    def forward(self, x):
        return passed.act(self.conv(x) * SCALE)


def unrelated():
    return {other}
""",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Write the package `ownpk` with other settings, and import it anew."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "ownpk").mkdir()

    def forget():
        for name in [n for n in sys.modules if n.partition(".")[0] == "ownpk"]:
            del sys.modules[name]

    def write(**settings):
        for name, text in PACKAGE.items():
            for key, value in {"scale": 1.0, "other": 0, "name": "relu", "passed": "act", **settings}.items():
                text = text.replace(f"{{{key}}}", str(value))
            (tmp_path / "ownpk" / f"{name}.py").write_text(text)
        forget()
        importlib.invalidate_caches()
        return code_of(importlib.import_module("ownpk.nets").Net())

    yield write
    forget()


def test_what_the_classes_use_counts_and_nothing_else(package):
    before = package()
    assert set(before) == {"ownpk.nets", "ownpk.consts", "ownpk.acts", "ownpk.passed"}
    assert changed_code(before, package(other=5)) == []
    assert changed_code(before, package(name="tanh")) == ["ownpk.acts"]
    assert changed_code(before, package(scale=2.0)) == ["ownpk.consts"]
    assert changed_code(before, package(passed="deeper")) == ["ownpk.acts", "ownpk.passed"]


def test_installed_packages_have_no_code_of_ones_own():
    assert code_of(surgeon.create_model("resnet18")) == {}
    assert changed_code({"a": "1"}, {}) == []  # nothing is known of a notebook


def test_the_same_source_under_another_name_is_the_same():
    assert changed_code({"a": "1", "b": "2"}, {"c": "1", "b": "2"}) == []
    assert changed_code({"a": "1", "b": "2"}, {"c": "3", "b": "2"}) == ["a"]
    assert changed_code({"a": "1", "b": "2"}, {"a": "2", "b": "1"}) == ["a", "b"]
