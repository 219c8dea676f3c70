"""`surgeon convert`: trained digits classifiers, cut, measured, resumed."""

import json
import shutil

import pytest
import torch
from torch.nn.functional import cross_entropy

import surgeon
from surgeon.data import digits
from surgeon.effects import Accuracy, measured_effect
from tests.cli.commandline import invoke
from tests.sensitivity import in_float64

pytest.importorskip("sklearn")
NETWORK = [
    "--model",
    "resnet18",
    "--num-classes",
    "10",
    "--input-size",
    "1,16,16",
    "--model-arg",
    "channels=[16,16,16,16]",
]
DATA = ["--data", "digits", "--calibration-count", "128", "--samples", "100"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    model = surgeon.create_model(
        "resnet18",
        num_classes=10,
        in_chans=1,
        input_size=(1, 16, 16),
        model_args={"channels": [16, 16, 16, 16]},
    )
    train = digits(16, seed=0)["train"]
    with in_float64(model.train()):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        for step in range(50):
            at = torch.randperm(len(train.x), generator=torch.Generator().manual_seed(step))[:64]
            optimizer.zero_grad()
            cross_entropy(model(train.x[at]), train.y[at]).backward()
            optimizer.step()
    path = tmp_path_factory.mktemp("checkpoints") / "digits.pth"
    torch.save({"state_dict": model.eval().state_dict()}, path)
    return path


def convert(*args):
    code, out, err = invoke("convert", *args)
    return code, (json.loads(out) if code == 0 and "--json" in args else out), err


def test_a_checkpoint_is_cut_measured_and_not_converted_twice(weights, tmp_path):
    args = ["kap", weights, *NETWORK, "--in-chans", "1", *DATA, "-o", tmp_path / "kap"]
    code, found, err = convert(*args, "--json")
    assert code == 0, err
    steps = [
        "images: scikit-learn's scanned digits: 128 to calibrate, 100 test images",
        "looking at the network",
        "start sequential",
        "fitting layer by layer",
        "checking the cut",
        "measuring: accuracy",
    ]
    places = [err.index(f": {step}") for step in steps]  # what takes long shows itself, in this order
    assert sorted(places) == places
    right = found["accuracy"]
    assert right["images"] == 100 and right["before"] >= 50  # five times chance
    assert right["after"] >= 0.5 * right["before"] and right["both"] <= min(right["before"], right["after"])
    assert found["drift"]["source"] == "test" and found["drift"]["images"] == 100
    assert found["calibration"] == 96 and "conv1" in found["refitted"]
    assert found["choice"]["held_out"] == 32 and found["choice"]["why"]
    assert [t["start"] for t in found["choice"]["trials"]] == ["lstsq", "lstsq", "sequential"]
    assert list(found["layers"])[0] == "conv1.kap" and 0 < found["layers"]["fc"] < 1
    cut = surgeon.load(tmp_path / "kap")
    effect = measured_effect("approximated", None, Accuracy(**right))
    assert (cut.surgery.effect, cut.surgery.planned) == (found["effect"], "approximated") and found[
        "effect"
    ] == effect
    assert cut.surgery.execution.accuracy.model_dump() == right
    assert cut.surgery.execution.drift.source == "test"
    assert len(cut.surgery.of("kap")) == 22  # 21 convolutions and the noise at the input
    before = (tmp_path / "kap" / "model.safetensors").stat().st_mtime_ns
    code, again, _ = convert(*args, "--json")
    assert (code, again) == (0, found)
    assert (tmp_path / "kap" / "model.safetensors").stat().st_mtime_ns == before
    code, _, err = convert(*args, "--set", "kap.ridge=0.1")
    assert code == 2 and "other settings (recipes); choose another folder, or --overwrite" in err
    code, out, err = convert(*args, "--set", "kap.ridge=0.1", "--overwrite")
    assert code == 0, err
    assert "accuracy" in out and "conv1.kap" in out and "same prediction" in out


def test_a_folder_of_checkpoints_goes_on_and_one_bad_file_stops_no_other(weights, tmp_path):
    folder, out = tmp_path / "many", tmp_path / "out"
    folder.mkdir()
    for name in ("a.pth", "b.pth"):
        (folder / name).write_bytes(weights.read_bytes())
    (folder / "0.pth").write_bytes(b"nonsense")
    (folder / "readme.txt").write_text("not one")
    args = [
        "defective-channel",
        folder,
        *NETWORK,
        "--in-chans",
        "1",
        "--calibration",
        "digits",
        "--calibration-count",
        "64",
        "-o",
        out,
    ]
    code, _, err = convert(*args)
    assert code == 2 and "1 of 3 checkpoints were not converted: 0.pth" in err and err.count("Error") == 1
    rows = json.loads((out / "conversions.json").read_text())
    assert [r["checkpoint"].rpartition("/")[2] for r in rows] == ["0.pth", "a.pth", "b.pth"]
    assert (
        "0.pth is damaged" in rows[0]["error"]
        and rows[1]["drift"]["source"] == "calibration"
        and rows[1]["accuracy"] is None
    )
    assert surgeon.load(out / "b").surgery.folds
    shutil.rmtree(out / "b")  # a kill: a folder is there with all its files, or not at all
    stamp = (out / "a" / "model.safetensors").stat().st_mtime_ns
    (folder / "0.pth").unlink()
    code, text, err = convert(*args)
    assert code == 0, err
    assert text.count("was there") == 1 and (out / "b" / "conversion.json").is_file()
    assert (out / "a" / "model.safetensors").stat().st_mtime_ns == stamp
    torch.save(
        {k: v + 0 for k, v in surgeon.models.checkpoints.read_weights(weights).items() if k != "x"},
        folder / "a.pth",
    )
    code, _, err = convert(*args)
    assert code == 2 and "a.pth" in err
    rows = json.loads((out / "conversions.json").read_text())
    assert "other settings (the checkpoint itself)" in rows[0]["error"]


def test_a_model_folder_is_converted_too_and_what_does_not_fit_is_said(weights, tmp_path):
    model = surgeon.create_model("test_resnet", num_classes=4, input_size=(3, 32, 32))
    surgeon.save(model, tmp_path / "stock")
    code, found, err = convert("noise", tmp_path / "stock", "-o", tmp_path / "noise", "--json")
    assert code == 0, err
    assert found["effect"] == "exact" and found["drift"] is None and found["refitted"] == []
    before = (tmp_path / "stock" / "model.safetensors").read_bytes()
    code, _, err = convert("noise", tmp_path / "stock", "-o", tmp_path / "stock")
    assert code == 2 and "is or holds the input" in err
    assert (tmp_path / "stock" / "model.safetensors").read_bytes() == before
    (tmp_path / "empty").mkdir()
    for args, message in (
        (["kap", weights], "holds weights alone: say with --model"),
        (["kap", tmp_path / "stock", *NETWORK], "which fixes its network: --model is for a file of weights"),
        (["kap", tmp_path / "none.pth", *NETWORK], "is not a file: --model is for a file of weights"),
        (["kap", tmp_path / "empty", *NETWORK], "holds no checkpoint"),
        (["noise", tmp_path / "stock", "--warm-start", "lstsq"], "no operation of the recipe has a start"),
        (
            ["wm-unsharp", tmp_path / "stock", "--warm-start", "distill"],
            "the plan starts from data (start 'distill')",
        ),
    ):
        code, _, err = convert(*args, "-o", tmp_path / "not")
        *before, last = err.splitlines()
        assert code == 2 and last.startswith("Error: ") and message in last, err
        assert all(line.startswith("not: ") for line in before)  # work that showed itself
        assert not (tmp_path / "not").exists()


def test_a_setting_that_was_searched_on_the_images_is_told_with_its_curve(weights, tmp_path):
    args = ["meansparse", weights, *NETWORK, "--in-chans", "1", *DATA, "-o", tmp_path / "out"]
    code, text, err = convert(*args)
    assert code == 0, err
    record = surgeon.load(tmp_path / "out").surgery.execution.searches["meansparse"]
    assert f"meansparse.alpha: {record.value:g}; the largest of those tried" in text
    found = json.loads((tmp_path / "out" / "conversion.json").read_text())["searches"]["meansparse"]
    assert found["value"] == record.value and len(found["curve"]) == len(record.curve) > 1
    code, text, err = convert(
        *args[:-1], tmp_path / "none", "--set", "meansparse.budget=0", "--set", "meansparse.step=1"
    )
    assert code == 0, err
    assert "and the smallest: no larger one keeps to that" in " ".join(text.split())
