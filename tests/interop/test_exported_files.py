"""surgeon.export: files that give the network's outputs, say what they are, and are refused where they would not."""

import copy
import importlib.util
import sys

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import ArgumentError, ArtifactError, SurgeonError, VerificationError
from surgeon.models.pixels import Normalized
from surgeon.store.exporting import file, metadata
from tests.interop.conftest import TINY

for_onnx = pytest.mark.skipif(
    not all(importlib.util.find_spec(p) for p in ("onnx", "onnxscript", "onnxruntime")),
    reason="needs the extra export",
)
RECIPES = ("kap", "kmp", "anl", "wm-unsharp", "defective")


@for_onnx
@pytest.mark.parametrize("recipe", RECIPES)
def test_onnx_gives_the_networks_outputs_for_any_number_of_images(tiny_cut, images, tmp_path, recipe):
    import onnxruntime

    model = tiny_cut(recipe)
    done = surgeon.export(model, tmp_path / "model.onnx", fold=False)
    assert done.check.ok and done.difference < 1e-5 and done.edits_left == len(model.surgery.edits)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["images"]
    assert [o.name for o in session.get_outputs()] == ["logits"]
    for count in (1, 4):
        (output,) = session.run(["logits"], {"images": images[:count].numpy()})
        assert torch.allclose(torch.from_numpy(output), model(images[:count]), atol=1e-5)


@pytest.mark.parametrize("recipe", RECIPES)
def test_an_exported_program_gives_the_networks_outputs(tiny_cut, images, tmp_path, recipe):
    model = tiny_cut(recipe)
    done = surgeon.export(model, tmp_path / "model.pt2", format="torch-export")
    assert done.folded == (recipe in ("kap", "anl")) and done.difference < 1e-5
    program = torch.export.load(tmp_path / "model.pt2").module()
    for count in (1, 4):
        assert torch.allclose(program(images[:count]), model(images[:count]), atol=1e-5)


@for_onnx
def test_what_folds_is_folded_and_the_file_says_what_it_is(tiny_cut, tmp_path):
    import onnx

    model = tiny_cut("kap")
    model.pretrained_cfg = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2]}
    done = surgeon.export(model, tmp_path / "model.onnx", opset=18, dynamic_batch=False)
    assert done.folded and done.edits_left == 0 and done.opset == 18
    file = onnx.load(tmp_path / "model.onnx")
    assert {n.op_type for n in file.graph.node} & {"Conv", "AveragePool"} == {"Conv"}
    assert file.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
    known = metadata(tmp_path / "model.onnx")
    assert known["input_size"] == list(TINY) and known["num_classes"] == 5
    assert known["mean"] == [0.5, 0.4, 0.3] and known["std"] == [0.2, 0.2, 0.2]
    assert known["recipe"] == "kap" and known["surgery"]["edits_left"] == 0
    assert known["versions"]["surgeon"] == surgeon.__version__
    assert {p.key for p in file.metadata_props} >= {"recipe", "input_size", "mean", "num_classes", "opset"}


def test_an_exported_program_says_what_it_is(tiny_cut, tmp_path):
    surgeon.export(tiny_cut("defective"), tmp_path / "model.pt2", format="torch-export", check=False)
    known = metadata(tmp_path / "model.pt2")
    assert known["recipe"] == "defective" and known["surgery"]["edits_left"] == known["surgery"]["edits"]
    with pytest.raises(ArtifactError, match="is not a file that surgeon exported"):
        (tmp_path / "other.pt2").write_bytes(b"nothing")
        metadata(tmp_path / "other.pt2")


def test_the_network_is_left_as_it_was(tiny_cut, tmp_path):
    model = tiny_cut("kap").train().bfloat16()
    before = copy.deepcopy(model.state_dict())
    surgeon.export(model, tmp_path / "model.pt2", format="torch-export")
    assert model.training and all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert next(model.parameters()).dtype == torch.bfloat16 and next(model.parameters()).requires_grad


def test_a_stock_network_and_several_outputs(tmp_path):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            return {"maps": self.conv(x), "mean": x.mean((2, 3))}

    done = surgeon.export(Two(), tmp_path / "two.pt2", format="torch-export", input_size=TINY)
    assert done.folded and done.difference == 0


