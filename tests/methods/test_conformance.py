"""Every operation, in every setting that changes what it builds, through the conformance suite."""

import copy
from typing import Literal

import pytest
import torch
from torch import nn

import surgeon
from surgeon.edits import Edit
from surgeon.errors import VerificationError
from surgeon.methods import Cut, Operation, Proposal, registry
from surgeon.methods.registry import names
from surgeon.results.paper import Paper
from surgeon.testing import check_operation

SIZE = (3, 8, 8)
TABLE = [
    *({"op": name} for name in names()),  # each as it is without settings
    {"op": "kap", "start": "lstsq", "sigma": 0.1},
    {"op": "kap", "start": "anneal"},
    {"op": "kap", "dims": 1, "kernel_size": 5, "start": "naive"},
    {"op": "kap", "stride": 3, "start": "replicate"},
    {"op": "kap", "stride": 2, "start": "naive"},
    {"op": "kap", "pool": "max"},
    {"op": "kap", "pre_norm": True},
    {"op": "kap", "kernel": "gaussian", "start": "lstsq"},
    {"op": "kap", "kernel": "mexican-hat", "dims": 1, "spread": 1.5},
    {"op": "kap", "kernel": "learned", "start": "anneal"},
    {"op": "weight-map", "mode": "smoothing"},
    {"op": "weight-map", "mode": "unsharp", "normalize": True, "kernel_size": 5},
    {"op": "weight-map", "mode": "smoothing", "start": "mean"},
    {"op": "adversarial-noise", "source": "canl", "cache_dtype": "float16"},
    {"op": "adversarial-noise", "source": "lat", "after": "conv"},
    {"op": "adversarial-noise", "source": "gaussian", "at_input": True},
    {"op": "defective", "mode": "same", "value": 0.5},
    {"op": "defective", "mode": "channel"},
    {"op": "defective", "start": "anneal", "after": "conv"},
    {"op": "meansparse", "alpha": 0.25},
    {"op": "meansparse", "start": "identity"},
    {"op": "kwta", "share": 0.5},
    {"op": "smooth-activation", "to": "softplus", "beta": 5.0},
    {"op": "smooth-activation", "to": "gelu", "beta": 1.0},
    {"op": "blur-pool", "filter_size": 4, "at": "conv"},
    {"op": "blur-pool", "filter_size": 5, "at": "pool"},
    {"op": "soft-pool", "to": "conv", "start": "fitted"},
    {"op": "soft-pool", "to": "average"},
    {"op": "parametric-noise", "on": "outputs"},
    {"op": "squeeze-excite", "reduction": 2},
    {"op": "identity", "at": "norm"},
    {"op": "identity", "at": "activation"},
    {"op": "identity", "at": "residual"},
    {"op": "identity", "at": "head"},
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


@pytest.mark.parametrize("name", [n for n in names() if n not in ("small-image", "input-scale")])
def test_a_pattern_without_effect_is_told_of(name, model):
    """Of the two others, one works on the stem and one on the input, whatever the selector says."""
    operation = {"op": name, "select": {"exclude": ["conv9*"]}}
    if name == "adversarial-noise":
        operation["num_classes"] = 4
    notes = [n.text for n in surgeon.plan(model, operation, input_size=SIZE).notes if n.code == "selector"]
    assert len(notes) == 1 and notes[0].startswith(f"{name}: exclude 'conv9*' has no effect"), notes


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


class Add(nn.Module):
    def forward(self, x):
        return x + 0.5


class Raise(Operation):
    """Add ½ behind convolutions."""

    op: Literal["raise"] = "raise"

    def propose(self, sites, context):
        one = [s for s in self.chosen(sites).sites if s.name == "conv2"]
        return Proposal(
            tuple(
                Edit(site=s.name, operation=self.op, layer=f"{s.name}.add", effect="approximated")
                for s in one
            )
        )

    def build(self, edit, module, generator):
        return Cut(layer=Add())


def taken_up(self, edit, context):
    context.next_norm.running_mean = context.next_norm.running_mean - 0.5


def with_a_bias(self, edit, context):
    conv = copy.deepcopy(context.module)
    conv.bias = nn.Parameter(conv.weight.new_full((conv.out_channels,), 0.5))
    return conv


@pytest.mark.parametrize(
    ("answers", "complaint"),
    [
        ({"fold": with_a_bias}, "has conv2.bias, and a stock checkpoint has no such tensor"),
        ({"surrogate": lambda self, edit, layer: nn.Flatten()}, r"surrogate of conv2.add gives \(4, 64\)"),
        ({"paper": classmethod(lambda cls: "2026")}, "paper\\(\\) of raise gives a str, not a Paper"),
        (
            {
                "paper": classmethod(
                    lambda cls: Paper("raise", "linf", 0.1, lambda sources, seed: list(sources))
                )
            },
            "paper raise give no attacks, or other things, for sources=\\(\\)",
        ),
    ],
)
def test_the_suite_names_an_answer_that_is_wrong(answers, complaint, model, monkeypatch):
    cls = type("Raise", (Raise,), {"fold": taken_up, "__module__": __name__, **answers})
    monkeypatch.setitem(registry._shipped(), "raise", cls)
    with pytest.raises(VerificationError, match=complaint):
        check_operation({"op": "raise"}, model, input_size=SIZE)


def test_and_lets_pass_the_same_operation_with_right_answers(model, monkeypatch):
    answers = {"fold": taken_up, "surrogate": lambda self, edit, layer: nn.Identity(), "__module__": __name__}
    monkeypatch.setitem(registry._shipped(), "raise", type("Raise", (Raise,), answers))
    check_operation({"op": "raise"}, model, input_size=SIZE)


def test_a_third_party_operation_is_found_by_its_entry_point(tmp_path, model, monkeypatch):
    import subprocess
    import sys

    package = tmp_path / "halver"
    info = tmp_path / "halver-1.0.dist-info"
    package.mkdir(), info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: halver\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[surgeon.operations]\nhalve = halver:Halve\nbroken = halver:Layer\ngone = halver:Gone\n"
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
try: parse({{"op": "gone"}})
except surgeon.SurgeonError as e: assert "(halver:Gone) cannot be loaded: AttributeError" in str(e), e
else: raise SystemExit("a plug-in that is not there was taken")
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
