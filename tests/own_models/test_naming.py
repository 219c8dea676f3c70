"""`package.module:factory`: made by name, saved under it, and imported from a folder only where it is allowed."""

import json
import sys

import pytest
import torch
from torch import nn

import surgeon
from surgeon.errors import ArtifactError, ModelError, at_the_command_line
from surgeon.models.own import check_allowed
from tests.cli.commandline import invoke

SIZE = (3, 8, 8)
CODE = """
import pathlib
import torch
from torch import nn
from os import system
from torch.nn import Linear

pathlib.Path(__file__).with_name("imported").touch()
number = 7


class Net(nn.Module):
    def __init__(self, width=16, num_classes=5):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).relu().mean((2, 3)))


class NoNetwork:
    pass


def fixed():
    return Net(num_classes=4)


def anything(**given):
    return Net(**given)


def dictionary():
    return {}


def broken():
    raise RuntimeError("out of cheese")


def typed(norm=nn.BatchNorm2d):
    return nn.Sequential(nn.Conv2d(3, 16, 3), norm(16))
"""


@pytest.fixture
def code(tmp_path, monkeypatch):
    """A package `mine` with a module `nets`; returns a function that says whether it was imported."""
    package = tmp_path / "code" / "mine"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from mine.nets import Net\n")
    (package / "nets.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    _forget()
    yield (package / "imported").exists
    _forget()


def _forget():
    for name in [n for n in sys.modules if n == "mine" or n.startswith("mine.")]:
        del sys.modules[name]


@pytest.fixture
def saved(code, tmp_path):
    """A rewritten network of `mine.nets:Net` in a folder, the module forgotten again; (folder, images, outputs)."""
    model = surgeon.create_model("mine.nets:Net", num_classes=3, model_args={"width": 9}, input_size=SIZE)
    cut = surgeon.apply(model, "kap").eval()
    folder = surgeon.save(cut, tmp_path / "out")
    x = torch.randn(2, *SIZE)
    outputs = cut(x).detach()
    _forget()
    (tmp_path / "code" / "mine" / "imported").unlink()
    return folder, x, outputs


def test_a_folder_says_by_which_code_it_is_rebuilt_and_loads_where_that_is_allowed(saved, code):
    folder, x, outputs = saved
    config = json.loads((folder / "config.json").read_text())
    assert config["architecture"] == "mine.nets:Net"
    assert config["model_args"] == {"width": 9, "num_classes": 3}
    again = surgeon.load(folder, allow_code=["mine.nets"])
    assert code()
    assert torch.equal(again(x), outputs)
    assert torch.equal(surgeon.load(folder, allow_code="mine.nets")(x), outputs)
    assert type(surgeon.fold(again)).__name__ == "Net"


@pytest.mark.parametrize("allowed", [(), ["mine"], ["mine.net", "nets"]])
def test_a_folder_imports_nothing_that_was_not_allowed_by_name(saved, code, allowed):
    with pytest.raises(
        ArtifactError, match=r"names code to import, mine.nets:Net; nothing was imported"
    ) as error:
        surgeon.load(saved[0], allow_code=allowed)
    assert "surgeon.load(folder, allow_code=['mine.nets'])" in str(error.value)
    assert "--allow-code" not in str(error.value)
    assert not code() and "mine" not in sys.modules


def test_the_stock_network_given_needs_no_import(saved, code):
    folder, x, outputs = saved
    from mine.nets import Net

    assert torch.equal(surgeon.load(folder, model=Net(9, 3))(x), outputs)


@pytest.mark.parametrize(
    ("architecture", "args", "module", "message"),
    [
        (
            "os:system",
            {"command": "touch mark"},
            "os",
            "os is a module of Python itself, which holds no networks",
        ),
        ("builtins:eval", {"source": "mark"}, "builtins", "a module of Python itself"),
        ("mine.nets:system", {"command": "touch mark"}, "mine.nets", "is a builtin_function_or_method"),
        ("mine.nets:Linear", {}, "mine.nets", "is defined in torch.nn.modules.linear; name it there"),
        ("mine.nets:pathlib", {}, "mine.nets", "is a module; a factory is a function or a class"),
        ("mine.nets:dictionary", {}, "mine.nets", "gives a dict; a network is a torch.nn.Module"),
        ("mine.nets:NoNetwork", {}, "mine.nets", "is a class, but of no torch.nn.Module"),
        ("mine.nets:Nett", {}, "mine.nets", "mine.nets has no 'Nett'; did you mean 'Net'"),
        ("mine.nets:broken", {}, "mine.nets", "raised RuntimeError: out of cheese"),
        ("mine.none:Net", {}, "mine.none", "mine.none cannot be imported: ModuleNotFoundError"),
    ],
)
def test_an_altered_folder_runs_nothing_unasked_and_never_what_is_no_network(
    saved, code, tmp_path, monkeypatch, architecture, args, module, message
):
    folder, mark = saved[0], tmp_path / "mark"
    monkeypatch.chdir(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["architecture"] = architecture
    config["model_args"] = args
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match="nothing was imported"):
        surgeon.load(folder)
    assert not code()
    with pytest.raises(ArtifactError) as error:
        surgeon.load(folder, allow_code=[module])
    assert message in str(error.value)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("architecture", "args", "message"),
    [
        ("local-dir:/somewhere", {}, "points to other files (local-dir:/somewhere)"),
        ("hf-hub:owner/name", {}, "points to other files (hf-hub:owner/name)"),
        (
            "resnet18",
            {"checkpoint_path": "evil.pth"},
            "may not set the argument 'checkpoint_path': it says where weights",
        ),
    ],
)
def test_a_folder_points_to_no_other_files(saved, architecture, args, message):
    folder = saved[0]
    config = json.loads((folder / "config.json").read_text())
    config |= {"architecture": architecture, "model_args": args}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ArtifactError) as error:
        surgeon.load(folder)
    assert message in str(error.value)


