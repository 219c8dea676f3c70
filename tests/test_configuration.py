"""What a folder's config.json may say: of the right type, within limits, and nothing that is read or fetched
from elsewhere."""

import json
import math
import urllib.request

import pytest
import torch

import surgeon
from surgeon.errors import ArtifactError
from surgeon.store.folder import read_config
from surgeon.store.model_arguments import refusal, taken_by

SIZE = (1, 32, 32)


@pytest.fixture
def saved(tmp_path):
    """A folder of a small network with KAP in it, and a function that changes its configuration."""
    torch.manual_seed(0)
    model = surgeon.create_model("zoo/lenet5", num_classes=4, input_size=SIZE)
    folder = surgeon.save(surgeon.apply(model, "kap", input_size=SIZE), tmp_path / "net")
    path = folder / "config.json"
    before = path.read_text()

    def change(**keys):
        path.write_text(json.dumps(json.loads(before) | keys))
        return folder

    return change


@pytest.fixture(autouse=True)
def nothing_is_fetched(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("something was fetched")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)


def one_line(folder, match):
    with pytest.raises(ArtifactError, match=match) as error:
        surgeon.load(folder)
    assert "\n" not in str(error.value) and len(str(error.value)) < 1000
    assert str(folder) in str(error.value)


@pytest.mark.parametrize(
    ("architecture", "args"),
    [
        ("torchvision/resnet18", {"weights": "DEFAULT"}),
        ("torchvision/resnet18", {"weights": None}),
        ("torchvision/fcn_resnet50", {"weights_backbone": "DEFAULT"}),
        ("torchvision/resnet18", {"progress": True}),
        ("zoo/alexnet", {"weights": "DEFAULT"}),
        ("resnet18", {"pretrained": True}),
        ("resnet18", {"checkpoint_path": "x"}),
        ("resnet18", {"cache_dir": "x"}),
        ("resnet18", {"pretrained_cfg": "a1_in1k"}),
        ("resnet18", {"pretrained_cfg_overlay": {"file": "x"}}),
        ("resnet18", {"pretrained_strict": False}),
        ("vit_tiny_patch16_224", {"pretrained_model_args": {}}),
        ("resnet18", {"file": "x"}),
        ("resnet18", {"url": "x"}),
        ("resnet18", {"hf_hub_id": "x"}),
        ("resnet18", {"state_dict": {}}),
        ("resnet18", {"device": "cuda"}),
        ("resnet18", {"__class__": 1}),
        ("resnet18", {"block_args": {"weights": "DEFAULT"}}),
        ("own.module:factory", {"pretrained": True}),
        ("own.module:factory", {"data": "/etc/passwd"}),
    ],
)
def test_arguments_that_name_weights_are_refused_and_nothing_is_read(saved, architecture, args):
    one_line(
        saved(architecture=architecture, model_args=args), "may not set the argument .*; nothing was read"
    )


@pytest.mark.parametrize(
    "value",
    [
        "a/b",
        "..",
        "~",
        "http://x",
        "C:\\x",
        "hf-hub:x",
        "timm/resnet18",
        "resnet18.a1_in1k",
        "weights.pth",
        "x" * 65,
        "a\nb",
        math.nan,
        math.inf,
        10**9,
        -(10**9),
        10**400,
        [[[[[[[[1]]]]]]]],
        [0] * 500,
        {"a/b": 1},
        {"file": 1},
    ],
)
def test_values_that_are_no_plain_data_are_refused(saved, value):
    one_line(saved(architecture="resnet18", model_args={"act_layer": value}), "may not set|cannot be read")


def test_an_argument_that_the_network_does_not_take_is_told_with_the_nearest(saved):
    one_line(
        saved(architecture="resnet18", model_args={"drop_rat": 0.1}),
        r"resnet18 takes no argument 'drop_rat', so that a folder may not set it; did you mean 'drop_rate'",
    )
    one_line(saved(architecture="torchvision/resnet18", model_args={"group": 1}), "did you mean 'groups'")
    one_line(saved(architecture="zoo/lenet5", model_args={"widths": [1]}), "takes no argument 'widths'")


