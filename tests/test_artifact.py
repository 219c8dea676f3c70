"""Folders: written whole, checked when read, legal for timm."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

import surgeon
from surgeon.errors import ArtifactError, ArtifactWarning, SurgeryError
from surgeon.ownership import new_folder
from surgeon.store.folder import read_config

SIZE = (3, 64, 64)


@pytest.fixture(scope="module")
def stock():
    torch.manual_seed(0)
    few = {"channels": (8, 16, 32, 64)}
    return surgeon.create_model("resnet18", num_classes=6, input_size=SIZE, model_args=few).eval()


@pytest.fixture(scope="module")
def x():
    return torch.randn(2, *SIZE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "recipe",
    ["kap", "kap-ensemble", "wm-unsharp", "wm-input-scale", "anl", "defective", "small-image+kap+anl"],
)
def test_a_saved_network_loads_bit_equal_with_its_record(stock, x, recipe, tmp_path):
    cut = surgeon.apply(stock, recipe, input_size=SIZE, seed=7).eval()
    surgeon.save(cut, tmp_path / "out")
    again = surgeon.load(tmp_path / "out")
    assert torch.equal(again(x), cut(x))
    assert again.surgery == cut.surgery
    assert torch.equal(surgeon.revert(again)(x), stock(x))


def test_a_trained_blend_and_calibrated_statistics_are_kept(tiny, tmp_path):
    cut = surgeon.apply(tiny, {"op": "kap", "start": "anneal"}, input_size=(3, 8, 8))
    cut.conv1.kap.set_alpha(0.4)
    surgeon.save(cut, tmp_path / "out")
    again = surgeon.load(tmp_path / "out", model=tiny)
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(again(x), cut.eval()(x))


def test_a_user_made_timm_model_is_rebuilt_by_name(tmp_path, x):
    model = timm.create_model("resnet18", num_classes=3, in_chans=1)
    cut = surgeon.apply(model, "kap", input_size=(1, 64, 64)).eval()
    surgeon.save(cut, tmp_path / "out")
    assert torch.equal(surgeon.load(tmp_path / "out")(x[:, :1]), cut(x[:, :1]))


def test_a_model_that_no_name_rebuilds_loads_onto_the_stock_network(tiny, tmp_path, images):
    cut = surgeon.apply(tiny, "wm-smoothing-all", input_size=(3, 8, 8)).eval()
    surgeon.save(cut, tmp_path / "out")
    with pytest.raises(
        ArtifactError, match=r"Tiny of own code, which no name makes.*surgeon.load\(folder, model=Tiny\(…\)\)"
    ):
        surgeon.load(tmp_path / "out")
    assert torch.equal(surgeon.load(tmp_path / "out", model=tiny)(images), cut(images))


def test_timm_loads_a_folded_folder_without_surgeon(stock, x, tmp_path):
    cut = surgeon.apply(stock, "kap", input_size=SIZE).eval()
    surgeon.save(surgeon.fold(cut), tmp_path / "stock")
    torch.save((x, cut(x).detach()), tmp_path / "wanted.pt")
    code = (
        "import sys; sys.modules['surgeon'] = None\n"
        "import timm, torch\n"
        f"m = timm.create_model('local-dir:{tmp_path}/stock', pretrained=True).eval()\n"
        f"x, y = torch.load('{tmp_path}/wanted.pt')\n"
        "assert (m(x) - y).norm() / y.norm() < 1e-5, (m(x) - y).norm() / y.norm()\n"
        "print(type(m).__module__, m.num_classes)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["timm.models.resnet", "6"]
    assert read_config(tmp_path / "stock").surgery.folded is True
    assert torch.allclose(surgeon.load(tmp_path / "stock")(x), cut(x), atol=1e-5)


def test_timm_refuses_a_folder_that_is_not_folded(stock, tmp_path):
    surgeon.save(surgeon.apply(stock, "kap", input_size=SIZE), tmp_path / "cut")
    with pytest.raises(RuntimeError, match="Unknown model .surgeon/resnet18"):
        timm.create_model(f"local-dir:{tmp_path}/cut", pretrained=True)


def test_an_existing_folder_is_never_overwritten_unasked(stock, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="exists already; choose another folder, or pass overwrite=True"):
        surgeon.save(stock, tmp_path / "out")
    with pytest.raises(ArtifactError, match="was not written by surgeon, and only what surgeon wrote is"):
        surgeon.save(stock, tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "precious.txt").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_an_error_while_writing_leaves_nothing(tmp_path):
    with (
        pytest.raises(
            ArtifactError, match="could not be written: No space left on device; nothing of it was kept"
        ),
        new_folder(tmp_path / "out") as work,
    ):
        (work / "half").write_text("x")
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(stock, tmp_path):
    """A process that may write 1 MiB a file cannot save 45 MB, and says so."""
    code = (
        "import resource, signal, sys, timm, surgeon\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "m = timm.create_model('resnet18')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        f"try: surgeon.save(m, '{tmp_path}/out')\n"
        "except surgeon.SurgeonError as e: print(e); sys.exit(7)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    assert "nothing of it was kept" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_one_line(stock, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ArtifactError, match="cannot be written: Permission denied"):
        surgeon.save(stock, tmp_path / "out")


def test_a_changed_or_truncated_file_is_noticed(stock, tmp_path):
    surgeon.save(surgeon.apply(stock, "noise", input_size=SIZE), tmp_path / "out")
    path = tmp_path / "out" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"has changed since it was written: its hash is xxh3-128:"):
        surgeon.load(tmp_path / "out")
    path.unlink()
    with pytest.raises(ArtifactError, match="incomplete: model.safetensors is missing"):
        surgeon.load(tmp_path / "out")


@pytest.fixture(scope="module")
def lenets(tmp_path_factory):
    """Folders of a stock network, and of one that a revert and a fold gave."""
    place = tmp_path_factory.mktemp("lenets")
    stock = surgeon.create_model("zoo/lenet5")
    cut = surgeon.apply(stock, "kap")
    surgeon.save(stock, place / "stock")
    surgeon.save(surgeon.revert(cut), place / "reverted")
    surgeon.save(surgeon.fold(cut), place / "folded")
    return place


def exchanged(folder):
    """The classes of a network's head in another order: of the right names and shapes."""
    path = folder / "model.safetensors"
    state = load_file(path)
    state["fc3.weight"] = state["fc3.weight"].roll(1, 0)
    save_file(state, path, metadata={"format": "pt"})


