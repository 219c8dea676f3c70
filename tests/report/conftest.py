"""Runs for reports: small networks that read the digits, evaluated cheaply, each in a folder of its own."""

import shutil

import pytest
import torch
from torch import nn

import surgeon
from surgeon.data import digits
from tests.sensitivity import in_float64

SIZE = (1, 8, 8)


class Rounded(nn.Module):
    """Rounds the image: the network behind it has no gradients, and attacks on it cannot be believed."""

    def forward(self, x):
        return (x * 3).round() / 3


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 16, 10),
    )


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Folders by name: stock (all parts), kap and defective (rewritten; no diagnostics), rounded (refused)."""
    pytest.importorskip("torchattacks")
    pytest.importorskip("scipy")
    pytest.importorskip("pyarrow")
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    from surgeon.evaluation import assess
    from surgeon.recipe import Evaluation, Training
    from surgeon.training import fit

    torch.manual_seed(0)
    sets, folder = digits(8), tmp_path_factory.mktemp("runs")
    x, y = sets["test"].x[:40], sets["test"].y[:40]
    names = [str(k) for k in range(10)]

    def trained(model):
        with in_float64(model):  # the same network on every processor
            fit(model, sets["train"], None, Training(epochs=2, batch_size=64, lr=0.05))
        return model.eval()

    def go(name, model, sources=None, **settings):
        given = {"suite": "quick", "eps": 8 / 255, "pictures": False, "diagnostics": 40, **settings}
        made = {
            "command": ["surgeon", "evaluate", "a folder"],
            "versions": {"torch": "2"},
            "python": "3",
            "machine": "this",
        }
        assess(
            model,
            x,
            y,
            Evaluation(**given),
            folder / name,
            name=name,
            sources=sources,
            class_names=names,
            made=made,
            data={"source": "digits", "split": "test"},
        )

    stock = trained(network())
    go(
        "stock",
        stock,
        beyond=True,
        pictures=True,
        keep=True,
        certify=(0.25,),
        certify_samples=8,
        certify_draws=200,
        gaussian=(0.1, 0.3),
        uniform=(0.5,),
        patches=(2, 4),
    )
    go("kap", trained(surgeon.apply(network(), "kap", input_size=SIZE)), {"stock": stock})
    go("defective", trained(surgeon.apply(network(), "defective", input_size=SIZE)), diagnostics=0)
    go("rounded", nn.Sequential(Rounded(), *stock).eval())
    return {p.name: p for p in folder.iterdir()}


@pytest.fixture
def copied(runs, tmp_path):
    """copied(name, to): a run's folder under another name, to be changed."""
    return lambda name, to: shutil.copytree(runs[name], tmp_path / to)


@pytest.fixture(scope="session")
def pages(runs, tmp_path_factory):
    """The pages of one run and of several, by name."""
    from surgeon.report import report

    folder = tmp_path_factory.mktemp("pages")
    chosen = {
        "one": ["stock"],
        "bare": ["defective"],
        "refused": ["rounded"],
        "all": ["stock", "kap", "defective", "rounded"],
    }
    return {name: report([runs[r] for r in of], folder / f"{name}.html") for name, of in chosen.items()}
