"""Every operation, in every setting that changes what it builds, through the conformance suite."""

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import VerificationError
from surgeon.methods.registry import names
from surgeon.testing import check_operation

SIZE = (3, 8, 8)
TABLE = [
    {"op": "kap"},
    {"op": "kap", "start": "lstsq", "sigma": 0.1},
    {"op": "kap", "start": "anneal"},
    {"op": "kap", "dims": 1, "kernel_size": 5, "start": "naive"},
    {"op": "kap", "stride": 3, "start": "replicate"},
    {"op": "kap", "stride": 2, "start": "naive"},
    {"op": "kap", "pool": "max"},
    {"op": "kap", "pre_norm": True},
    {"op": "noise"},
    {"op": "smooth-init"},
    {"op": "weight-map", "mode": "smoothing"},
    {"op": "weight-map", "mode": "unsharp", "normalize": True, "kernel_size": 5},
    {"op": "weight-map", "mode": "smoothing", "start": "mean"},
    {"op": "input-scale"},
    {"op": "adversarial-noise"},
    {"op": "adversarial-noise", "source": "canl", "cache_dtype": "float16"},
    {"op": "adversarial-noise", "source": "lat", "after": "conv"},
    {"op": "adversarial-noise", "source": "gaussian", "at_input": True},
    {"op": "defective"},
    {"op": "defective", "mode": "same", "value": 0.5},
    {"op": "defective", "mode": "channel"},
    {"op": "defective", "start": "anneal", "after": "conv"},
    {"op": "meansparse"},
    {"op": "meansparse", "alpha": 0.25},
    {"op": "meansparse", "start": "identity"},
    {"op": "channel-mean"},
    {"op": "channel-mean", "share": 0.5},
    {"op": "kwta"},
    {"op": "kwta", "share": 0.5},
    {"op": "smooth-activation"},
    {"op": "smooth-activation", "to": "softplus", "beta": 5.0},
    {"op": "smooth-activation", "to": "gelu", "beta": 1.0},
    {"op": "small-image"},
    {"op": "identity"},
    {"op": "identity", "at": "norm"},
    {"op": "identity", "at": "activation"},
]


class Stem(nn.Module):
    """A small residual network with a large stem and a pooling."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 5, 2, 2)
        self.bn1 = nn.BatchNorm2d(16)
        self.act = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(16)
        self.fc = nn.Linear(16, 4)

    def forward(self, x):
        x = self.pool(self.act(self.bn1(self.conv1(x))))
        x = self.act(self.bn2(self.conv2(x)) + x)
        return self.fc(x.mean((2, 3)))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = Stem()
    with torch.no_grad():
        model(torch.randn(32, *SIZE))
    return model.eval()


@pytest.mark.parametrize("operation", TABLE, ids=lambda o: "-".join(str(v) for v in o.values()))
def test_operation(operation, model):
    if operation.get("source") in ("anl", "canl", None) and operation["op"] == "adversarial-noise":
        operation = {**operation, "num_classes": 4}
    check_operation(operation, model, input_size=SIZE)


def test_the_table_has_every_shipped_operation():
    assert {o["op"] for o in TABLE} == set(names())


def test_the_suite_notices_an_operation_that_breaks_its_promise(model, monkeypatch):
    from surgeon.methods.controls.noise import NoiseTraining

    def leaky(self, edit, module, generator):
        torch.nn.init.zeros_(module.weight)
        from surgeon.methods.base import Cut
        from surgeon.methods.controls.noise_layer import GaussianNoise

        return Cut(layer=GaussianNoise(1.0))

    monkeypatch.setattr(NoiseTraining, "build", leaky)
    with pytest.raises(VerificationError, match="tensors that were not replaced changed"):
        check_operation({"op": "noise", "input_sigma": 0}, model, input_size=SIZE)
    monkeypatch.undo()
    monkeypatch.setattr(NoiseTraining, "fold", lambda *a: nn.Conv2d(3, 16, 1))
    with pytest.raises((VerificationError, RuntimeError)):
        check_operation(
            {"op": "noise", "input_sigma": 0, "select": {"include": "conv1"}}, model, input_size=SIZE
        )


def test_a_third_party_operation_is_found_by_its_entry_point(tmp_path, model, monkeypatch):
    import subprocess
    import sys

    package = tmp_path / "halver"
    info = tmp_path / "halver-1.0.dist-info"
    package.mkdir(), info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: halver\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[surgeon.operations]\nhalve = halver:Halve\nbroken = halver:Layer\n"
    )
    (package / "__init__.py").write_text(PLUGIN)
    (tmp_path / "recipe.yaml").write_text("surgery:\n  - {op: halve, by: 4}\n")
    code = f"""
import sys; sys.path.insert(0, {str(tmp_path)!r})
import timm, surgeon, torch
from surgeon.methods import names, parse
assert "halve" in names()
from surgeon.testing import check_operation
from surgeon.recipe import load_recipe
recipe = load_recipe({str(tmp_path / "recipe.yaml")!r})
check_operation(recipe.surgery[0], timm.create_model("resnet18", num_classes=3), input_size=(3, 32, 32))
try: parse({{"op": "broken"}})
except surgeon.SurgeonError as e: assert "is not a surgeon.Operation" in str(e), e
else: raise SystemExit("a plug-in that is no operation was taken")
try: parse({{"op": "halve", "bye": 3}})
except surgeon.SurgeonError as e: assert "did you mean 'by'" in str(e), e
print("ok")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "ok", done.stderr


PLUGIN = '''
from typing import Literal
from surgeon.edits import Edit, Traits
from surgeon.methods import Cut, Operation, Proposal


class Layer:
    pass


class Halve(Operation):
    """Divide the output of convolutions by a number; folds into their weights."""

    op: Literal["halve"] = "halve"
    by: float = 2.0

    def propose(self, sites, context):
        chosen = self.chosen(sites)
        return Proposal(tuple(
            Edit(site=s.name, operation=self.op, layer=f"{s.name}.halve", effect="destroyed", traits=Traits())
            for s in chosen.sites
        ), chosen.passed_over)

    def build(self, edit, module, generator):
        return Cut(layer=Divide(self.by))

    def fold(self, edit, context):
        import copy

        conv = copy.deepcopy(context.module)
        conv.weight.data /= self.by
        if conv.bias is not None:
            conv.bias.data /= self.by
        return conv


import torch


class Divide(torch.nn.Module):
    def __init__(self, by):
        super().__init__()
        self.by = by

    def forward(self, x):
        return x / self.by
'''


def test_operations_come_without_torch():
    import subprocess
    import sys

    code = (
        "import sys, surgeon.methods as o, surgeon.recipe; o.names(); o.parse({'op': 'kap'}); "
        "assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert surgeon.__version__
