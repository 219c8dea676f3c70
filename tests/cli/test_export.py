"""`surgeon export`."""

import json
import zipfile

import pytest
import torch

import surgeon
from tests.cli.commandline import invoke


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A rewritten network in a folder."""
    out = tmp_path_factory.mktemp("export") / "mixed"
    model = surgeon.create_model("zoo/lenet5", num_classes=4, input_size=(1, 32, 32))
    surgeon.save(surgeon.apply(model, "kap"), out)
    return out


def test_a_program_of_torch(folder, tmp_path):
    args = ["export", folder, "--format", "torch-export", "-o", tmp_path / "m.pt2"]
    code, out, err = invoke(*args)
    assert code == 0, err
    assert "torch-export" in out and "no surgery left" in out and "relative difference" in out
    code, _, err = invoke(*args)
    assert code == 2 and "exists already" in err
    code, out, err = invoke(*args, "--overwrite", "--no-fold", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert not told["folded"] and told["edits_left"] > 0 and told["check"]["ok"] and told["difference"] < 1e-5
    program = torch.export.load(tmp_path / "m.pt2").module()
    x = torch.randn(3, 1, 32, 32)
    assert torch.allclose(program(x), surgeon.load(folder)(x), atol=1e-5)
    with zipfile.ZipFile(tmp_path / "m.pt2", "a") as archive:
        archive.writestr("m/extra/mine", "notes")
    code, _, err = invoke(*args, "--overwrite")
    assert code == 2 and "or that was changed since, and is not replaced" in err


def test_onnx(folder, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    code, out, err = invoke("export", folder, "-o", tmp_path / "m.onnx", "--opset", 18)
    assert code == 0, err
    assert "opset 18" in out and (tmp_path / "m.onnx").is_file()
    again = ["export", folder, "-o", tmp_path / "m.onnx", "--overwrite"]
    assert invoke(*again)[0] == 0
    import onnx

    edited = onnx.load(tmp_path / "m.onnx")
    edited.doc_string = "mine"
    onnx.save(edited, tmp_path / "m.onnx")
    code, _, err = invoke(*again)
    assert code == 2 and "or that was changed since, and is not replaced" in err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["-o", "m.pt2"], "does not end in .onnx"),
        (["-o", "m.onnx", "--opset", "7"], "18 is the oldest"),
        (["-o", "m.onnx", "--format", "onxx"], "'onxx' is not one of 'onnx', 'torch-export'"),
    ],
)
def test_mistakes_are_one_line(folder, tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = invoke("export", folder, *args)
    assert code == 2 and message in err and not out
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_none(tmp_path):
    code, _, err = invoke("export", tmp_path / "none", "-o", tmp_path / "m.onnx")
    assert code == 2 and "is not a model folder" in err