@pytest.mark.parametrize("name", ["stock", "reverted", "folded"])
@pytest.mark.parametrize("manifest", [True, False])
def test_changed_weights_of_any_network_are_noticed_with_what_works(
    lenets, tmp_path, name, manifest, recwarn
):
    folder = shutil.copytree(lenets / name, tmp_path / "out")
    if not manifest:
        (folder / ".surgeon.json").unlink()  # as the Hub carries a network
    surgeon.load(folder)
    assert not [w for w in recwarn if "no hash" in str(w.message)]
    exchanged(folder)
    with pytest.raises(
        ArtifactError, match="has changed since it was written: its hash is xxh3-128:"
    ) as told:
        surgeon.load(folder)
    assert "surgeon.load_weights(network, " in str(told.value)


def test_a_folder_that_states_no_hash_is_told_and_loads_and_an_older_ones_manifest_counts(lenets, tmp_path):
    folder = shutil.copytree(lenets / "stock", tmp_path / "out")
    config = json.loads((folder / "config.json").read_text())
    assert [*config.pop("hashes")] == ["model.safetensors"]
    (folder / "config.json").write_text(json.dumps(config))
    foreign = shutil.copytree(folder, tmp_path / "foreign")
    (foreign / ".surgeon.json").unlink()
    for place in (folder, foreign):
        exchanged(place)
    with pytest.raises(ArtifactError, match="has changed since it was written"):
        surgeon.load(folder)
    with pytest.warns(ArtifactWarning, match="states no hash of model.safetensors, so it cannot be known"):
        surgeon.load(foreign)


