"""Push and pull over huggingface_hub, against a hub on this machine."""

import json
import os
import subprocess
import sys

import pytest
import torch

import surgeon
from surgeon.errors import ArtifactError
from surgeon.publishing import pushing
from surgeon.store import hub as surgeon_hub
from tests.hub.conftest import SIZE

FILES = {".gitattributes", "README.md", "config.json", "model.safetensors", "original.safetensors"}
NAME = "someone/resnet-kap"


@pytest.fixture
def x():
    return torch.randn(2, *SIZE, generator=torch.Generator().manual_seed(0))


def test_a_network_pushed_is_loaded_by_its_name_bit_equal(hub, cut, folder, x):
    (folder / "notes.txt").write_text("mine")
    address = pushing.push(folder, NAME)
    assert address.startswith(f"{hub.endpoint}/{NAME}")
    assert set(hub.repositories[NAME].files()) == FILES
    again = surgeon.load(f"hf-hub:{NAME}")
    assert torch.equal(again(x), cut(x))
    assert again.surgery == cut.surgery
    assert type(surgeon.revert(again)).__name__ == "ResNet"


def test_pushing_again_takes_away_what_the_network_no_longer_has(hub, cut, folder, stock, x):
    pushing.push(folder, NAME)
    first = hub.repositories[NAME].branches["main"]
    pushing.push(stock, NAME)
    assert "original.safetensors" not in hub.repositories[NAME].files()
    assert torch.allclose(surgeon.load(f"hf-hub:{NAME}")(x), cut(x), atol=1e-5)
    assert torch.equal(surgeon.load(f"hf-hub:{NAME}@{first}")(x), cut(x))


def test_a_branch_is_made_and_named_behind_an_at_sign(hub, cut, folder, x):
    pushing.push(folder, NAME, revision="trial")
    assert "config.json" not in hub.repositories[NAME].files("main")
    assert torch.equal(surgeon.load(f"hf-hub:{NAME}@trial")(x), cut(x))
    with pytest.raises(
        ArtifactError, match=r"cannot be read: it has no revision 'none'; give a branch, a tag or a commit"
    ):
        surgeon.load(f"hf-hub:{NAME}@none")


def test_pulling_copies_checked_files_and_overwrites_nothing(hub, cut, folder, x, tmp_path):
    pushing.push(folder, NAME)
    out = surgeon_hub.pull(NAME, tmp_path / "pulled")
    assert {p.name for p in out.iterdir()} == (FILES - {".gitattributes"}) | {".surgeon.json"}
    assert not any(p.is_symlink() for p in out.iterdir())
    assert torch.equal(surgeon.load(out)(x), cut(x))
    with pytest.raises(ArtifactError, match="exists already"):
        surgeon_hub.pull(NAME, out)
    surgeon_hub.pull(NAME, out, overwrite=True)


def test_what_was_fetched_is_there_without_a_network(hub, cut, folder, x):
    pushing.push(folder, NAME)
    surgeon.load(f"hf-hub:{NAME}")
    hub.server.shutdown()
    hub.server.server_close()
    assert torch.equal(surgeon.load(f"hf-hub:{NAME}")(x), cut(x))


