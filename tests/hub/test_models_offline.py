"""A network, or weights, that cannot be fetched: one line, with what works without a network."""

from urllib.error import URLError

import pytest

import surgeon
from surgeon.errors import ModelError
from tests.cli.commandline import invoke

pytest.importorskip("huggingface_hub")


@pytest.fixture
def offline(monkeypatch, tmp_path):
    from huggingface_hub import constants

    def away(*_, **__):
        raise URLError("no route to the host")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("torch.hub.urlopen", away)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.mark.parametrize(
    ("name", "given", "what", "works"),
    [
        ("hf-hub:ann/lenet5", {}, "hf-hub:ann/lenet5", "a folder needs no network: local-dir:FOLDER"),
        ("hf_hub:ann/lenet5@v1", {"pretrained": True}, "hf_hub:ann/lenet5@v1", "local-dir:FOLDER"),
        (
            "resnet10t",
            {"pretrained": True},
            "the pretrained weights of resnet10t",
            "weights=FILE, in the place of",
        ),
        (
            "torchvision/resnet18",
            {"pretrained": True},
            "the pretrained weights of torchvision/resnet18",
            "weights=FILE, in the place of pretrained=True",
        ),
    ],
)
def test_what_cannot_be_fetched_is_told_with_what_works(offline, name, given, what, works):
    with pytest.raises(ModelError) as caught:
        surgeon.create_model(name, **given)
    text = str(caught.value)
    assert text.startswith(f"{what} cannot be read: ") and "cannot be reached" in text and works in text
    assert "\n" not in text


def test_the_command_line_says_it_in_its_words(offline):
    code, out, err = invoke("inspect", "resnet10t", "--pretrained")
    assert (code, out) == (
        2,
        "",
    ) and "a file needs no network: --weights FILE, in the place of --pretrained" in err


def test_errors_of_another_kind_stay(offline, tmp_path):
    with pytest.raises(ModelError, match=r"model 'local-dir:.*' with no arguments: Config file not found"):
        surgeon.create_model(f"local-dir:{tmp_path}")
    with pytest.raises(ModelError, match="model 'resnet18' with {'no_such': 1}"):
        surgeon.create_model("resnet18", model_args={"no_such": 1})
