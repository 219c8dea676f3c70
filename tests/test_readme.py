"""Every command in the README, as written but for its budget."""

import math
import re
import shlex
from pathlib import Path

import pytest

from surgeon.cli import COMMANDS, main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONVERSION = (ROOT / "docs" / "conversion.md").read_text(encoding="utf-8")
EVALUATION = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
INTEROP = (ROOT / "docs" / "interop.md").read_text(encoding="utf-8")
START = (
    (ROOT / "docs" / "start.md").read_text(encoding="utf-8").replace("training.epochs=8", "training.epochs=1")
)
QUICK_START = START.replace("--suite quick", "--suite quick --samples 32 --set diagnostics=32")
"""The page's commands at sizes that end at once: what they print there is of the page's own sizes."""
TRAINING = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")


def small(command):
    """The command at a budget for a test: an epoch, and images enough to go through every step. The
    README has the numbers of whole ones."""
    command = re.sub(r"--epochs \d+", "--epochs 1", command)
    return re.sub(r"(samples[ =]|diagnostics=)\d\d+", r"\g<1>16", command)


def blocks(language, text=README):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.S | re.M)


def test_the_python_block_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python")
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    assert (tmp_path / "out" / "hardened" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("text", "least"),
    [(README, 11), (CONVERSION, 4), (TRAINING, 2), (EVALUATION, 6), (INTEROP, 4), (QUICK_START, 9)],
)
def test_the_commands_run(tmp_path, monkeypatch, capsys, text, least):
    for package in ("accelerate", "sklearn", "torchattacks", "scipy", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    lines = [line.split("#")[0].strip() for block in blocks("sh", text) for line in block.splitlines()]
    commands = [line for line in lines if line.startswith("surgeon ") and line.split()[1] in COMMANDS]
    assert len(commands) >= least
    for command in commands:
        with pytest.raises(SystemExit) as stop:
            main([*shlex.split(small(command))[1:]])
            raise SystemExit(0)
        assert not stop.value.code, f"{command}: {capsys.readouterr().err}"


def test_it_fits_three_screens():
    """Of fifty lines each, at a hundred columns."""
    shown = sum(max(1, math.ceil(len(line) / 100)) for line in README.splitlines())
    assert shown <= 150


def test_the_demos_table_says_what_the_cuts_give_on_every_machine():
    import surgeon
    from surgeon.demo import CHANNELS, METHODS, MODEL, SIZE

    (table,) = [b for b in blocks("text", START) if "folds" in b and "wm-unsharp" in b]
    rows = {line.split()[0]: line.split()[1:] for line in table.splitlines()[1:]}
    assert tuple(rows) == METHODS
    made = {"num_classes": 10, "in_chans": 1, "input_size": SIZE, "model_args": {"channels": CHANNELS}}
    base = surgeon.create_model(MODEL, **made)
    for method, row in rows.items():
        plan = surgeon.plan(base, method, input_size=SIZE, trained=True)
        factors = [f"{plan.factor(name):.2f}×" for name in ("parameters", "flops")]
        assert row == [*factors, "yes" if plan.folds else "no"], method