def test_what_honest_folders_hand_over_is_taken():
    for name in (
        "drop_rate",
        "drop_path_rate",
        "channels",
        "layers",
        "in_chans",
        "num_classes",
        "act_layer",
        "bn_eps",
    ):
        assert name in taken_by("resnet18") | taken_by("efficientnet_b0"), name
    assert {"groups", "width_per_group", "norm_layer", "zero_init_residual"} <= taken_by(
        "torchvision/resnet18"
    )
    assert {"init_weights", "transform_input", "aux_logits"} <= taken_by("torchvision/googlenet")
    assert {"img_size", "patch_size", "depth", "embed_dim", "drop_path_rate"} <= taken_by(
        "vit_tiny_patch16_224"
    )
    assert "act_layer" in taken_by("botnet26t_256") and "drop_rate" in taken_by("naflexvit_base_patch16_gap")
    assert {"channels", "drop_rate", "width"} <= taken_by("zoo/resnet18")
    assert {"img_size", "padding"} <= taken_by("zoo/lenet5")
    plain = {
        "layers": (1, 1),
        "act_layer": "gelu",
        "bias": True,
        "rate": 0.5,
        "extra": None,
        "blocks": [{"k": 3}],
    }
    assert refusal("resnet18", plain) == {}
    assert refusal("own.module:factory", {"seed": 2**40, "version": "v1.5"}) == {}


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("test_resnet", {"drop_rate": 0.1, "act_layer": "gelu"}),
        ("zoo/cnn", {"widths": [4, 4, 4], "batch_norm": True}),
        ("resnet18", {"channels": (8, 8, 8, 8), "layers": (1, 1, 1, 1), "drop_path_rate": 0.1}),
        ("torchvision/resnet18", {"width_per_group": 64, "zero_init_residual": True}),
        ("vit_tiny_patch16_224", {"depth": 1, "embed_dim": 12, "num_heads": 2, "img_size": 32}),
        ("zoo/resnet18", {"width": 0.125, "drop_rate": 0.1}),
    ],
)
def test_arguments_survive_saving_and_loading(tmp_path, name, args):
    model = surgeon.create_model(name, num_classes=3, model_args=args).eval()
    again = surgeon.load(surgeon.save(model, tmp_path / "net"))
    assert {k: v.shape for k, v in again.state_dict().items()} == {
        k: v.shape for k, v in model.state_dict().items()
    }


def test_arguments_that_a_folder_may_not_set_are_not_written(tmp_path, monkeypatch):
    overlay = {"pretrained_cfg_overlay": {"mean": (0.1, 0.2, 0.3), "file": "/somewhere"}, "drop_rate": 0.1}
    model = surgeon.create_model("test_resnet", num_classes=3, model_args=overlay)
    folder = surgeon.save(model, tmp_path / "net")
    assert "/somewhere" not in (folder / "config.json").read_text()
    config = read_config(folder)
    assert config.model_args == {"drop_rate": 0.1} and config.unwritten_args == ()
    assert config.pretrained_cfg.mean == (0.1, 0.2, 0.3)
    assert surgeon.load(folder).pretrained_cfg["mean"] == (0.1, 0.2, 0.3)


PLACES = {
    "url": "http://x",
    "file": "/etc/passwd",
    "hf_hub_id": "a/b",
    "hf_hub_filename": "x",
    "source": "hf-hub",
    "state_dict": {"a": 1},
    "custom_load": True,
    "pretrained": True,
    "cache_dir": "/x",
}


def test_where_weights_lie_is_not_taken_over_from_a_folder(saved):
    known = json.loads((saved() / "config.json").read_text())["pretrained_cfg"]
    folder = saved(pretrained_cfg={**known, **PLACES, "mean": [0.5], "std": [0.25]})
    cfg = surgeon.load(folder).pretrained_cfg
    assert not set(PLACES) & set(cfg)
    assert (cfg["mean"], cfg["std"]) == ((0.5,), (0.25,))


@pytest.mark.parametrize(
    "keys",
    [
        {"model_args": ["x"]},
        {"model_args": "x"},
        {"pretrained_cfg": [1]},
        {"pretrained_cfg": {"input_size": "abc"}},
        {"pretrained_cfg": {"input_size": [1, 10**9, 2]}},
        {"pretrained_cfg": {"input_size": [1, -1, 2]}},
        {"pretrained_cfg": {"mean": "x"}},
        {"pretrained_cfg": {"std": [0]}},
        {"pretrained_cfg": {"mean": [math.nan]}},
        {"pretrained_cfg": {"label_names": 3}},
        {"num_classes": "10"},
        {"num_classes": 10**12},
        {"num_classes": -1},
        {"num_classes": True},
        {"num_classes": 1.5},
        {"format": 2},
        {"unwritten_args": 5},
        {"global_pool": ["avg"]},
        {"architecture": 5},
        {"architecture": ["resnet18"]},
        {"architecture": ""},
        {"architecture": "x" * 201},
        {"architecture": "a b"},
        {"architecture": "a\nb"},
        {"architecture": "<img src=x>"},
        {"architecture": "`x`"},
        {"architecture": "../up"},
        {"architecture": "/root"},
        {"surgery": []},
        {"surgery": [1]},
        {"surgery": "x"},
        {"surgery": {"folded": False}},
        {"surgery": {"folded": 1}},
    ],
)
def test_what_is_of_another_type_is_one_line(saved, keys):
    one_line(saved(**keys), "config.json")