@pytest.mark.parametrize("which", ["folder", "stock"])
def test_weights_that_were_changed_on_the_way_are_noticed(hub, which, request, tmp_path):
    pushing.push(request.getfixturevalue(which), NAME)
    files = dict(hub.repositories[NAME].files())
    content = bytearray(files["model.safetensors"])
    content[-1] ^= 1
    hub.add(NAME, {**files, "model.safetensors": bytes(content)})
    with pytest.raises(ArtifactError, match="has changed since it was written: its hash is xxh3-128:"):
        surgeon.load(f"hf-hub:{NAME}")
    with pytest.raises(ArtifactError, match="has changed since it was written: its hash is xxh3-128:"):
        surgeon_hub.pull(NAME, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_only_safetensors_and_configuration_come_down_and_code_is_not_imported(hub, folder):
    pushing.push(folder, NAME)
    files = dict(hub.repositories[NAME].files())
    config = json.loads(files["config.json"]) | {"architecture": "evil.module:run"}
    evil = {"pytorch_model.bin": b"pickle", "evil/module.py": b"raise SystemExit", "modeling.py": b""}
    hub.add(NAME, {**files, **evil, "config.json": json.dumps(config).encode()})
    with pytest.raises(
        ArtifactError, match=rf"hf-hub:{NAME} names code to import, evil.module:run; nothing was imported"
    ):
        surgeon.load(f"hf-hub:{NAME}")
    asked = {path.rpartition("/")[2] for method, path in hub.requests if "/resolve/" in path}
    assert asked <= FILES - {".gitattributes"}


def test_a_repository_that_is_timms_alone_is_loaded_by_timm(hub, stock, x):
    config = json.loads((stock / "config.json").read_text())
    for key in ("surgery", "format", "model_args"):
        config.pop(key, None)
    weights = (stock / "model.safetensors").read_bytes()
    hub.add("timm/test", {"config.json": json.dumps(config).encode(), "model.safetensors": weights})
    model = surgeon.load("hf-hub:timm/test")
    assert torch.equal(model(x), surgeon.load(stock)(x))
    assert surgeon_hub.folder_of("hf-hub:timm/test") is None
    with pytest.raises(ArtifactError, match="name it as a model: hf-hub:timm/test"):
        surgeon_hub.pull("timm/test", stock.parent / "out")


def test_private_means_private(hub, folder, logged_out, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_writer")
    pushing.push(folder, NAME, private=True)
    assert hub.repositories[NAME].private
    hub.repositories[NAME].private = False
    commits = len(hub.repositories[NAME].commits)
    with pytest.raises(ArtifactError, match="is there already and public; make it private on its page"):
        pushing.push(folder, NAME, private=True)
    assert len(hub.repositories[NAME].commits) == commits
    hub.repositories[NAME].private = True
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(ArtifactError, match="or it is private: look at the name, or log in"):
        surgeon.load(f"hf-hub:{NAME}")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: surgeon.load("hf-hub:nobody/nothing"), "nobody/nothing cannot be read: http"),
        (lambda f: surgeon_hub.pull("nobody", f / "x"), "'nobody' is not a repository; write owner/name"),
        (lambda f: pushing.push(f, "a/b/c"), "'a/b/c' is not a repository; write owner/name"),
        (lambda f: pushing.push(f, "a b/c"), "'a b/c' is not a repository; write owner/name"),
        (lambda f: pushing.push(f.parent, NAME), "is not a model folder: it has no config.json"),
        (
            lambda f: surgeon.load("hf-hub:a/b/c"),
            "cannot be read: write owner/name, or hf-hub:owner/name@revision",
        ),
    ],
)
def test_names_that_mean_nothing(hub, folder, call, message):
    with pytest.raises(ArtifactError) as error:
        call(folder)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_who_is_not_logged_in_may_not_push(logged_out, folder):
    with pytest.raises(
        ArtifactError, match=r"cannot be written to: the token does not allow it: log in .*HF_TOKEN"
    ):
        pushing.push(folder, NAME)


def test_a_gated_repository(hub, logged_out):
    hub.add("a/gated", {"config.json": b"{}"}, gated=True)
    with pytest.raises(ArtifactError, match="it is gated: ask for access on its page"):
        surgeon.load("hf-hub:a/gated")


def test_a_hub_that_fails(hub, folder):
    hub.broken = 418
    with pytest.raises(ArtifactError, match="answered 418; try again later"):
        pushing.push(folder, NAME)


def test_a_hub_that_cannot_be_reached(unreachable, folder):
    for call in (lambda: surgeon.load("hf-hub:a/b"), lambda: pushing.push(folder, NAME)):
        with pytest.raises(
            ArtifactError, match=r"cannot be reached .*a folder of `surgeon pull` needs no network"
        ) as error:
            call()
        assert "\n" not in str(error.value)


def test_offline(hub, tmp_path):
    code = "from surgeon.store import hub\ntry: hub.fetch('hf-hub:a/b')\nexcept Exception as error: print(error)\n"
    here = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=here)
    assert "a/b cannot be read: " in done.stdout
    assert "cannot be reached (see HF_ENDPOINT, HF_HUB_OFFLINE)" in done.stdout
    assert done.stdout.count("\n") == 1
    assert hub.requests == []
