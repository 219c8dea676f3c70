"""Networks of one's own whose code changes while their weights stay: folders and trainings know it."""

import importlib
import sys
import warnings

import pytest
import torch

import surgeon
from surgeon.errors import ArtifactError, ArtifactWarning
from surgeon.models.source_code import changed_code, code_of
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


def test_installed_packages_have_no_code_of_ones_own():
    assert code_of(surgeon.create_model("resnet18")) == {}
    assert changed_code({"a": "1", "b": "2"}, {"a": "1"}) == []