@pytest.mark.parametrize(
    "name", ["hf-hub:owner/name", "hf_hub:owner/name", "local-dir:x", "timm:resnet18", "nonsense"]
)
def test_names_that_lead_elsewhere_are_refused(saved, name):
    one_line(saved(architecture=name, surgery=None), "points to other files|which no name makes")


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        '{"a":' * 5000,
        '{"architecture": ' + "[" * 300 + "]" * 300 + "}",
        "NaN",
        "",
        "[]",
        "1" * 10_000,
        '"x',
        '{"architecture": "\\ud800"}',
        b"\xff\xfe",
        b'{"a": "\xff"}',
    ],
)
def test_what_is_no_json_is_one_line(saved, content):
    folder = saved()
    (folder / "config.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    one_line(folder, "config.json")


def test_a_file_that_is_too_large_is_not_read(saved, monkeypatch):
    from surgeon import reading

    folder = saved()
    monkeypatch.setattr(reading, "LIMIT", 100)
    one_line(folder, "config.json cannot be read: it is larger than")


def edited(folder, change):
    path = folder / "config.json"
    content = json.loads(path.read_text())
    change(content["surgery"]["plan"])
    path.write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p["operations"]["kap"].update(kernel_size=10**9 + 1),
        lambda p: p["operations"]["kap"].update(sigma="x"),
        lambda p: p["operations"]["kap"].update(op=["kap"]),
        lambda p: p.update(operations={"../x": {"op": "kap"}}),
        lambda p: p["edits"][1]["settings"].update(sheet=[10**5, 10**5]),
        lambda p: p["edits"][1]["settings"].update(sheet=[2**40, 2**40]),
        lambda p: p["edits"][1]["settings"].update(sheet="x"),
        lambda p: p["edits"][1]["settings"].update(sheet=[-1, 2]),
        lambda p: p["edits"][1]["settings"].update(sheet=None),
        lambda p: p["edits"][1].update(settings={}),
        lambda p: p["edits"][1].update(site="nowhere"),
        lambda p: p["edits"][1].update(layer="conv1.x.y.z"),
        lambda p: p["edits"][1].update(layer=""),
        lambda p: p["edits"][1].update(operation="kap#2"),
        lambda p: p["edits"][1].update(seed=2**70),
        lambda p: p.update(input_size=[1, 10**9, 10**9]),
        lambda p: p.update(input_size="abc"),
        lambda p: p["before"].update(parameters=10**300),
        lambda p: p.update(recipe="<img src=x onerror=alert(1)>"),
        lambda p: p.update(model="x" * 20_000),
    ],
)
def test_a_record_that_no_network_can_follow_is_one_line(saved, change):
    with pytest.raises(surgeon.SurgeonError) as error:
        surgeon.load(edited(saved(), change))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("architecture", "args"),
    [
        ("resnet18", {"channels": [2**16] * 4}),
        ("resnet18", {"layers": [2**16] * 4}),
        ("zoo/cnn", {"widths": [2**16] * 3}),
        ("vit_tiny_patch16_224", {"depth": 2**16}),
        ("zoo/wm_cnn", {"img_size": [60_000, 60_000]}),
        ("resnet18", {"block_args": {"reduce_first": 0}}),
        ("resnet18", {"act_layer": "none"}),
        ("resnet18", {"layers": "x"}),
        ("resnet18", {"block": "x"}),
        ("resnet18", {"in_chans": -1}),
    ],
)
def test_a_network_far_larger_than_its_weights_is_given_up(saved, monkeypatch, architecture, args):
    from surgeon.store import budget

    monkeypatch.setattr(budget, "SPARE_NUMBERS", 10**6)
    monkeypatch.setattr(budget, "SPARE_MODULES", 500)
    one_line(
        saved(architecture=architecture, model_args=args, surgery=None),
        "asks for a network of more|cannot be rebuilt",
    )


def test_original_weights_that_do_not_fit_are_one_line(tmp_path):
    from safetensors.torch import load_file, save_file

    model = surgeon.create_model("zoo/lenet5", num_classes=4, input_size=SIZE)
    folder = surgeon.save(surgeon.apply(model, "kap", input_size=SIZE, trained=True), tmp_path / "net")
    state = load_file(folder / "original.safetensors")
    save_file({k: torch.zeros(1) for k in state}, folder / "original.safetensors")
    edited_hashes = json.loads((folder / "config.json").read_text())
    edited_hashes["surgery"]["hashes"] = {
        "model.safetensors": edited_hashes["surgery"]["hashes"]["model.safetensors"]
    }
    from surgeon.disk.hashes import own_hash

    edited_hashes["surgery"]["hashes"]["original.safetensors"] = own_hash(folder / "original.safetensors")
    (folder / "config.json").write_text(json.dumps(edited_hashes))
    one_line(folder, "does not fit the module at")