def test_a_config_that_names_other_things_imports_nothing(stock, tmp_path):
    surgeon.save(surgeon.apply(stock, "noise", input_size=SIZE), tmp_path / "out")
    path = tmp_path / "out" / "config.json"
    config = json.loads(path.read_text())
    config["surgery"]["plan"]["operations"]["noise"]["op"] = "os.system"
    path.write_text(json.dumps(config))
    with pytest.raises(surgeon.SurgeonError, match="unknown operation 'os.system'"):
        surgeon.load(tmp_path / "out")
    config["surgery"]["plan"]["edits"] = "nonsense"
    path.write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match="the key 'surgery' cannot be understood"):
        surgeon.load(tmp_path / "out")
    path.write_text("{")
    with pytest.raises(ArtifactError, match=r"config.json cannot be read"):
        surgeon.load(tmp_path / "out")
    with pytest.raises(ArtifactError, match=r"is not a model folder: it has no config.json"):
        surgeon.load(tmp_path)


def test_the_normalisation_of_a_tag_that_is_not_the_default_is_kept(tmp_path):
    from surgeon.models import normalization_of

    model = surgeon.create_model("test_resnet", num_classes=3)
    model.pretrained_cfg = {
        **model.pretrained_cfg,
        "mean": (0.1, 0.2, 0.3),
        "std": (0.4, 0.5, 0.6),
        "tag": "other",
    }
    surgeon.save(surgeon.apply(model, "noise"), tmp_path / "out")
    again = surgeon.load(tmp_path / "out")
    assert normalization_of(again) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    surgeon.save(again, tmp_path / "again")
    assert read_config(tmp_path / "again") == read_config(tmp_path / "out")


def test_weights_shared_in_memory_are_written_twice(tmp_path):
    model = surgeon.create_model("resnet18", num_classes=3)
    model.layer1[1].conv1.weight = model.layer1[0].conv1.weight
    surgeon.save(model, tmp_path / "out")
    loaded = surgeon.load(tmp_path / "out")
    assert torch.equal(loaded.layer1[1].conv1.weight, model.layer1[0].conv1.weight)


@pytest.mark.parametrize("recipe", ["kap", None])
def test_a_network_that_is_built_upon_is_left_untouched(recipe, tmp_path):
    first, second = (surgeon.create_model("test_resnet", num_classes=3) for _ in range(2))
    surgeon.save(surgeon.apply(first, recipe, input_size=SIZE) if recipe else first, tmp_path / "out")
    before = {k: v.clone() for k, v in second.state_dict().items()}
    loaded = surgeon.load(tmp_path / "out", model=second)
    assert all(torch.equal(before[k], v) for k, v in second.state_dict().items())
    shared = {t.untyped_storage().data_ptr() for t in second.state_dict().values() if t.numel()}
    assert not shared & {t.untyped_storage().data_ptr() for t in loaded.state_dict().values() if t.numel()}


def test_a_cut_network_is_not_rebuilt_upon_and_a_factory_keeps_what_it_gave(stock, x, tmp_path, monkeypatch):
    cut = surgeon.apply(stock, "kap", input_size=SIZE).eval()
    surgeon.save(cut, tmp_path / "out")
    with pytest.raises(SurgeryError, match="this .* has had surgery"):
        surgeon.load(tmp_path / "out", model=cut)
    assert torch.equal(surgeon.load(tmp_path / "out", model=surgeon.revert(cut))(x), cut(x))
    (tmp_path / "kept_networks.py").write_text(
        "from torch import nn\n"
        "network = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Flatten(), nn.Linear(16 * 36, 4))\n"
        "def make():\n    return network\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    own = surgeon.create_model("kept_networks:make")
    surgeon.save(surgeon.apply(own, "kap", input_size=(3, 8, 8)), tmp_path / "own")
    first, second = (surgeon.load(tmp_path / "own", allow_code=["kept_networks"]) for _ in range(2))
    assert type(sys.modules["kept_networks"].network) is torch.nn.Sequential
    shared = {t.data_ptr() for t in first.parameters()} & {t.data_ptr() for t in second.parameters()}
    assert not shared