def test_what_is_refused(tiny_cut, tiny, tmp_path, monkeypatch):
    model = tiny_cut("kap")
    (tmp_path / "there.onnx").write_bytes(b"mine")
    refused = [
        ({"format": "onxx"}, "m.onnx", SurgeonError, "unknown format 'onxx'; did you mean 'onnx'"),
        ({}, "m.pt2", ArtifactError, "does not end in .onnx.*m.onnx, or export as torch-export"),
        ({}, "there.onnx", ArtifactError, "exists already; choose another file, or pass overwrite=True"),
        ({"opset": 9}, "m.onnx", SurgeonError, "opset=9 is older than what torch exports; 18"),
        ({"opset": 999}, "m.onnx", SurgeonError, "opset=999 is newer than what the installed onnx knows"),
        ({"opset": 18, "format": "torch-export"}, "m.pt2", SurgeonError, "torch-export has no opset"),
    ]
    for settings, name, kind, text in refused:
        with pytest.raises(kind, match=text):
            surgeon.export(model, tmp_path / name, **settings)
    with pytest.raises(SurgeonError, match=r"input size of Tiny is not known; give input_size=\(C, H, W\)"):
        surgeon.export(tiny, tmp_path / "m.pt2", format="torch-export")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(SurgeonError, match=r"format onnx needs onnx: pip install 'fx-surgeon\[export\]'"):
        surgeon.export(model, tmp_path / "m.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["there.onnx"]


def test_a_file_that_computes_something_else_does_not_appear(tiny_cut, tmp_path, monkeypatch):
    real = file.run_program
    monkeypatch.setattr(file, "run_program", lambda path: lambda x: [o + 1 for o in real(path)(x)])
    with pytest.raises(
        VerificationError,
        match="m.pt2 was not written: .* gives other outputs .*rounding may make 1.0e-05 in this network",
    ):
        surgeon.export(tiny_cut("kap"), tmp_path / "m.pt2", format="torch-export")
    assert not list(tmp_path.iterdir())


def test_a_network_that_torch_cannot_export_says_why(tmp_path):
    class Deciding(nn.Module):
        def forward(self, x):
            return x.sum(3) if x.sum() > 0 else x.mean(3)

    with pytest.raises(
        SurgeonError, match="Deciding cannot be exported as torch-export: .*dynamic_batch=False"
    ):
        surgeon.export(Deciding(), tmp_path / "m.pt2", format="torch-export", input_size=TINY)
    assert not list(tmp_path.iterdir())


@for_onnx
def test_average_pooling_by_a_divisor_of_its_own(tmp_path):
    """torch's translation into ONNX passes over it; every WM layer has one."""

    class Sums(nn.Module):
        def forward(self, x):
            a = nn.functional.avg_pool2d(x, 3, divisor_override=1)
            return a, nn.functional.avg_pool2d(x, (2, 4), 2, divisor_override=5)

    assert surgeon.export(Sums(), tmp_path / "sums.onnx", input_size=TINY).difference < 1e-6


class Sensitive(nn.Module):
    """A deep network of large random weights, which multiplies what is done to a last bit."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(32, 32) for _ in range(40))
        for layer in self.layers:
            nn.init.normal_(layer.weight, std=0.4)

    def forward(self, x):
        x = x.flatten(1)
        for layer in self.layers:
            x = layer(x).tanh()
        return x


@pytest.mark.parametrize("other, fits", [(0.0, True), (0.3, False)], ids=["rounding", "another weight"])
def test_what_rounding_makes_in_a_network_is_no_other_output(tmp_path, monkeypatch, other, fits):
    model = Sensitive()
    runs = copy.deepcopy(model).double()  # the same numbers, rounded elsewhere
    with torch.no_grad():
        runs.layers[-1].bias[0] += other
    monkeypatch.setattr(file, "run_program", lambda _: lambda x: [runs(x.double()).float()])

    def export():
        return surgeon.export(
            model, tmp_path / "m.pt2", format="torch-export", input_size=(2, 4, 4), dynamic_batch=True
        )

    if fits:
        done = export()
        assert done.check.ok and done.difference > 1e-5 and "rounding may make" in done.check.detail
    else:
        with pytest.raises(VerificationError, match="gives other outputs .* rounding may make .* in this"):
            export()
        assert not (tmp_path / "m.pt2").exists()


def test_a_network_that_checks_its_images_is_not_exported(tmp_path):
    subject = Normalized(surgeon.create_model("zoo/shallow2"), (0.5,) * 3, (0.2,) * 3)
    with pytest.raises(ArgumentError, match=r"export its \.model, and normalise images"):
        surgeon.export(subject, tmp_path / "a.pt2", format="torch-export", input_size=(3, 32, 32))