def test_a_factory_gets_what_its_signature_takes(code):
    assert surgeon.create_model("mine.nets:anything", num_classes=2).head.out_features == 2
    assert surgeon.create_model("mine.nets:fixed", num_classes=4, in_chans=3).head.out_features == 4
    assert surgeon.create_model("mine:Net").head.out_features == 5
    with pytest.raises(
        ModelError, match=r"takes no argument 'num_classes' and makes a network of num_classes=4"
    ):
        surgeon.create_model("mine.nets:fixed", num_classes=9)
    with pytest.raises(ModelError, match=r"takes no argument 'in_chans' and makes a network of in_chans=3"):
        surgeon.create_model("mine.nets:Net", in_chans=1)
    with pytest.raises(
        ModelError, match=r"takes no argument 'pretrained'; give a checkpoint file as weights"
    ):
        surgeon.create_model("mine.nets:Net", pretrained=True)
    with pytest.raises(ModelError, match=r"with \{'widht': 3\} raised TypeError"):
        surgeon.create_model("mine.nets:Net", model_args={"widht": 3})


def test_arguments_that_are_no_plain_data_are_not_written_and_loading_says_so(code, tmp_path):
    model = surgeon.create_model("mine.nets:typed", model_args={"norm": nn.InstanceNorm2d})
    surgeon.save(model, tmp_path / "out")
    with pytest.raises(
        ArtifactError, match=r"its arguments \['norm'\] are not written: they were not plain data"
    ):
        surgeon.load(tmp_path / "out", allow_code="mine.nets")
    assert surgeon.load(tmp_path / "out", model=model) is not None


def test_at_the_command_line_own_code_lies_in_the_present_folder(code, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(tmp_path / "code")])
    monkeypatch.chdir(tmp_path / "code")
    out = tmp_path / "cut"
    made, _, err = invoke(
        "apply", "kap", "mine.nets:Net", "--input-size", "3,8,8", "--num-classes", 3, "-o", out
    )
    assert made == 0, err
    for command in (["fold", out], ["revert", out], ["apply", "noise", out, "--stack"]):
        refused, _, err = invoke(*command, "-o", tmp_path / command[0])
        assert refused == 2
        assert "--allow-code mine.nets" in err and err.count("\n") == 1
        done, _, err = invoke(*command, "-o", tmp_path / command[0], "--allow-code", "mine.nets")
        assert done == 0, err
    assert invoke("inspect", out)[0] == 2
    assert invoke("inspect", out, "--allow-code", "mine.nets")[0] == 0


def test_at_the_command_line_the_refusal_names_the_option():
    with at_the_command_line(), pytest.raises(ArtifactError, match="allow it: --allow-code mine.nets$"):
        check_allowed("mine.nets:Net", [], "somewhere")
