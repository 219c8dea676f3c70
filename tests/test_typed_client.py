"""A program that uses surgeon, as strict mypy sees it: the package says that it is typed, and its types say
what they are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import surgeon

pytest.importorskip("mypy", reason="mypy is not installed")

CLIENT = '''
"""A program of somebody else's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, assert_type

import torch
from torch import Generator, Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import surgeon
from surgeon.data import Images
from surgeon.edits import Edit, Plan, Traits
from surgeon.errors import DataError, SurgeonError
from surgeon.evaluation import Assessment, Attack, assess
from surgeon.methods.base import Context, Cut, FoldContext, Proposal
from surgeon.recipe import Evaluation, Training
from surgeon.selection import Site
from surgeon.training import adversarial_noise, anneal, fit, remap
from surgeon.verification import demand


class Doubled(surgeon.Operation):
    """Twice the output of each convolution."""

    op: Literal["doubled"] = "doubled"
    factor: float = 2.0

    def propose(self, sites: Sequence[Site], context: Context) -> Proposal:
        chosen = self.chosen(sites)
        edits = [Edit(site=s.name, operation=self.op, layer=f"{s.name}.doubled", traits=Traits()) for s in chosen.sites]
        return Proposal(tuple(edits), chosen.passed_over)

    def build(self, edit: Edit, module: nn.Module | None, generator: Generator) -> Cut:
        return Cut(layer=Twice(self.factor))

    def fold(self, edit: Edit, context: FoldContext) -> nn.Module | None:
        return None


class Twice(nn.Module):
    """x times a factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def cut(network: nn.Module, images: Tensor, folder: Path) -> Plan:
    recipe = surgeon.load_recipe("kap", ["kap.kernel_size=5"])
    made = surgeon.plan(network, recipe, input_size=(3, 32, 32))
    assert_type(made, Plan)
    model = surgeon.apply(network, made, calibration=images)
    assert_type(model, surgeon.RewrittenModule)
    assert_type(model.surgery, Plan)
    assert_type(surgeon.surgery_of(network), Plan | None)
    demand(surgeon.verify(network, model))
    surgeon.apply(network, ["kap", Doubled(factor=3.0), folder / "own.yaml", {"op": "noise"}], seed=1)
    labelled = TensorDataset(images, torch.zeros(len(images)))
    surgeon.apply(network, folder / "own.yaml", calibration=DataLoader(labelled))
    surgeon.apply(network, "kap", calibration=labelled)
    saved = surgeon.save(model, folder / "cut")
    assert_type(saved, Path)
    again = surgeon.load(saved)
    if isinstance(again, surgeon.RewrittenModule):
        print(again.surgery.effect, [edit.site for edit in again.surgery.edits])
    assert_type(surgeon.fold(model), nn.Module)
    assert_type(surgeon.revert(model), nn.Module)
    return model.surgery


def train(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    model = surgeon.apply(network, "anl")
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    print(remap(optimizer, network, model).added)
    loss = torch.nn.functional.cross_entropy
    with adversarial_noise(model, images, labels, loss):
        torch.autograd.backward(loss(model(images), labels))
    anneal(model, 0.5)
    rows = fit(model, Images(images, labels), settings=Training(epochs=1, lr=0.1), device="cpu")
    return rows[-1].loss


def measured(network: nn.Module, images: Tensor, labels: Tensor, folder: Path) -> Assessment | None:
    attack = Attack(name="pgd", kind="own-pgd", eps=8 / 255)
    print(attack.eps)
    try:
        return assess(network, images, labels, Evaluation(suite="quick"), folder)
    except DataError as error:
        print(error.at("my images"))
    except SurgeonError:
        return None
    return None
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """One folder, so that the second program is checked with what mypy knows from the first."""
    return tmp_path_factory.mktemp("client")


def checked(folder: Path, text: str) -> str:
    """What strict mypy says of a program that is no part of surgeon, its types read from the package here."""
    (folder / "client.py").write_text(text)
    (folder / "mypy.ini").write_text("[mypy]\n")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--config-file",
            "mypy.ini",
            "--cache-dir",
            str(folder / "cache"),
            "client.py",
        ],
        cwd=folder,
        env=_importing(folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    return done.stdout + done.stderr


def _importing(folder: Path) -> dict[str, str]:
    """An environment in which surgeon is found as an installed package is: mypy reads no types without
    py.typed there."""
    site = folder / "site"
    site.mkdir(exist_ok=True)
    if not (site / "surgeon").exists():
        (site / "surgeon").symlink_to(Path(surgeon.__file__).parent)
    return {**os.environ, "MYPYPATH": "", "PYTHONPATH": str(site)}


def test_a_strict_client_is_accepted(place):
    assert checked(place, CLIENT).strip() == "Success: no issues found in 1 source file"


def test_what_surgeon_gives_has_types_of_its_own(place):
    """The same program with three mistakes: that they are found shows that the types are no Any."""
    wrong = (
        CLIENT.replace("return model.surgery", "return model.surgery.effect")
        .replace("return rows[-1].loss", "return rows[-1].no_such_number")
        .replace("error.at(", "error.no_such_method(")
    )
    told = checked(place, wrong)
    for text in ('expected "Plan"', '"Epoch" has no attribute', '"DataError" has no attribute'):
        assert text in told, told
