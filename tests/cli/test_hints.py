"""Mistakes of a newcomer, and what the command line says would have worked."""

import ast
import json
import re
from pathlib import Path

import pytest

import surgeon
from surgeon.errors import at_the_command_line, either, nearest
from tests.cli.commandline import invoke

LENET = ["zoo/lenet5", "--input-size", "1,32,32"]
PLAN = ["plan", "kap", *LENET]
TRAIN = ["train", "plain", *LENET, "-o", "x"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with one of each kind that surgeon writes, as far as their names tell."""
    here = tmp_path_factory.mktemp("hints")
    model = surgeon.create_model("zoo/lenet5", input_size=(1, 32, 32))
    surgeon.save(surgeon.apply(model, "kap"), here / "out" / "kap")
    for name in ("runs/kap/trained", "runs/study/surgery/0/trained", "runs/many/a"):
        surgeon.save(model, here / name)
    for name in (
        "runs/kap/settings.json",
        "runs/quick/evaluation.json",
        "runs/begun/settings.json",
        "runs/study/study.json",
        "runs/many/conversions.json",
        "runs/kap/training/last.json",
        "runs/begun/attacks/a.json",
    ):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text("{}")
    for name in ("labels.csv", "mnist.zip", "x.npz", "one.png", "w.pth"):
        (here / name).write_bytes(b"")
    return here


def refused(args, place, monkeypatch):
    """The one line that a command ends with."""
    monkeypatch.chdir(place)
    code, out, err = invoke(*args)
    assert (code, out) == (2, ""), (out, err)
    *before, last = err.splitlines()
    assert last.startswith("Error: ") and all(
        line.startswith("x: ") for line in before
    )  # work that showed itself
    assert not (place / "x").exists()
    return last


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ["plan", "zoo/lenet5", "kap"],
            "kap is a recipe, and zoo/lenet5 is not; the recipe comes first: surgeon plan kap zoo/lenet5",
        ),
        (
            ["train", "resnet18", "kap+anl", "-o", "x"],
            "the recipe comes first: surgeon train kap+anl resnet18",
        ),
        (["convert", "w.pth", "kap", "-o", "x"], "the recipe comes first: surgeon convert kap w.pth"),
        (["evaluate", "kap", "-o", "x"], "kap is a recipe, no model: surgeon plan kap MODEL shows"),
        (["plan", "kap,anl", "resnet18"], "recipes are joined by '+': kap+anl"),
        (["plan", "kap anl", "resnet18"], "recipes are joined by '+': kap+anl"),
        (["plan", "kap.yaml", "resnet18"], "did you mean 'kap'"),
        (["plan", "adversarial-noise", "resnet18"], "is an operation; recipes with it are anl, canl"),
        ([*PLAN, "--set", "kernel_size=5"], "does not say what it is of; write kap.kernel_size=5"),
        ([*PLAN, "--set", "kernel-size=0.5"], "write kap.kernel_size=0.5"),
        ([*TRAIN, "--set", "epochs=3"], "write training.epochs=3"),
        ([*PLAN, "--set", "kap.kernel_size"], "must look like operation.key=value, as kap.kernel_size=VALUE"),
        ([*PLAN, "--kernel-size", "5"], "No such option '--kernel-size'; write --set kap.kernel_size=VALUE"),
        (
            [*TRAIN, "--weight-decay", "1"],
            "No such option '--weight-decay'; write --set training.weight_decay=VALUE",
        ),
        ([*TRAIN, "--samples", "5"], "write --set evaluation.samples=VALUE"),
        (["evaluate", "zoo/lenet5", "--steps", "3", "-o", "x"], "write --set steps=VALUE"),
        (
            [*TRAIN, "--epochs", "1", "--set", "training.epochs=2"],
            "--epochs 1 and --set training.epochs=2 are of one setting: leave one out",
        ),
        (
            ["plan", "kap", "resnet18", "--input-size", "224,224,3"],
            "has the channels at its end; they come first: 3,224,224",
        ),
        (["plan", "kap", "resnet18", "--input-size", "224"], "write for instance 3,32,32"),
        (
            ["apply", "kap", "resnet18", "--device", "gpu", "-o", "x"],
            "it is not a name of one; cpu, cuda and cuda:1 are",
        ),
        (["models", "resnet"], "'*resnet*' lists all with it"),
    ],
    ids=lambda v: " ".join(v)[:30] if isinstance(v, list) else None,
)
def test_arguments_and_settings(place, monkeypatch, args, message):
    assert message in refused(args, place, monkeypatch)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "microsoft/resnet-18",
            "a repository of the Hugging Face Hub is written 'hf-hub:microsoft/resnet-18'; did you mean 'resnet18'?",
        ),
        ("timm/resnet81", "did you mean 'resnet18'"),
        ("torchvision.models.resnet18", "did you mean 'torchvision/resnet18'?"),
        ("ResNet-18", "unknown model 'ResNet-18'; did you mean 'resnet18'?"),
        (
            "w.pth",
            "w.pth is a file of weights, and no name of a network: give the network's name, and the file as --weights",
        ),
        ("resnet18.pth", "resnet18.pth is not a file here"),
        ("runs", "its networks are runs/kap/trained"),
    ],
)
def test_names_of_models(place, monkeypatch, name, message):
    assert message in refused(["plan", "kap", name], place, monkeypatch)


def test_names_of_timm_may_have_its_prefix_and_harmless_spellings_are_read():
    code, out, err = invoke("plan", "KAP + ANL", "timm/resnet18.a1_in1k", "--input-size", "3,64,64", "--json")
    assert code == 0, err
    plan = json.loads(out)
    assert (plan["recipe"], plan["model"]) == ("kap+anl", "resnet18.a1_in1k")
    assert surgeon.plan(surgeon.create_model("resnet18"), "wm_unsharp + KAP").recipe == "wm-unsharp+kap"


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        (
            "runs/quick",
            "runs/quick is an evaluation, no network: surgeon report runs/quick -o page.html shows it",
        ),
        ("runs/begun", "runs/begun is an evaluation, no network"),
        ("runs/kap/training", "is a part of a run; its network is runs/kap/trained"),
        (
            "runs/study",
            (
                "is a study of several networks: surgeon report runs/study -o page.html shows "
                "it; its networks are runs/study/surgery/0/trained"
            ),
        ),
        ("runs/many", "holds several conversions; its networks are runs/many/a"),
        ("out/kap/model.safetensors", "is a file"),
    ],
)
def test_folders_of_another_kind(place, monkeypatch, folder, message):
    commands = [["fold"], ["export"], ["plan", "kap"], ["convert", "kap"]]
    for command in commands[: 2 if "safetensors" in folder else 4]:
        output = [] if command[0] == "plan" else ["-o", "x.onnx" if command[0] == "export" else "x"]
        assert message in refused([*command, folder, *output], place, monkeypatch)
    if folder != "out/kap/model.safetensors":
        assert message in refused(["evaluate", folder, "-o", "x"], place, monkeypatch)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (["cifar10"], "did you mean torch/cifar10 with --root FOLDER"),
        (["CIFAR-10"], "did you mean torch/cifar10 with --root FOLDER"),
        (
            ["torch/cifar10"],
            "torch/cifar10 needs the folder where it lies: --root FOLDER. Nothing is downloaded",
        ),
        (
            ["torch/cifar11", "--root", "."],
            "timm knows no data set 'torch/cifar11'; did you mean 'torch/cifar10'",
        ),
        (["torch/cifar10", "--root", "runs"], "torch/cifar10 does not lie under runs: give the folder"),
        (["labels.csv"], "a table is not read: lay the images into one sub-folder a class"),
        (["mnist.zip"], "archives are not unpacked: unpack it"),
        (["x.npz"], "arrays are not read"),
        (["one.png"], "it is one image: give the folder"),
        (["Digits"], "did you mean 'digits'?"),
        (["runs/kap"], "runs/kap is a run; its network is runs/kap/trained; images are wanted here"),
    ],
    ids=lambda v: v[0] if isinstance(v, list) else None,
)
def test_data(place, monkeypatch, data, message):
    found = refused([*TRAIN, "--data", *data], place, monkeypatch)
    assert message in found and "download=True" not in found and "NoneType" not in found


def test_a_report_of_what_was_not_evaluated_says_how_to(place, monkeypatch):
    for folder in ("out/kap", "runs/kap"):
        found = refused(["report", folder, "-o", "x"], place, monkeypatch)
        assert f"evaluate it first: surgeon evaluate {folder} -o FOLDER" in found


def test_short_forms_are_settings(tmp_path):
    code, _, err = invoke(
        "train", "plain", *LENET, "--epochs", 2, "--lr", 0.25, "--batch-size", 64, "-o", tmp_path / "r"
    )
    assert code == 0, err
    told = json.loads((tmp_path / "r" / "settings.json").read_text())["training"]
    assert (told["epochs"], told["lr"], told["batch_size"]) == (2, 0.25, 64)


def test_a_conversion_without_images_says_what_they_would_bring(tmp_path):
    surgeon.save(surgeon.create_model("zoo/lenet5", input_size=(1, 32, 32)), tmp_path / "stock")
    for recipe, fitted in (("kap", True), ("noise", False)):
        code, out, err = invoke("convert", recipe, tmp_path / "stock", "-o", tmp_path / recipe)
        assert code == 0, err
        said = " ".join(out.split())
        assert "--data SOURCE (labelled images) measures the accuracy before and after" in said
        assert ("layers are fitted to images" in said) == fitted


PYTHON = re.compile(r"\w+=(True|False)|surgeon\.\w+\(|\binput_size\b|model=…|pass \w+=")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["apply", "noise", "out/kap", "-o", "x"], "--stack adds to it"),
        (["apply", "kap", "zoo/lenet5", "--pretrained", "-o", "x"], "give a checkpoint file as --weights"),
        (["apply", "kap", "resnet18", "-o", "runs"], "choose another folder, or --overwrite"),
        (
            ["apply", "kap", "zoo/lenet5", "--num-classes", "3", "--calibration", "runs", "-o", "x"],
            "images are wanted here",
        ),
        (
            ["convert", "wm-unsharp", "runs/many/a", "--warm-start", "distill", "-o", "x"],
            "give images (--calibration, or --data of convert)",
        ),
        (["convert", "kap", "runs/many/a", "--warm-start", "no", "-o", "x"], "--warm-start no: "),
        (
            ["train", "plain", *LENET, "--num-classes", "3", "-o", "x"],
            "--num-classes 3, and the data have 10 classes",
        ),
    ],
    ids=lambda v: " ".join(v)[:30] if isinstance(v, list) else None,
)
def test_errors_of_commands_speak_of_options(place, monkeypatch, args, message):
    found = refused(args, place, monkeypatch)
    assert message in found and not PYTHON.search(found)


def test_errors_of_python_keep_its_words(place):
    cut = surgeon.load(place / "out" / "kap")
    with pytest.raises(
        surgeon.SurgeonError, match=r"pass stack=True to add to it, or start from surgeon.revert\(model\)"
    ):
        surgeon.plan(cut, "noise")
    with pytest.raises(surgeon.SurgeonError, match="or pass overwrite=True"):
        surgeon.save(cut, place / "out" / "kap")
    assert either("python", "command") == "python"
    with at_the_command_line():
        assert either("python", "command") == "command"
    assert either("python", "command") == "python"


def test_names_that_differ_in_case_and_punctuation_come_first():
    assert nearest("KAP_1D", ["kap", "kap-1d"]) == "did you mean 'kap-1d'?"
    assert nearest("zzz", ["kap"]) == "valid: 'kap'"


ROOT = Path(surgeon.__file__).parent
FROM_PYTHON_ALONE = (
    "methods/defective/module.py",
    "methods/weight_map/module.py",
    "graph/rewritten/network.py",
    "graph/rewritten/copying.py",
    "graph/rewritten/following.py",
    "graph/rewritten/other_calls.py",
    "graph/rewritten/stock_methods.py",
    "graph/rewritten/walks.py",
    "insight/",
    "graph/sites/fitness.py",
    "surgery/rewritten.py",
    "surgery/cutting.py",
    "surgery/parts.py",
    "testing.py",
)
"""Errors that no command reaches: of layers and networks that are called, and of plans that are passed on."""


def said_to_both(tree):
    """The texts of errors that a module raises, but for those that are worded for either interface."""
    for raised in (n for n in ast.walk(tree) if isinstance(n, ast.Raise)):
        worded = [
            n for n in ast.walk(raised) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "either"
        ]
        apart = {id(n) for call in worded for n in ast.walk(call)}
        for node in ast.walk(raised):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in apart:
                yield node.value


@pytest.mark.parametrize("module", [p.relative_to(ROOT).as_posix() for p in sorted(ROOT.rglob("*.py"))])
def test_texts_of_python_in_errors_have_their_command(module):
    if module.startswith(FROM_PYTHON_ALONE):
        return
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    assert [text for text in said_to_both(tree) if " " in text.strip() and PYTHON.search(text)] == []
