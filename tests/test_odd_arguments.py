"""What is neither a network, nor a path, nor a device: one error of surgeon's, at every public door."""

import io
import sys

import pytest
import torch

import surgeon
from surgeon.errors import ModelError, SurgeonError
from surgeon.images import channels_of
from surgeon.pipeline.evaluating import evaluate_target
from surgeon.processes import own_device
from surgeon.recipe.evaluation import Evaluation


@pytest.mark.parametrize("nothing", [None, "resnet18", 5])
@pytest.mark.parametrize("door", ["fold", "revert", "apply", "plan", "save", "sites"])
def test_no_network(tmp_path, door, nothing):
    more = {"apply": ["kap"], "plan": ["kap"], "save": [tmp_path / "out"]}.get(door, [])
    with pytest.raises(SurgeonError, match=f"not for a {type(nothing).__name__}"):
        getattr(surgeon, door)(nothing, *more)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", [None, 5, b"x", ["x"]])
def test_no_path(tiny, path):
    with pytest.raises(SurgeonError, match="is not a path; give one as text or as a pathlib.Path"):
        surgeon.load(path)
    with pytest.raises(SurgeonError, match="is not a path; give one as text or as a pathlib.Path"):
        surgeon.save(tiny, path)


@pytest.mark.parametrize("device", ["", "zzz", "cpu:x", None, 1.5])
def test_no_device(tiny, tmp_path, device):
    surgeon.save(tiny, tmp_path / "out")
    with pytest.raises(SurgeonError, match=f"device {device!r} cannot be used: it is not a name of one"):
        surgeon.load(tmp_path / "out", model=tiny, device=device)


@pytest.mark.parametrize("device", ["hpu", "xpu:3", torch.device("xpu")])
def test_a_device_that_this_machine_does_not_have_is_told_in_one_line(tiny, tmp_path, device):
    surgeon.save(tiny, tmp_path / "out")
    words = f"device '{device}' cannot be used: "
    with pytest.raises(SurgeonError, match=words) as told_of:
        surgeon.load(tmp_path / "out", model=tiny, device=device)
    assert "\n" not in str(told_of.value)
    with pytest.raises(SurgeonError, match=words):
        own_device(device)
    with pytest.raises(SurgeonError, match=words):
        evaluate_target("zoo/lenet5", tmp_path / "e", Evaluation(), data="digits", device=device)
    assert not (tmp_path / "e").exists()


def test_an_operations_number_is_of_plain_digits():
    with pytest.raises(SurgeonError, match="the recipe has no 'kap#²'"):
        surgeon.load_recipe("kap", settings=["kap#².kernel_size=3"])


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_lacks_a_sign(encoding, monkeypatch):
    from surgeon.cli import main

    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    with pytest.raises(SystemExit) as stop:
        main(["plan", "kap", "test_resnet"])
    sys.stdout.flush()
    assert not stop.value.code and written.getvalue()


@pytest.mark.parametrize("model", ["test_resnet", "torchvision/resnet18", "zoo/lenet5"])
@pytest.mark.parametrize(("key", "asked", "other"), [("num_classes", 7, 5), ("in_chans", 1, 3)])
def test_one_thing_said_twice_is_said_alike(model, key, asked, other):
    with pytest.raises(ModelError, match=f"{key}={asked} and .*{other}}} contradict each other"):
        surgeon.create_model(model, **{key: asked}, model_args={key: other})
    made = surgeon.create_model(model, **{key: asked}, model_args={key: asked})
    of = {"num_classes": surgeon.models.num_classes_of, "in_chans": channels_of}[key]
    assert of(made) == asked


def test_channels_said_twice_are_said_alike():
    for model in ("test_resnet", "torchvision/resnet18", "zoo/lenet5"):
        with pytest.raises(ModelError, match="in_chans=3 contradicts the input size"):
            surgeon.create_model(model, in_chans=3, input_size=(1, 32, 32))
