"""An empty text, which the shell makes of a variable that is not set, is no file, no folder and no name."""

import pytest

import surgeon
from surgeon.data import images, labelled
from surgeon.errors import ArtifactError, DataError
from tests.cli.commandline import invoke

CALLS = {
    ("train", "plain", "resnet10t", "--data", "digits", "--weights", "", "-o", "out"): "--weights",
    ("apply", "kap", "resnet10t", "--weights", " ", "-o", "out"): "--weights",
    ("apply", "kap", "resnet10t", "--calibration", "", "-o", "out"): "--calibration",
    ("train", "plain", "resnet10t", "--data", "", "-o", "out"): "--data",
    ("train", "plain", "resnet10t", "--set", "", "-o", "out"): "--set",
    ("apply", "kap", "", "-o", "out"): "MODEL",
    ("plan", "", "resnet10t"): "RECIPE",
    ("fold", "", "-o", "out"): "FOLDER",
    ("report", "one", "", "-o", "out"): "RUNS",
    ("recipes", "show", ""): "RECIPE",
}


@pytest.mark.parametrize("call", CALLS, ids=[f"{c[0]}-{name.strip('-')}" for c, name in CALLS.items()])
def test_an_empty_value_is_refused_before_anything_is_read(call, tmp_path, monkeypatch):
    """Weights were left out without a word, and as a folder it was the present one."""
    monkeypatch.chdir(tmp_path)
    code, out, said = invoke(*call)
    assert (code, out) == (2, "") and said.count("\n") == 1
    assert f"{CALLS[call]} is empty, as an unset variable of the shell is: give it a value" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("behind", ["--overwrite", "--"])
def test_an_option_is_not_the_value_of_another(behind, tmp_path, monkeypatch):
    """The folder was called `--overwrite`."""
    monkeypatch.chdir(tmp_path)
    code, out, said = invoke("fold", "net", "-o", behind)
    assert (code, out) == (2, "") and f"--output has no value: behind it stands {behind}, an option" in said


def test_python_refuses_it_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for call in (
        lambda: surgeon.create_model("resnet10t", weights=""),
        lambda: surgeon.load(""),
        lambda: surgeon.save(surgeon.create_model("resnet10t", num_classes=3), ""),
    ):
        with pytest.raises(ArtifactError, match="an empty text names no file and no folder"):
            call()
    for call in (lambda: labelled(""), lambda: images("", 4, (3, 8, 8))):
        with pytest.raises(DataError, match="an empty text names no images"):
            call()
